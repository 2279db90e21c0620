"""The contract, part four: how runs leave a store, and what nobody owns."""

import pytest

from meshflow.core.records import Batch, RunRecord, State, TaskEnded, Value
from meshflow.core.requests import (
    Append,
    CreateRun,
    ExtendField,
    GetBlob,
    GetField,
    ListRuns,
    LoadRun,
    Pickled,
    PutBlob,
    ReadLog,
    ReadOutput,
    Refused,
    RemoveDocument,
    RemoveOrphans,
    RemoveRun,
    Request,
    Sweep,
    Swept,
    WriteOutput,
)
from meshflow.ids import RunId
from meshflow.store.base import Store
from tests.store.contract_base import DAG, OTHER, RUN, SECOND_DAG, ContractPart, ask, create, end, load, record, sweep

NEIGHBOUR = RunId(RUN[:-1] + "0")
"""Follows all of the run's own in any order of text."""


def batch(run: RunId, seq: int = 0, data: bytes = b"") -> Batch:
    return Batch(run, seq, "mine", (TaskEnded(0, 1, State.COMPLETED, Value(data, "", len(data))),), 12.5)


def whole_run(run: RunId = RUN) -> list[Request]:
    """A run with everything that can belong to one."""
    dag = RunId(DAG.replace(RUN, run))
    return [
        CreateRun(record(run), {"code": b"12345"}, {"meta": {}, "data": {"big": Pickled(b"x" * 100_000)}}),
        create(dag, state=State.COMPLETED),
        Append(batch(run)),
        *[Append(batch(dag, seq)) for seq in range(3)],
        PutBlob(dag, "value/1", b"x" * 1000),
        WriteOutput(dag, "task", 1, "stdout", 0, b"printed"),
        WriteOutput(dag, "task", 1, "stdout", 7, b"more"),
        ExtendField(run, "data", "list", (1,), "token"),
    ]


def what_is_left(store: Store, run: RunId = RUN) -> list[object]:
    """All that can be read of a run, its records aside."""
    dag = RunId(DAG.replace(RUN, run))
    found = store.perform([ReadLog(run), ReadLog(dag), GetBlob(run, "code"), GetBlob(run, "value/1"), ReadOutput(run)])
    return [each for each in found if each]


def look_for_orphans(store: Store, at: float, noted_before: float) -> None:
    after = ""
    for _ in range(10):
        answer = ask(store, RemoveOrphans(at, noted_before, after))
        assert isinstance(answer, str)
        after = answer
        if not after:
            return
    raise AssertionError("the search does not end")


