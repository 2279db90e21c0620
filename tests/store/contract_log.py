"""The contract, part two: the log, blobs and output."""

from collections.abc import Callable

import pytest

from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)
from meshflow.core.requests import Append, GetBlob, PutBlob, ReadLog, ReadOutput, RemoveDocument, WriteOutput
from meshflow.ids import NodeId, RunId, dag_run_id
from meshflow.store.base import Store
from tests.store.contract_base import DAG, OTHER, RUN, SECOND_DAG, ContractPart, StoreFactory, ask, create

NODE = NodeId("aa" * 8)
ALL_ENTRIES: tuple[Entry, ...] = (
    Claimed(NODE, 1),
    TasksQueued((0, 2)),
    TaskStarted(0, 1, 1, NODE),
    TaskEnded(0, 1, State.COMPLETED, Value(b"pickle", "", 6), ("next",), "", 1.5, 2.5, "node-1", True),
    TaskEnded(1, 0, State.SKIPPED),
    StopAsked(Stop.CANCEL, State.CANCELLED, "enough", "user"),
    DagStarted("sub_dag:3", "sub_dag", "key", Value(b"", "blob-1", 10**9)),
    DagEnded("sub_dag:3", State.FAILED, "why", 3, 2),
    Noted("take note", 4),
    RunEnded(State.COMPLETED),
)


def batch(seq: int, token: str = "mine", run: RunId = RUN, data: bytes = b"") -> Batch:
    return Batch(run, seq, token, (TaskEnded(0, 1, State.COMPLETED, Value(data, "", len(data))),), 12.5)


