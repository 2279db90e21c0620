"""What follows from each entry of a workflow run's log (spec/lightflow.md 2.3, 2.4, 2.9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.records import (
    Claimed,
    DagEnded,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TasksQueued,
    Value,
)
from meshflow.core.workflowrun import WorkflowRun
from tests.core.builders import ANN, ended, started, workflow

DATA = Value(b"data")


def dag_started(name: str, key: str = "", data: Value | None = None) -> DagStarted:
    return DagStarted(name, name.partition(":")[0], key or f"key of {name}", data)


def fold(*entries: Entry, autostart: str = "d", others: str = "sub") -> WorkflowRun:
    run = WorkflowRun(workflow(autostart, others))
    for entry in entries:
        run.apply(entry)
    return run


# --- starting ---


def test_dags_that_start_by_themselves_are_missing_until_the_log_has_them() -> None:
    run = fold(autostart="a b")
    first, second = run.missing_autostart()
    assert (first, second) == (DagStarted("a:1", "a", "autostart/a"), DagStarted("b:1", "b", "autostart/b"))
    run.apply(first)
    assert run.missing_autostart() == (second,)
    run.apply(second)
    assert run.missing_autostart() == ()


def test_nothing_starts_by_itself_once_the_run_stops() -> None:
    assert fold(StopAsked(Stop.STOP, State.STOPPED, "enough")).missing_autostart() == ()


def test_runs_of_a_dag_are_numbered_in_the_order_in_which_they_are_logged() -> None:
    run = fold()
    assert run.start_dag("sub", "key 1", DATA) == DagStarted("sub:1", "sub", "key 1", DATA)
    run.apply(dag_started("sub:1"))
    assert run.start_dag("sub", "key 2", None) == DagStarted("sub:2", "sub", "key 2")
    assert run.start_dag("d", "key 3", None) == DagStarted("d:1", "d", "key 3")


def test_a_request_that_is_in_the_log_finds_what_it_started_then_even_while_the_run_stops() -> None:
    entry = dag_started("sub:1", key="key")
    run = fold(entry, StopAsked(Stop.STOP, State.STOPPED, "enough"))
    assert run.start_dag("sub", "key", None) == entry


def test_a_key_that_is_in_the_log_twice_started_one_dag_run() -> None:
    run = fold(dag_started("sub:1", key="key"), dag_started("sub:2", key="key"))
    assert run.open_dags == ("sub:1",)
    assert run.start_dag("sub", "other", None) == DagStarted("sub:2", "sub", "other")


def test_an_unknown_dag_cannot_be_started_and_the_known_ones_are_named() -> None:
    assert fold().start_dag("sud", "key", None) == "no dag 'sud' in workflow 'w'; it has 'd', 'sub'"


def test_nothing_is_started_once_the_run_stops() -> None:
    assert fold(StopAsked(Stop.STOP, State.STOPPED, "enough")).start_dag("sub", "key", None) == ""


def test_a_dag_run_waits_on_the_queue_of_its_dag() -> None:
    run = WorkflowRun(workflow("d", "sub", dag_queues=("dag", "gpu")))
    run.apply(dag_started("sub:1"))
    assert run.queue_of("sub:1") == "gpu"


# --- ending ---


def test_a_run_is_done_when_no_dag_run_is_open() -> None:
    run = fold()
    assert run.is_done
    run.apply(dag_started("d:1"))
    run.apply(dag_started("sub:1"))
    assert (run.is_done, run.open_dags, run.is_open("d:1")) == (False, ("d:1", "sub:1"), True)
    run.apply(DagEnded("d:1", State.COMPLETED))
    assert (run.is_done, run.open_dags, run.is_open("d:1")) == (False, ("sub:1",), False)
    run.apply(DagEnded("sub:1", State.COMPLETED))
    assert (run.is_done, run.outcome()) == (True, (State.COMPLETED, ""))


def test_the_end_of_a_dag_run_is_recorded_once_and_only_of_one_that_was_started() -> None:
    first = DagEnded("d:1", State.COMPLETED)
    run = fold(dag_started("d:1"), first, DagEnded("d:1", State.FAILED), DagEnded("d:7", State.FAILED))
    assert run.ends == {"d:1": first}


def test_what_was_given_to_a_dag_run_is_let_go_when_it_has_ended() -> None:
    run = fold(dag_started("d:1", data=DATA))
    assert run.dags["d:1"].data == DATA
    run.apply(DagEnded("d:1", State.COMPLETED))
    assert run.dags["d:1"].data is None


def test_the_end_of_the_run_is_folded() -> None:
    run = fold(RunEnded(State.ABORTED, "so"))
    assert (run.ended, run.outcome()) == (State.ABORTED, (State.ABORTED, "so"))


def test_the_gravest_of_several_reasons_to_end_early_names_the_outcome() -> None:
    run = fold(StopAsked(Stop.STOP, State.STOPPED, "enough"))
    assert run.outcome() == (State.STOPPED, "enough")
    run.apply(StopAsked(Stop.STOP, State.FAILED, "broken"))
    run.apply(StopAsked(Stop.STOP, State.ABORTED, "late"))
    assert run.outcome() == (State.FAILED, "broken")


def test_a_cancel_stays_one() -> None:
    run = fold(StopAsked(Stop.CANCEL, State.CANCELLED, "at once"), StopAsked(Stop.STOP, State.STOPPED, "enough"))
    assert (run.stop, run.outcome()) == (Stop.CANCEL, (State.CANCELLED, "at once"))


# --- joining ---


def test_a_join_of_names_is_met_when_none_of_them_is_open() -> None:
    run = fold(dag_started("sub:1"), dag_started("sub:2"), DagEnded("sub:1", State.FAILED))
    assert run.is_joined("d:1", ("sub:1", "unknown:1"), {})
    assert not run.is_joined("d:1", ("sub:1", "sub:2"), {})
    assert run.is_joined("d:1", (), {})


def test_a_join_of_all_waits_for_all_but_the_caller_and_those_that_wait_likewise() -> None:
    run = fold(dag_started("d:1"), dag_started("sub:1"))
    assert not run.is_joined("d:1", None, {})
    assert run.is_joined("d:1", None, ("sub:1",))
    run.apply(DagEnded("sub:1", State.COMPLETED))
    assert run.is_joined("d:1", None, {})


# --- other entries, and any ---


@pytest.mark.parametrize(
    "entry",
    [Claimed(ANN, 2), Noted("hm"), TasksQueued((0,)), started(0), ended(0)],
    ids=lambda each: type(each).__name__,
)
def test_entries_about_other_things_change_nothing(entry: Entry) -> None:
    run = fold(entry)
    assert (run.dags, run.ends, run.stop, run.ended) == ({}, {}, Stop.NONE, None)


def test_what_is_no_entry_is_refused() -> None:
    with pytest.raises(AssertionError):
        fold().apply(object())  # type: ignore[arg-type]


STATES = st.sampled_from([State.COMPLETED, State.STOPPED, State.CANCELLED, State.ABORTED, State.FAILED])
ENTRIES = st.one_of(
    st.builds(lambda number: dag_started(f"sub:{number}", data=DATA), st.integers(1, 5)),
    st.builds(lambda number, state: DagEnded(f"sub:{number}", state), st.integers(1, 5), STATES),
    st.builds(lambda stop, state: StopAsked(stop, state, "so"), st.sampled_from([Stop.STOP, Stop.CANCEL]), STATES),
)


@given(st.lists(ENTRIES, max_size=20))
def test_a_log_that_is_folded_twice_over_gives_the_same_state(log: list[Entry]) -> None:
    log.sort(key=lambda entry: isinstance(entry, DagEnded))  # a dag run ends after its start
    once, twice = fold(*log), fold(*log, *log)
    assert (once.dags, once.ends, once.open_dags) == (twice.dags, twice.ends, twice.open_dags)
    assert (once.stop, once.outcome()) == (twice.stop, twice.outcome())
    assert sorted((*once.open_dags, *once.ends)) == sorted(once.dags)
