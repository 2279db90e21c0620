"""The new run that a retry makes of an old one, in a store in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from meshflow import wire
from meshflow.core.graph import WorkflowSpec
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagRefused,
    DagStarted,
    Entry,
    RunEnded,
    RunRecord,
    State,
    TaskEnded,
    Value,
)
from meshflow.core.requests import (
    Answer,
    Append,
    CreateRun,
    GetBlob,
    GetField,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
    RemoveDocument,
    RemoveRun,
    Request,
    SetFields,
)
from meshflow.core.retrying import Retry
from meshflow.errors import NotRetryable
from meshflow.ids import NodeId, RunId, dag_run_id
from meshflow.store.base import perform_steps
from meshflow.store.memory import MemoryStore
from tests.core.builders import WF, dag, definition, ended, started, task, workflow, workflow_record

NEW = RunId("60" * 12)
WALL = 2000.0
FAILED = State.FAILED

DAG = dag("a b f z", "a>f b>z f>z")
SUB = dag("x y", "x>y", name="sub")
ENDS = (
    started(0),
    ended(0),
    started(1),
    ended(1),
    started(2),
    ended(2, FAILED, reason="boom"),
    TaskEnded(3, 0, FAILED),
)
"""What `d:1` logged: `f` failed."""
SUB_KEY = f"{WF}/d:1/0/start/1"


class Old:
    """A run that has failed, in a store: `d:1` as `ENDS` has it, and beside it the sub-dag `sub:1`, which completed."""

    def __init__(self, spec: WorkflowSpec | None = None, ends: Sequence[Entry] = ENDS) -> None:
        self.store = MemoryStore()
        blobs = {"workflow": wire.encode(spec or workflow("d", "sub"))}
        blobs |= {f"dag/{each.name}": wire.encode(definition(each)) for each in (DAG, SUB)}
        record = workflow_record(state=FAILED, reason="boom", arguments={"n": 5})
        self.perform(CreateRun(record, blobs, {"meta": {"old": 1}, "data": {"n": 5, "put": [1, 2]}}))
        self.log(
            WF,
            Claimed(NodeId("me"), 1),
            DagStarted("d:1", "d", "autostart/d"),
            DagStarted("sub:1", "sub", SUB_KEY, Value(b"given")),
            DagEnded("sub:1", State.COMPLETED, "", 2, 2),
            DagEnded("d:1", FAILED, "boom", 4, 4),
            RunEnded(FAILED, "boom"),
        )
        self.log(dag_run_id(WF, "d:1"), Claimed(NodeId("me"), 1), *ends, RunEnded(FAILED, "boom"))
        self.log(dag_run_id(WF, "sub:1"), Claimed(NodeId("me"), 1), ended(0), ended(1), RunEnded(State.COMPLETED))

    def perform(self, *requests: Request) -> list[Answer]:
        return self.store.perform(requests)

    def log(self, run: RunId, *entries: Entry) -> None:
        """Append each entry in a batch of its own."""
        (known,) = self.perform(ReadLog(run))
        assert isinstance(known, tuple)
        for seq, entry in enumerate(entries, len(known)):
            assert self.perform(Append(Batch(run, seq, f"{run}/{seq}", (entry,), 1.0))) == [True]

    def retry(self, *, rerun_at_most_once: bool = False) -> RunRecord:
        """Retry it as NEW."""
        return perform_steps(self.store, self.steps(rerun_at_most_once=rerun_at_most_once).steps())

    def steps(self, *, rerun_at_most_once: bool = False) -> Retry:
        (old,) = self.perform(LoadRun(WF))
        assert isinstance(old, RunRecord)
        return Retry(old, NEW, wire.StoredDefinitions(), WALL, rerun_at_most_once=rerun_at_most_once)

    def entries(self, name: str = "") -> list[Entry]:
        """A log of the new run."""
        (batches,) = self.perform(ReadLog(dag_run_id(NEW, name) if name else NEW))
        assert isinstance(batches, tuple)
        return [entry for batch in batches for entry in batch.entries]

    def blob(self, key: str) -> object:
        return self.perform(GetBlob(NEW, key))[0]


def test_the_new_run_begins_where_the_old_one_has_left_off() -> None:
    old = Old()
    record = old.retry()
    assert (record.run, record.state, record.retry_of, record.reused) == (NEW, State.QUEUED, WF, 4)
    assert (record.arguments, record.created_at, record.name) == ({"n": 5}, WALL, "w")
    assert old.perform(LoadRun(NEW)) == [record]
    assert old.entries() == [
        DagStarted("d:1", "d", "autostart/d"),
        DagStarted("sub:1", "sub", f"{NEW}/d:1/0/start/1"),
        DagEnded("sub:1", State.COMPLETED, "", 2, 2),
    ]
    assert old.entries("d:1") == [ended(0), ended(1)]
    assert old.entries("sub:1") == [ended(0), ended(1), RunEnded(State.COMPLETED)]
    assert old.blob("dag/sub") == wire.encode(definition(SUB))


def test_the_old_run_stays_as_it_was() -> None:
    old, untouched = Old(), Old()
    old.retry()
    reads: list[Request] = [
        LoadRun(WF),
        ReadLog(WF),
        ReadLog(dag_run_id(WF, "d:1")),
        GetField(WF, "data", ""),
        GetField(WF, "meta", ""),
    ]
    assert old.perform(*reads) == untouched.perform(*reads)


def test_only_dag_runs_that_completed_have_a_record_before_the_run_is_driven() -> None:
    old = Old()
    old.retry()
    (records,) = old.perform(ListRuns(parent=NEW))
    assert isinstance(records, tuple)
    assert [(each.name, each.state, each.done) for each in records] == [("sub:1", State.COMPLETED, 2)]


def test_the_document_is_copied_and_its_meta_section_is_new() -> None:
    old = Old()
    old.retry()
    assert old.perform(GetField(NEW, "data", "")) == [(True, {"n": 5, "put": [1, 2]})]
    (answer,) = old.perform(GetField(NEW, "meta", ""))
    assert isinstance(answer, tuple)
    assert sorted(answer[1]) == ["name", "queue", "start_time"]


def test_a_sub_dag_that_failed_is_open_with_what_was_given_to_it() -> None:
    old = Old()
    old.log(WF, DagStarted("sub:2", "sub", f"{WF}/d:1/0/start/2", Value(b"given")), DagEnded("sub:2", FAILED, "", 2, 2))
    old.log(dag_run_id(WF, "sub:2"), Claimed(NodeId("me"), 1), ended(0), ended(1, FAILED), RunEnded(FAILED, "boom"))
    assert old.retry().reused == 5
    assert old.entries()[-1] == DagStarted("sub:2", "sub", f"{NEW}/d:1/0/start/2", Value(b"given"))
    assert old.entries("sub:2") == [ended(0)]


def large(index: int) -> Entry:
    """The end of a task with a large value."""
    return ended(index, value=Value(b"", f"value/{WF}/d:1/{index}", 20 * 1024 * 1024))


def key(index: int) -> str:
    return f"value/{WF}/d:1/{index}"


def test_large_values_that_are_needed_are_copied() -> None:
    old = Old(ends=(large(0), large(1), ended(2, FAILED)))
    old.perform(PutBlob(WF, key(0), b"0"), PutBlob(WF, key(1), b"1"))
    assert old.retry().reused == 4
    assert (old.blob(key(0)), old.blob(key(1))) == (b"0", b"1")
    assert old.entries("d:1") == [large(0), large(1)]


def test_values_that_nothing_needs_are_copied_only_if_data_are_kept() -> None:
    for keeps in (False, True):
        old = Old(
            workflow("d", "sub", clear_data_store=not keeps), ends=(large(2), ended(0, FAILED), ended(1), ended(3))
        )
        old.perform(PutBlob(WF, key(2), b"2"))
        old.retry()
        assert old.blob(key(2)) == (b"2" if keeps else None)
        assert old.entries("d:1") == [large(2), ended(1), ended(3)]


def test_a_task_whose_value_is_gone_runs_again() -> None:
    old = Old(ends=(large(0), large(1), ended(2, FAILED)))
    old.perform(PutBlob(WF, key(1), b"1"))
    assert old.retry().reused == 3
    assert old.entries("d:1") == [large(1)]


def test_many_values_are_copied_in_parts() -> None:
    old = Old(ends=(large(0), large(1), ended(2, FAILED)))
    old.perform(PutBlob(WF, key(0), b"0"), PutBlob(WF, key(1), b"1"))
    asked = [len(requests) for requests in recorded(old) if type(requests[0]).__name__ == "CopyBlob"]
    assert asked == [1, 1, 1, 1, 1]  # three definitions, and two values of 20 MiB


def recorded(old: Old) -> Iterator[Sequence[Request]]:
    """The requests of a retry, each performed when it was seen."""
    steps = old.steps().steps()
    requests = next(steps)
    while True:
        yield requests
        try:
            requests = steps.send(old.store.perform(requests))
        except StopIteration:
            return


def test_the_record_comes_last_and_everything_may_be_asked_twice() -> None:
    old, twice = Old(), Old()
    kinds = []
    for requests in recorded(old):
        assert old.perform(LoadRun(NEW)) == [None]
        kinds.append(type(requests[-1]).__name__)
        twice.store.perform(requests)
    assert kinds[-1] == "CreateRun"
    for requests in recorded(twice):
        twice.store.perform(requests)
    reads: list[Request] = [ReadLog(NEW), ReadLog(dag_run_id(NEW, "d:1")), LoadRun(NEW), GetField(NEW, "data", "")]
    assert old.perform(*reads) == twice.perform(*reads)


def test_a_retry_can_be_retried() -> None:
    old = Old()
    first = old.retry()
    old.log(dag_run_id(NEW, "d:1"), Claimed(NodeId("me"), 1), ended(2), ended(3, FAILED), RunEnded(FAILED, "boom"))
    old.log(NEW, Claimed(NodeId("me"), 1), DagEnded("d:1", FAILED, "boom", 4, 4), RunEnded(FAILED, "boom"))
    third = RunId("61" * 12)
    retry = Retry(replace(first, state=FAILED), third, wire.StoredDefinitions(), WALL)
    record = perform_steps(old.store, retry.steps())
    assert (record.retry_of, record.reused) == (NEW, 5)
    (batches,) = old.perform(ReadLog(third))
    assert isinstance(batches, tuple)
    assert [entry.key for entry in batches[0].entries if isinstance(entry, DagStarted)] == [
        "autostart/d",
        f"{third}/d:1/0/start/1",
    ]


def test_a_task_that_was_refused_a_dag_run_runs_again() -> None:
    old = Old()
    old.log(WF, DagRefused("sub", f"{WF}/d:1/1/start/1"))
    assert old.retry().reused == 3
    assert old.entries("d:1") == [ended(0)]


def test_a_dag_run_that_completed_with_a_refused_task_is_driven_again() -> None:
    old = Old()
    old.log(WF, DagRefused("d", f"{WF}/sub:1/1/start/1"))
    old.retry()
    assert old.entries("sub:1") == [ended(0)]
    assert DagEnded("sub:1", State.COMPLETED, "", 2, 2) not in old.entries()


def test_a_record_that_lags_behind_its_log_does_not_matter() -> None:
    old = Old()
    retry = Retry(workflow_record(state=State.RUNNING), NEW, wire.StoredDefinitions(), WALL)
    assert perform_steps(old.store, retry.steps()).run == NEW


ONCE = dag("a b f z", "a>f b>z f>z", task("f", at_most_once=True))


def test_what_may_run_at_most_once_and_may_have_run_is_run_again_only_on_request() -> None:
    old = Old()
    old.perform(PutBlob(WF, "dag/d", wire.encode(definition(ONCE))))
    with pytest.raises(NotRetryable, match=r"'f' of d:1; .*--rerun-at-most-once"):
        old.retry()
    assert old.perform(ReadLog(NEW), GetBlob(NEW, "workflow")) == [(), None]
    assert old.retry(rerun_at_most_once=True).reused == 4


def refusals() -> Iterator[tuple[str, Old, str]]:
    """What stands against a retry, and the words that say so."""
    old = Old()
    old.store = MemoryStore()
    old.perform(CreateRun(workflow_record(state=State.RUNNING), {}, {}))
    yield "it goes on", old, "is running; wait for its end, or end it"
    old = Old()
    old.store = MemoryStore()
    old.perform(CreateRun(workflow_record(state=State.COMPLETED), {}, {}))
    yield "it completed", old, "nothing to retry"
    old = Old()
    old.perform(RemoveDocument(WF))
    yield "the document is gone", old, "its document is gone"
    old = Old()
    old.perform(PutBlob(WF, "dag/d", b"nonsense"))
    yield "the definition is damaged", old, "submit it again"
    old = Old(workflow("d", "sub more"))
    yield "the definition of a dag is absent", old, "lacks 'dag/more'"
    old = Old()
    old.log(WF, DagStarted("sub:2", "sub", "k", Value(b"", "value/given", 9)), DagEnded("sub:2", FAILED))
    yield "what was given to a dag is gone", old, "given to sub:2 are gone"


@pytest.mark.parametrize(("old", "text"), [pytest.param(old, text, id=what) for what, old, text in refusals()])
def test_what_cannot_be_retried_says_why_and_there_is_no_new_run(old: Old, text: str) -> None:
    with pytest.raises(NotRetryable, match=text):
        old.retry()
    assert old.perform(LoadRun(NEW)) == [None]


@pytest.mark.parametrize("step", range(1, 30))
def test_a_run_that_is_removed_meanwhile_is_not_retried_or_is_retried_wholly(step: int) -> None:
    old, whole = Old(), Old()
    whole.retry()
    try:
        for number, _ in enumerate(recorded(old)):
            if number == step:
                old.perform(RemoveRun(WF))
                old.store._sweep()
    except NotRetryable:
        assert old.perform(LoadRun(NEW)) == [None]
    else:
        assert old.entries("d:1") == whole.entries("d:1")
        assert old.perform(LoadRun(NEW)) == whole.perform(LoadRun(NEW))


def test_long_logs_are_written_in_batches() -> None:
    names = " ".join(f"t{index}" for index in range(10_000))
    spec = dag(names)
    old = Old(ends=())
    old.perform(PutBlob(WF, "dag/d", wire.encode(definition(spec))))
    run = dag_run_id(WF, "d:1")
    ends = tuple(ended(index) for index in range(9_999))
    (known,) = old.perform(ReadLog(run))
    assert isinstance(known, tuple)
    old.perform(Append(Batch(run, len(known), "many", ends)))
    assert old.retry().reused == 9_999 + 2
    (batches,) = old.perform(ReadLog(dag_run_id(NEW, "d:1")))
    assert isinstance(batches, tuple)
    assert [len(batch.entries) for batch in batches] == [4096, 4096, 1807]
    assert [batch.seq for batch in batches] == [0, 1, 2]


def test_a_document_that_somebody_changes_later_is_not_shared() -> None:
    old = Old()
    old.retry()
    old.perform(SetFields(NEW, "data", {"put": []}))
    assert old.perform(GetField(WF, "data", "put")) == [(True, [1, 2])]


MAPPED = dag("a m b n z", "a>m m>z b>n n>z", task("m", splits=("a",)), task("n", splits=("b",)))
A, M, B, N, Z, M0, M1, N0, N1 = range(9)


def mapped_run(rows: Sequence[Value]) -> Old:
    """A run in which `m` and then `n` were mapped over two rows each; `m[1]` and `n[1]` failed, and each instance had
    started a sub-dag."""
    small = (Value(b"0"), Value(b"1"))
    log = [ended(A), ended(B), ended(M, rows=tuple(rows)), ended(N, rows=small)]
    log += [ended(M0), ended(N0), ended(M1, FAILED), ended(N1, FAILED)]
    old = Old(ends=log)
    old.perform(PutBlob(WF, "dag/d", wire.encode(definition(MAPPED))))
    for number, instance in enumerate((M0, M1, N0, N1), 2):
        started = DagStarted(f"sub:{number}", "sub", f"{WF}/d:1/{instance}/start/1")
        old.log(WF, started, DagEnded(f"sub:{number}", State.COMPLETED, "", 2, 2))
        ends = (ended(0), ended(1), RunEnded(State.COMPLETED))
        old.log(dag_run_id(WF, f"sub:{number}"), *ends)
    return old


def keys(old: Old) -> list[str]:
    """The keys of the dag runs that instances had started, in the new run."""
    started = [entry for entry in old.entries() if isinstance(entry, DagStarted)]
    return [entry.key.removeprefix(f"{NEW}/") for entry in started[2:]]


def test_instances_keep_their_ends_and_their_numbers() -> None:
    small = (Value(b"0"), Value(b"1"))
    old = mapped_run(small)
    assert old.retry().reused == 6 + 10
    assert old.entries("d:1") == [
        *(ended(A), ended(B), ended(M, rows=small), ended(N, rows=small), ended(M0), ended(N0)),
    ]
    assert keys(old) == [f"d:1/{instance}/start/1" for instance in (M0, M1, N0, N1)]


def test_instances_behind_those_of_a_list_that_is_split_again_get_other_numbers_and_so_do_their_keys() -> None:
    old = mapped_run([Value(b"0"), Value(b"", "value/row", 70_000)])
    assert old.retry().reused == 4 + 10
    small = (Value(b"0"), Value(b"1"))
    assert old.entries("d:1") == [ended(A), ended(B), ended(N, rows=small), replace(ended(N0), task=M0)]
    assert keys(old) == [f"d:1/{M0}.gone/start/1", f"d:1/{M1}.gone/start/1", f"d:1/{M0}/start/1", f"d:1/{M1}/start/1"]
