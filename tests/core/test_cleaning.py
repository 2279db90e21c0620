"""A cleaning, against the memory store."""

from collections.abc import Sequence

import pytest

from meshflow.core.cleaning import NAMED_S, ORPHAN_S, PAGE, Cleaning, Rule
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import (
    Answer,
    CreateRun,
    GetBlob,
    ListNodes,
    ListRuns,
    PutBlob,
    Refused,
    RegisterNode,
    RemoveRun,
    Request,
    WriteOutput,
)
from meshflow.ids import NodeId, RunId
from meshflow.store.memory import MemoryStore

NOW = 1_000_000.0


class Shelf:
    """A store with runs that are so many seconds old."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.largest_step = 0

    def add(self, name: str, age_s: float, state: State = State.COMPLETED, *, took_s: float = 0.0) -> RunId:
        """A run that ended `age_s` ago."""
        run = RunId(f"{len(self.names()):024x}")
        ended_at = NOW - age_s if state.is_final else None
        record = RunRecord(run, name, name, "workflow", state=state, created_at=NOW - age_s - took_s, ended_at=ended_at)
        self.store.perform([CreateRun(record, {"code": b"1"}, {}), WriteOutput(run, "t", 1, "stdout", 0, b"printed")])
        return run

    def records(self) -> list[RunRecord]:
        """All runs, oldest first."""
        (found,) = self.store.perform([ListRuns()])
        assert isinstance(found, tuple)
        return list(reversed(found))

    def names(self) -> list[str]:
        """The workflows of all runs, oldest first."""
        return [record.name for record in self.records()]

    def ages(self) -> list[float]:
        """How old all runs are."""
        return [NOW - record.created_at for record in self.records()]

    def clean(self, *rules: Rule, at: float = NOW, is_dry: bool = False) -> tuple[Cleaning, list[RunRecord]]:
        """A whole cleaning; and the runs that went."""
        cleaning = Cleaning(rules, at, is_dry=is_dry)
        going: list[RunRecord] = []
        while requests := cleaning.requests():
            self.largest_step = max(self.largest_step, len(requests))
            going += cleaning.answered(self.perform(requests))
        return cleaning, going

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """What the store answers."""
        return self.store.perform(requests)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_runs_that_ended_too_long_ago_go_with_all_that_is_theirs(shelf: Shelf) -> None:
    old = shelf.add("fit", 50.0)
    shelf.add("fit", 30.0)
    cleaning, going = shelf.clean(Rule(ended_before=NOW - 40.0))
    assert [record.run for record in going] == [old]
    assert shelf.ages() == [30.0]
    assert (cleaning.run_count, cleaning.row_count, cleaning.size_bytes) == (1, 2, 8)
    assert shelf.store.perform([GetBlob(old, "code")]) == [None]


def test_the_age_of_a_run_begins_with_its_end(shelf: Shelf) -> None:
    shelf.add("fit", 10.0, took_s=1000.0)
    assert shelf.clean(Rule(ended_before=NOW - 40.0))[0].run_count == 0


@pytest.mark.parametrize("state", [state for state in State if not state.is_final])
def test_open_runs_stay_however_old(shelf: Shelf, state: State) -> None:
    shelf.add("fit", 1000.0, state)
    assert shelf.clean(Rule(ended_before=NOW), Rule(keep=0))[0].run_count == 0
    assert shelf.names() == ["fit"]


def test_the_newest_of_each_workflow_are_kept(shelf: Shelf) -> None:
    for age_s in (60.0, 50.0, 40.0):
        shelf.add("fit", age_s)
    shelf.add("plot", 70.0)
    shelf.clean(Rule(keep=2))
    assert list(zip(shelf.names(), shelf.ages(), strict=True)) == [("plot", 70.0), ("fit", 50.0), ("fit", 40.0)]


def test_a_run_goes_only_if_age_and_place_both_allow_it(shelf: Shelf) -> None:
    for age_s in (60.0, 50.0, 40.0, 30.0, 20.0):
        shelf.add("fit", age_s)
    shelf.clean(Rule(ended_before=NOW - 35.0, keep=3))
    assert shelf.ages() == [40.0, 30.0, 20.0]
    shelf.clean(Rule(ended_before=NOW - 35.0, keep=1))
    assert shelf.ages() == [30.0, 20.0]


def test_states_and_workflows_can_be_chosen(shelf: Shelf) -> None:
    shelf.add("fit", 60.0, State.FAILED)
    shelf.add("fit", 50.0)
    shelf.add("plot", 40.0)
    shelf.clean(Rule(ended_before=NOW, workflow="fit", states=(State.COMPLETED,)))
    assert list(zip(shelf.names(), shelf.ages(), strict=True)) == [("fit", 60.0), ("plot", 40.0)]


def test_runs_of_other_states_do_not_count_among_those_that_are_kept(shelf: Shelf) -> None:
    shelf.add("fit", 60.0, State.FAILED)
    shelf.add("fit", 50.0)
    shelf.clean(Rule(keep=1, states=(State.FAILED,)))
    assert shelf.ages() == [60.0, 50.0]


@pytest.mark.parametrize("rules", [(), (Rule(),), (Rule(workflow="fit"),), (Rule(states=(State.COMPLETED,)),)])
def test_without_age_and_number_no_run_goes(shelf: Shelf, rules: tuple[Rule, ...]) -> None:
    shelf.add("fit", 1e9)
    assert shelf.clean(*rules)[0].run_count == 0
    assert shelf.names() == ["fit"]


def test_only_the_output_goes_if_that_is_said_and_the_next_time_there_is_none(shelf: Shelf) -> None:
    shelf.add("fit", 60.0)
    rule = Rule(ended_before=NOW, output_only=True)
    assert [
        (each.run_count, each.row_count, each.size_bytes) for each in (shelf.clean(rule)[0], shelf.clean(rule)[0])
    ] == [
        (1, 1, 7),
        (0, 0, 0),
    ]
    assert shelf.names() == ["fit"]


def test_a_dry_cleaning_tells_what_would_go_and_changes_nothing(shelf: Shelf) -> None:
    runs = [shelf.add("fit", 100.0 - number) for number in range(PAGE + 5)]
    shelf.store.perform([PutBlob(RunId("f" * 24), "k", b"1")])
    cleaning, going = shelf.clean(Rule(keep=3), is_dry=True)
    assert [record.run for record in going] == runs[-4::-1]
    assert (cleaning.run_count, cleaning.row_count) == (PAGE + 2, 0)
    assert len(shelf.names()) == PAGE + 5
    shelf.clean(at=NOW + 2 * ORPHAN_S)
    assert shelf.store.perform([GetBlob(RunId("f" * 24), "k")]) == [b"1"], "it was noted by the dry one"


def test_many_runs_go_page_by_page(shelf: Shelf) -> None:
    for number in range(2 * PAGE + 5):
        shelf.add("fit", 5000.0 - number)
    cleaning, going = shelf.clean(Rule(keep=1))
    assert cleaning.run_count == len(going) == 2 * PAGE + 4
    assert len(shelf.names()) == 1
    assert shelf.largest_step <= PAGE + 2


def test_orphans_go_when_they_were_noted_a_day_ago(shelf: Shelf) -> None:
    orphan = RunId("f" * 24)
    shelf.store.perform([PutBlob(orphan, "k", b"123")])
    for at, left in ((NOW, b"123"), (NOW + ORPHAN_S, b"123"), (NOW + ORPHAN_S + 1, None)):
        shelf.clean(at=at)
        assert shelf.store.perform([GetBlob(orphan, "k")]) == [left]


def test_nodes_not_seen_for_a_month_are_forgotten(shelf: Shelf) -> None:
    old, new = (RegisterNode(NodeId(name), "", NOW - age_s, name) for name, age_s in (("a", NAMED_S + 1), ("b", 5.0)))
    shelf.store.perform([old, new])
    assert shelf.clean()[0].node_count == 1
    assert shelf.store.perform([ListNodes()]) == [(new,)]


def test_a_cleaning_that_is_given_up_at_any_step_is_finished_by_the_next() -> None:
    for steps in range(10):
        shelf = Shelf()
        runs = [shelf.add("fit", 60.0) for _ in range(3)]
        cleaning = Cleaning([Rule(ended_before=NOW)], NOW)
        for _ in range(steps):
            cleaning.answered(shelf.perform(cleaning.requests()))
        shelf.clean(Rule(ended_before=NOW))
        assert shelf.names() == []
        assert shelf.store.perform([GetBlob(run, "code") for run in runs]) == [None] * 3


@pytest.mark.parametrize("answer", [None, False, Refused("no"), 1.5, ()], ids=repr)
def test_answers_that_make_no_sense_end_it_and_remove_nothing(shelf: Shelf, answer: object) -> None:
    """A store of a later MeshFlow may have its reasons."""
    shelf.add("fit", 60.0)
    cleaning = Cleaning([Rule(ended_before=NOW)], NOW)
    for _ in range(5):
        requests = cleaning.requests()
        if not requests:
            break
        assert not any(isinstance(request, RemoveRun) for request in requests)
        assert cleaning.answered([answer] * len(requests)) == []
    assert cleaning.requests() == ()
    assert (cleaning.run_count, cleaning.row_count, cleaning.size_bytes) == (0, 0, 0)