class LogContract(ContractPart):
    """The log, blobs and output."""

    # --- log ---

    def test_entries_of_every_kind_come_back_as_they_were_written(self, store: Store) -> None:
        written = Batch(DAG, 0, "token", ALL_ENTRIES, 1700000000.25)
        assert store.perform([Append(written), ReadLog(DAG)]) == [True, (written,)]

    def test_of_two_appends_at_one_place_the_first_one_wins(self, store_factory: StoreFactory) -> None:
        mine, rival = store_factory(), store_factory()
        assert ask(mine, Append(batch(0, "mine"))) is True
        assert ask(rival, Append(batch(0, "rival"))) is False
        assert ask(rival, ReadLog(RUN)) == (batch(0, "mine"),)

    def test_an_append_sent_again_answers_true_and_changes_nothing(self, store: Store) -> None:
        assert store.perform([Append(batch(0)), Append(batch(0))]) == [True, True]
        assert ask(store, Append(batch(0))) is True
        assert ask(store, ReadLog(RUN)) == (batch(0),)

    def test_appends_of_one_batch_are_answered_one_by_one(self, store: Store) -> None:
        ask(store, Append(batch(1, "rival")))
        ask(store, Append(batch(3, "mine")))
        appends = [Append(batch(seq, "mine")) for seq in (0, 1, 2, 3, 4)] + [Append(batch(0, "mine", OTHER))]
        assert store.perform(appends) == [True, False, True, True, True, True]
        assert ask(store, ReadLog(RUN)) == tuple(batch(seq, "rival" if seq == 1 else "mine") for seq in range(5))

    def test_a_log_is_read_from_any_place_on_in_order(self, store: Store) -> None:
        store.perform([Append(batch(seq)) for seq in (10, 2, 300, 0, 1)])
        assert ask(store, ReadLog(RUN, since=2)) == (batch(2), batch(10), batch(300))
        assert ask(store, ReadLog(RUN, since=301)) == ()
        assert ask(store, ReadLog(OTHER)) == ()

    def test_a_log_is_read_in_pieces_of_about_the_size_asked_for(self, store: Store) -> None:
        log = tuple(batch(seq, data=b"x" * 10_000) for seq in range(8))
        store.perform([Append(each) for each in log])
        assert ask(store, ReadLog(RUN, max_bytes=1)) == log[:1]
        piece = ask(store, ReadLog(RUN, since=1, max_bytes=30_000))
        assert isinstance(piece, tuple)
        assert piece == log[1 : 1 + len(piece)]
        assert 2 <= len(piece) <= 4

    @pytest.mark.parametrize("size", [70_000, 17 * 1024 * 1024])
    def test_a_batch_may_be_large(self, store: Store, size: int) -> None:
        """MongoDB's documents end at 16 MB."""
        large = batch(0, data=b"x" * size)
        assert ask(store, Append(large)) is True
        assert ask(store, Append(batch(0, "rival"))) is False
        assert ask(store, Append(large)) is True
        assert ask(store, ReadLog(RUN)) == (large,)

    def test_logs_and_output_of_runs_with_similar_names_are_not_mixed_up(self, store: Store) -> None:
        runs = [RUN, *(dag_run_id(RUN, name) for name in ("a", "a:1", "a#1", "a/b", "a\x00", "", "é"))]
        chunks = {run: WriteOutput(run, "task", 1, "stdout", 0, run.encode()) for run in runs}
        store.perform([Append(batch(0, run=run)) for run in runs])
        store.perform(list(chunks.values()))
        for run in runs:
            assert ask(store, ReadLog(run)) == (batch(0, run=run),)
            found = ask(store, ReadOutput(run))
            assert found == ((chunks[run],) if run != RUN else tuple(chunks[run] for run in sorted(runs)))

    # --- blobs ---

    @pytest.mark.parametrize("size", [0, 1, 100_000, 17 * 1024 * 1024])
    def test_a_blob_is_kept_and_overwritten(self, store: Store, size: int) -> None:
        first, second = b"1" * size, b"2" * size
        assert store.perform([PutBlob(RUN, "key", first), GetBlob(RUN, "key")]) == [True, first]
        assert store.perform([PutBlob(RUN, "key", second), GetBlob(RUN, "key")]) == [True, second]
        assert store.perform([PutBlob(RUN, "key", b"small"), GetBlob(RUN, "key")]) == [True, b"small"]

    def test_blobs_belong_to_the_workflow_run(self, store: Store) -> None:
        store.perform([PutBlob(DAG, "key", b"1")])
        answers = store.perform([GetBlob(RUN, "key"), GetBlob(SECOND_DAG, "key"), GetBlob(OTHER, "key")])
        assert answers == [b"1", b"1", None]

    def test_values_go_with_the_document_while_all_else_stays(self, store: Store) -> None:
        chunk = WriteOutput(RUN, "task", 1, "stdout", 0, b"text")
        large = batch(0, data=b"x" * 17 * 1024 * 1024)
        keys = ("value", "value-1", "value/", "value/1", "value/\uffff", "value0", "values/1", "dag/value/1")
        store.perform([create(), Append(large), chunk, PutBlob(OTHER, "value/1", b"2")])
        store.perform([PutBlob(RUN, key, key.encode() * 100_000) for key in keys])
        assert ask(store, RemoveDocument(RUN)) is True
        left = [key for key in keys if ask(store, GetBlob(RUN, key)) is not None]
        assert left == [key for key in keys if not key.startswith("value/")]
        assert store.perform([ReadLog(RUN), ReadOutput(RUN), GetBlob(OTHER, "value/1")]) == [(large,), (chunk,), b"2"]
        assert ask(store, RemoveDocument(RUN)) is False

    # --- output ---

    def test_output_is_read_in_the_order_of_capture(self, store: Store) -> None:
        chunks = [
            WriteOutput(DAG, "late", 1, "stdout", 0, b"3", 3.0),
            WriteOutput(SECOND_DAG, "early", 1, "stderr", 0, b"1", 1.0),
            WriteOutput(DAG, "same", 1, "stdout", 5, b"5", 3.5),
            WriteOutput(DAG, "same", 1, "stdout", 0, b"4", 3.5),
            WriteOutput(DAG, "late", 2, "stdout", 0, b"2", 2.0),
            WriteOutput(RUN, "run", 1, "stdout", 0, b"0", 0.5),
        ]
        assert store.perform([*chunks, WriteOutput(OTHER, "other", 1, "stdout", 0, b"!", 0.0)]) == [True] * 7

        def printed(run: RunId, task: str | None = None, attempt: int | None = None) -> bytes:
            found = ask(store, ReadOutput(run, task, attempt))
            assert isinstance(found, tuple)
            assert all(chunk in chunks for chunk in found)
            return b"".join(chunk.data for chunk in found)

        assert printed(RUN) == b"012345"
        assert printed(DAG) == b"2345"
        assert printed(SECOND_DAG) == b"1"
        assert printed(RUN, "late") == b"23"
        assert printed(RUN, "late", 1) == b"3"
        assert printed(RUN, attempt=2) == b"2"
        assert printed(RUN, "nobody") == b""

    @pytest.mark.parametrize("resend", [lambda chunk: [chunk], lambda chunk: [chunk, chunk]])
    def test_output_written_again_changes_nothing(
        self, store: Store, resend: Callable[[WriteOutput], list[WriteOutput]]
    ) -> None:
        chunk = WriteOutput(DAG, "task", 1, "stdout", 7, b"text", 1.0)
        other = WriteOutput(DAG, "task", 1, "stdout", 7, b"other", 2.0)
        assert store.perform([*resend(chunk)]) == [True] * len(resend(chunk))
        assert store.perform([chunk, other, WriteOutput(DAG, "task", 1, "stderr", 7, b"!", 3.0)]) == [True, True, True]
        assert ask(store, ReadOutput(DAG)) == (chunk, WriteOutput(DAG, "task", 1, "stderr", 7, b"!", 3.0))
