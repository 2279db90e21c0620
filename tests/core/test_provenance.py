"""The layout of timings in the `meta` section (spec/lightflow.md 2.12)."""

from datetime import UTC, datetime

import pytest

from meshflow.core.dagrun import DagRun
from meshflow.core.provenance import dag_provenance, instant, place
from meshflow.core.records import State
from tests.core.builders import dag, ended


def test_tasks_that_ran_are_listed_with_their_times_and_those_that_did_not_are_left_out() -> None:
    run = DagRun(dag("a b c", "a>b"))
    run.apply(ended(0, State.FAILED, started_at=10.0, ended_at=12.5, node="box", reason="broken"))
    assert dag_provenance(run, "dag", 9.0, None) == {
        "start_time": instant(9.0),
        "queue": "dag",
        "tasks": {
            "a": {
                "start_time": instant(10.0),
                "end_time": instant(12.5),
                "duration": 2.5,
                "worker": "box",
                "queue": "task",
                "state": "failed",
            }
        },
    }


def test_a_running_task_has_a_start_and_no_end() -> None:
    log = dag_provenance(DagRun(dag("a b")), "dag", 9.0, None, {1: ("box", 10.0)})
    assert log["tasks"] == {"b": {"start_time": instant(10.0), "worker": "box", "queue": "task"}}


def test_a_run_that_has_ended_has_its_end_and_duration() -> None:
    log = dag_provenance(DagRun(dag("")), "dag", 9.0, 29.0)
    assert log == {
        "start_time": instant(9.0),
        "queue": "dag",
        "tasks": {},
        "end_time": instant(29.0),
        "duration": 20.0,
    }


def test_dots_in_names_make_levels() -> None:
    tree: dict[str, object] = {}
    place(tree, "a.b", {"queue": "task"})
    place(tree, "a.c", {"queue": "gpu"})
    assert tree == {"a": {"b": {"queue": "task"}, "c": {"queue": "gpu"}}}


@pytest.mark.parametrize("names", [("a", "a.b"), ("a.b", "a")])
def test_a_name_that_is_a_level_of_another_keeps_what_is_below_it(names: tuple[str, str]) -> None:
    tree: dict[str, object] = {}
    for name in names:
        place(tree, name, {"queue": name})
    assert tree == {"a": {"queue": "a", "b": {"queue": "a.b"}}}


def test_a_name_that_collides_with_a_field_is_left_out() -> None:
    tree: dict[str, object] = {"a": {"queue": "task"}}
    place(tree, "a.queue", {"queue": "gpu"})
    assert tree == {"a": {"queue": "task"}}


def test_an_instant_is_a_date_in_utc() -> None:
    assert instant(1_700_000_000.0) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(("at", "year"), [(-1e300, 1970), (1e300, 9999)])
def test_an_instant_that_no_calendar_has_becomes_the_nearest(at: float, year: int) -> None:
    assert instant(at).year == year