class RemovalContract(ContractPart):
    """Removal."""

    # --- runs ---

    def test_a_run_that_was_taken_out_is_not_shown_and_the_sweeps_leave_nothing_of_it(self, store: Store) -> None:
        store.perform([*whole_run(), *whole_run(NEIGHBOUR), create(OTHER), end(), end(NEIGHBOUR)])
        neighbours = what_is_left(store, NEIGHBOUR)
        assert ask(store, RemoveRun(RUN)) is True
        assert ask(store, LoadRun(RUN)) is None
        listed = ask(store, ListRuns(workflows_only=True))
        assert isinstance(listed, tuple)
        assert [each.run for each in listed] == [OTHER, NEIGHBOUR]
        assert isinstance(ask(store, GetField(RUN, "data", "")), Refused)
        row_count, size_bytes = sweep(store)
        assert row_count >= 8
        assert size_bytes >= 1000 + 5 + 11
        assert what_is_left(store) == []
        assert store.perform([LoadRun(DAG), ListRuns(parent=RUN)]) == [None, ()]
        assert what_is_left(store, NEIGHBOUR) == neighbours
        assert ask(store, GetField(NEIGHBOUR, "data", "big")) == (True, Pickled(b"x" * 100_000))
        assert isinstance(load(store, OTHER), RunRecord)

    @pytest.mark.parametrize("state", [state for state in State if not state.is_final])
    @pytest.mark.parametrize("output_only", [False, True])
    def test_an_open_run_is_never_touched(self, store: Store, state: State, output_only: bool) -> None:
        store.perform([create(state=state), *whole_run()[1:]])
        before = what_is_left(store)
        assert ask(store, RemoveRun(RUN, output_only)) is False
        assert sweep(store) == (0, 0)
        assert load(store).state is state
        assert what_is_left(store) == before

    def test_only_a_whole_workflow_run_that_is_there_can_be_removed(self, store: Store) -> None:
        store.perform([create(), create(DAG, state=State.COMPLETED), end(OTHER)])
        assert store.perform([RemoveRun(DAG), RemoveDocument(DAG), RemoveRun(OTHER)]) == [False, False, False]
        assert isinstance(ask(store, LoadRun(DAG)), RunRecord)
        assert ask(store, GetField(RUN, "meta", "name")) == (True, "simple")
        assert store.perform([end(), RemoveRun(RUN), RemoveRun(RUN)]) == [True, True, False]

    def test_a_dag_run_that_is_still_open_is_not_claimed_after_its_run_was_removed(self, store: Store) -> None:
        store.perform([create(), create(DAG), create(SECOND_DAG, state=State.RUNNING), end()])
        assert store.perform([RemoveRun(RUN), ListRuns(is_open=True)]) == [True, ()]

    def test_only_the_output_can_be_removed(self, store: Store) -> None:
        store.perform([*whole_run(), end()])
        before = store.perform([ReadLog(RUN), ReadLog(DAG), GetBlob(RUN, "value/1"), GetField(RUN, "data", "")])
        assert ask(store, RemoveRun(RUN, output_only=True)) is True
        assert sweep(store) == (2, 11)
        assert ask(store, ReadOutput(RUN)) == ()
        after = store.perform([ReadLog(RUN), ReadLog(DAG), GetBlob(RUN, "value/1"), GetField(RUN, "data", "")])
        assert after == before
        assert ask(store, RemoveRun(RUN, output_only=True)) is False
        assert store.perform([RemoveRun(RUN), LoadRun(RUN)]) == [True, None]

    def test_a_run_is_removed_although_its_output_was_about_to_be(self, store: Store) -> None:
        store.perform([*whole_run(), end(), RemoveRun(RUN, output_only=True), RemoveRun(RUN)])
        sweep(store)
        assert what_is_left(store) == []

    def test_a_run_that_is_made_anew_before_the_sweep_is_kept(self, store: Store) -> None:
        store.perform([*whole_run(), end(), RemoveRun(RUN)])
        assert ask(store, create(data={"x": 1})) is True
        sweep(store)
        assert load(store).state is State.QUEUED
        assert ask(store, GetField(RUN, "data", "x")) == (True, 1)

    # --- sweeps ---

    def test_a_sweep_is_bounded_and_a_log_goes_from_its_end(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for place in ("memory", "sqlite_removals", "mongo_removals"):
            monkeypatch.setattr(f"meshflow.store.{place}.SWEEP_ROWS", 4, raising=False)
        batches = [batch(DAG, seq) for seq in range(10)]
        store.perform([create(), *map(Append, batches), end(), RemoveRun(RUN)])
        seen = []
        for _ in range(20):
            log = ask(store, ReadLog(DAG))
            assert isinstance(log, tuple)
            assert log == tuple(batches[: len(log)])
            seen.append(len(log))
            swept = ask(store, Sweep())
            assert isinstance(swept, Swept)
            if swept.is_done:
                break
            assert swept.row_count <= 10
        assert seen[0] == 10
        assert seen[-1] == 0

    def test_sweeping_an_empty_store_is_done_at_once(self, store: Store) -> None:
        assert ask(store, Sweep()) == Swept(0, 0, is_done=True)

    # --- orphans ---

    def test_what_belongs_to_no_run_is_removed_when_it_was_noted_long_enough_ago(self, store: Store) -> None:
        """Of a submission that died half way, and of a writer that came too late."""
        store.perform([PutBlob(RUN, "dag/main_dag", b"1"), *whole_run(NEIGHBOUR), Append(batch(OTHER))])
        kept = what_is_left(store, NEIGHBOUR)
        for at in (100.0, 200.0):
            look_for_orphans(store, at, noted_before=100.0)
            assert sweep(store) == (0, 0)
        assert ask(store, GetBlob(RUN, "dag/main_dag")) == b"1"
        look_for_orphans(store, 300.0, noted_before=100.5)
        row_count, size_bytes = sweep(store)
        assert row_count == 2
        assert size_bytes > 1
        assert store.perform([GetBlob(RUN, "dag/main_dag"), ReadLog(OTHER)]) == [None, ()]
        assert what_is_left(store, NEIGHBOUR) == kept

    def test_a_submission_that_takes_long_is_no_orphan(self, store: Store) -> None:
        store.perform([PutBlob(RUN, "dag/main_dag", b"1")])
        look_for_orphans(store, 100.0, 0.0)
        assert ask(store, create()) is True
        look_for_orphans(store, 200.0, 150.0)
        sweep(store)
        assert store.perform([GetBlob(RUN, "dag/main_dag")]) == [b"1"]
        assert load(store).state is State.QUEUED

    def test_a_dag_run_without_a_workflow_run_is_an_orphan(self, store: Store) -> None:
        """A node that was stopped for long may make one for a run that was removed meanwhile."""
        ask(store, create(DAG))
        look_for_orphans(store, 100.0, 0.0)
        look_for_orphans(store, 200.0, 150.0)
        sweep(store)
        assert ask(store, LoadRun(DAG)) is None

    # --- what there is to remove ---

    def test_runs_are_listed_page_by_page(self, store: Store) -> None:
        runs = [RunId(f"{number:024x}") for number in range(5)]
        store.perform([create(run, created_at=float(number)) for number, run in enumerate(runs)])
        first = ask(store, ListRuns(workflows_only=True, limit=2))
        second = ask(store, ListRuns(workflows_only=True, limit=2, before=3.0))
        third = ask(store, ListRuns(workflow="simple", before=1.0))
        assert [[each.run for each in page] for page in (first, second, third)] == [  # type: ignore[attr-defined]
            [runs[4], runs[3]],
            [runs[2], runs[1]],
            [runs[0]],
        ]
