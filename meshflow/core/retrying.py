"""A retry: a new run that begins where one that did not complete has left off.

The new run is made of what the old one left in the store: its definition, its document, and logs in which the tasks
that keep their end (`reuse.py`) have ended already. Then some node claims it, reads these logs, and drives it on like a
run whose owner has died. The old run is not touched.

`Retry.steps` is a generator: it yields requests, is sent the answers, and returns the record of the new run. So whoever
has a store can retry: a client through the mesh, the simulator in its own.

Invariants:
1. The record of the new run comes last: it exists wholly or not at all. Every request may be sent again.
2. What stands in a log before its first Claimed is taken over from the old run; nothing of it is done again.
3. Runs share nothing: what the new one needs is copied, within the store, so that either may be removed first.
4. Neither values nor logs are held as a whole: logs are read twice, part by part.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from meshflow.core.dagrun import DagRun
from meshflow.core.definitions import Definitions, definition_of
from meshflow.core.graph import DagDefinition, DagSpec, WorkflowSpec
from meshflow.core.keys import run_of, task_of
from meshflow.core.provenance import instant
from meshflow.core.records import (
    Batch,
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
    CopyBlob,
    CopyDocument,
    CreateRun,
    GetBlob,
    LoadRun,
    ReadLog,
    Refused,
    Request,
    SetFields,
)
from meshflow.core.reuse import PastDag
from meshflow.errors import NotRetryable, PeerError
from meshflow.ids import RunId, dag_run_id, dag_run_name, workflow_of

T = TypeVar("T")

Steps = Generator[Sequence[Request], Sequence[Answer], T]

_MAX_ENTRIES, _MAX_BYTES = 4096, 4 * 1024 * 1024
"""About what one batch of a log holds, as in `ownership.py`."""

_COPIED_COUNT, _COPIED_BYTES = 64, 16 * 1024 * 1024
"""About what is copied in one commit, for which other writers wait. At least one value, however large."""

_ENTRY_BYTES = 128
"""What an entry weighs beside its value, roughly."""


@dataclass(slots=True)
class _Dag:
    """A dag run of the old run, and what is taken over of it."""

    started: DagStarted
    spec: DagSpec
    past: PastDag
    ended: DagEnded | None
    """None: it has not ended, or not well; it is driven on."""
    reused_count: int = 0
    """How many of its tasks have ended in the new run from the start."""
    fold: DagRun | None = None
    """The new dag run as its log begins; None before that was written."""

    def number(self, task: int) -> int | None:
        """The number in the new run of a task of the old one; None: an instance of a task that is split again."""
        mapped, index = self.past.place(task)
        if index is None:
            return task
        instances = () if self.fold is None else self.fold.instances(mapped)
        return instances[index] if instances else None


class _NewLog:
    """Gathers the entries of a log into appends of a bounded size."""

    def __init__(self, run: RunId, at: float) -> None:
        self._run = run
        self._at = at
        self._seq = 0
        self._entries: list[Entry] = []
        self._size_bytes = 0

    def add(self, entry: Entry, values: Sequence[Value] = ()) -> tuple[Append, ...]:
        """Add an entry with these values in it; what is to be appended now."""
        self._entries.append(entry)
        self._size_bytes += _ENTRY_BYTES + sum(len(value.inline) for value in values)
        is_full = len(self._entries) >= _MAX_ENTRIES or self._size_bytes >= _MAX_BYTES
        return self.rest() if is_full else ()

    def rest(self) -> tuple[Append, ...]:
        """What is left to be appended."""
        if not self._entries:
            return ()
        batch = Batch(self._run, self._seq, f"retry/{self._run}/{self._seq}", tuple(self._entries), self._at)
        self._entries, self._size_bytes = [], 0
        self._seq += 1
        return (Append(batch),)


class Retry:
    """The retry of the run `old` as the run `new`. `definitions` reads what was stored at the submission."""

    def __init__(
        self, old: RunRecord, new: RunId, definitions: Definitions, wall_at: float, *, rerun_at_most_once: bool = False
    ) -> None:
        self._old = old
        self._new = new
        self._definitions = definitions
        self._wall_at = wall_at
        self._rerun_at_most_once = rerun_at_most_once
        self._dags: dict[str, _Dag] = {}

    def steps(self) -> Steps[RunRecord]:
        """The requests that make the new run, and in the end its record.

        Raises:
            NotRetryable: the run goes on, has completed, lacks what a retry needs, or has tasks that may run at most
                once and may have run, unless `rerun_at_most_once`. Then there is no new run.
        """
        started, ends, refused = yield from self._read_run()
        spec = yield from self._read_definitions(started, ends)
        for dag in self._dags.values():
            yield from self._read_dag(dag, refused)
        needed = {name: dag.past.open() for name, dag in self._dags.items() if dag.ended is None}
        self._check_at_most_once()
        yield from self._copy_definitions(spec)
        yield from self._copy_document()
        yield from self._copy_values(needed)
        self._check_at_most_once()
        if not spec.clear_data_store:
            yield from self._copy([value for dag in self._dags.values() for value in dag.past.other_blobs])
        for dag in self._dags.values():
            yield from self._write_dag(dag)
        yield from self._write_run()
        return (yield from self._create())

    def _ask(self, *requests: Request) -> Steps[Sequence[Answer]]:
        answers = (yield requests) if requests else ()
        for answer in answers:
            if isinstance(answer, Refused):
                raise self._refusal(answer.reason)
        return answers

    def _refusal(self, why: str) -> NotRetryable:
        return NotRetryable(f"run {self._old.run} ({self._old.name}) cannot be retried: {why}")

    # --- what there was ---

    def _read_log(self, run: RunId, since: int) -> Steps[list[Batch]]:
        (answer,) = yield from self._ask(ReadLog(run, since))
        return [batch for batch in answer if isinstance(batch, Batch)] if isinstance(answer, tuple) else []

    def _read_run(self) -> Steps[tuple[list[DagStarted], dict[str, DagEnded], dict[RunId, list[int]]]]:
        """The dag runs of the old run, how they ended, and the tasks of each that were refused a dag run. The record
        may not say yet that the run has ended."""
        started: list[DagStarted] = []
        refused: dict[RunId, list[int]] = {}
        ends: dict[str, DagEnded] = {}
        state, since = self._old.state, 0
        while batches := (yield from self._read_log(self._old.run, since)):
            for entry in (entry for batch in batches for entry in batch.entries):
                match entry:
                    case DagStarted():
                        started.append(entry)
                    case DagEnded(name=name):
                        ends[name] = entry
                    case DagRefused(key=key):
                        task = task_of(key)
                        refused.setdefault(run_of(key), []).extend(() if task is None else (task,))
                    case RunEnded():
                        state = entry.state
                    case _:
                        pass
            since = batches[-1].seq + 1
        if not state.is_final:
            raise self._refusal(
                f"it is {state.value}; wait for its end, or end it first: meshflow cancel {self._old.run}"
            )
        if state is State.COMPLETED:
            raise self._refusal("it has completed, so there is nothing to retry; to run it again, submit it again")
        return started, ends, refused

    def _read_definitions(self, started: Sequence[DagStarted], ends: dict[str, DagEnded]) -> Steps[WorkflowSpec]:
        spec = yield from self._definition(self._old.run, "workflow")
        assert isinstance(spec, WorkflowSpec)
        dags: dict[str, DagSpec] = {}
        for each in started:
            if each.dag not in dags:
                definition = yield from self._definition(dag_run_id(self._old.run, each.name), f"dag/{each.dag}")
                assert isinstance(definition, DagDefinition)
                dags[each.dag] = definition.spec
            end = ends.get(each.name)
            ended = end if end is not None and end.state is State.COMPLETED else None
            self._dags[each.name] = _Dag(each, dags[each.dag], PastDag(dags[each.dag]), ended)
        return spec

    def _definition(self, run: RunId, key: str) -> Steps[WorkflowSpec | DagDefinition]:
        (data,) = yield from self._ask(GetBlob(self._old.run, key))
        try:
            return definition_of(run, data if isinstance(data, bytes) else None, self._definitions)
        except PeerError as problem:
            raise self._refusal(f"{problem}; submit it again") from problem

    def _read_dag(self, dag: _Dag, refused: dict[RunId, list[int]]) -> Steps[None]:
        since, run = 0, dag_run_id(self._old.run, dag.started.name)
        while batches := (yield from self._read_log(run, since)):
            for entry in (entry for batch in batches for entry in batch.entries):
                dag.past.read(entry)
            since = batches[-1].seq + 1
        for task in refused.get(run, ()):
            dag.past.refuse(task)
        if len(dag.past.kept) < dag.past.total_count:
            dag.ended = None

    def _check_at_most_once(self) -> None:
        found = [f"{name!r} of {dag.started.name}" for dag in self._dags.values() for name in dag.past.ran_at_most_once]
        if found and not self._rerun_at_most_once:
            raise self._refusal(
                f"what may run at most once would run again, and may have run: task {', task '.join(found)}; "
                "if it may, say so: --rerun-at-most-once (in Python rerun_at_most_once=True)"
            )

    # --- what is copied ---

    def _copy_definitions(self, spec: WorkflowSpec) -> Steps[None]:
        for key in ("workflow", *(f"dag/{name}" for name in spec.dags)):
            (is_there,) = yield from self._ask(CopyBlob(self._new, self._old.run, key))
            if not is_there:
                raise self._refusal(f"its definition lacks {key!r}; submit it again")

    def _copy_document(self) -> Steps[None]:
        meta = {"name": self._old.name, "queue": self._old.queue, "start_time": instant(self._wall_at)}
        is_there, _ = yield from self._ask(CopyDocument(self._new, self._old.run), SetFields(self._new, "meta", meta))
        if not is_there:
            raise self._refusal(
                "its document is gone, and with it what its tasks have stored there (runs that ended under an earlier "
                "MeshFlow, or were removed, have none); submit it again"
            )

    def _copy(self, values: Sequence[Value]) -> Steps[list[bool]]:
        """Copy these values; whether each was there."""
        were_there: list[bool] = []
        while len(were_there) < len(values):
            rest, size_bytes, requests = values[len(were_there) :], 0, list[Request]()
            for value in rest[:_COPIED_COUNT]:
                requests.append(CopyBlob(self._new, self._old.run, value.blob))
                size_bytes += value.size_bytes
                if size_bytes >= _COPIED_BYTES:
                    break
            answers = yield from self._ask(*requests)
            were_there += [answer is True for answer in answers]
        return were_there

    def _copy_values(self, needed: dict[str, dict[str, tuple[int, Value]]]) -> Steps[None]:
        """Copy what open tasks need. A task whose value is gone runs again, which may need more."""
        for name, values in needed.items():
            dag = self._dags[name]
            while values:
                were_there = yield from self._copy([value for _, value in values.values()])
                gone = [task for (task, _), was_there in zip(values.values(), were_there, strict=True) if not was_there]
                values = dag.past.open(gone)
            data = dag.started.data
            if data is not None and data.blob:
                (was_there,) = yield from self._copy([data])
                if not was_there and dag.past.has_open_root:
                    raise self._refusal(f"the data that were given to {name} are gone; submit it again")

    # --- what is written ---

    def _write_dag(self, dag: _Dag) -> Steps[None]:
        """The log of a dag run with the ends that are kept; of one that completed, its end and its record too."""
        name, since, place = dag.started.name, 0, -1
        log = _NewLog(dag_run_id(self._new, name), self._wall_at)
        fold = dag.fold = DagRun(dag.spec, keeps_ends=False)
        while batches := (yield from self._read_log(dag_run_id(self._old.run, name), since)):
            for entry in (entry for batch in batches for entry in batch.entries):
                place += 1
                if not isinstance(entry, TaskEnded) or not dag.past.keeps(entry, place):
                    continue
                number = dag.number(entry.task)
                if entry.state is State.SKIPPED or number is None or fold.states[number].is_final:
                    continue
                end = replace(entry, task=number)
                # What is skipped in consequence may not have been so in the old run, as that was stopping.
                for each in (end, *fold.apply(_without_values(end)).ended):
                    yield from self._ask(*log.add(each, (each.value, *(each.rows or ()))))
            since = batches[-1].seq + 1
        dag.reused_count = fold.done_count
        if dag.reused_count < len(dag.past.kept):
            raise self._refusal(f"the log of {name} was cut short while it was read; was the run removed meanwhile?")
        if dag.ended is None:
            yield from self._ask(*log.rest())
        else:
            yield from self._ask(*log.add(RunEnded(State.COMPLETED)), *log.rest(), self._creation_of(dag))

    def _creation_of(self, dag: _Dag) -> CreateRun:
        """The record of a dag run that completed, for those who count."""
        record = RunRecord(
            run=dag_run_id(self._new, dag.started.name),
            name=dag.started.name,
            workflow=self._old.workflow,
            queue=dag.spec.queue,
            parent=self._new,
            state=State.COMPLETED,
            created_at=self._wall_at,
            ended_at=self._wall_at,
            total=dag.reused_count,
            done=dag.reused_count,
        )
        return CreateRun(record, {})

    def _write_run(self) -> Steps[None]:
        """The log of the workflow run: which dag runs there are, so that they keep their names, and that who asks for
        one again is given it."""
        log = _NewLog(self._new, self._wall_at)
        for dag in self._dags.values():
            started = replace(dag.started, key=self._new_key(dag.started.key))
            if dag.ended is not None:
                started = replace(started, data=None)
            yield from self._ask(*log.add(started, () if started.data is None else (started.data,)))
            if dag.ended is not None:
                yield from self._ask(*log.add(dag.ended))
        yield from self._ask(*log.rest())

    def _new_key(self, key: str) -> str:
        """The key under which a task of the new run asks for what one of the old run had asked for under `key`."""
        run, task = run_of(key), task_of(key)
        asking = self._dags.get(dag_run_name(run)) if workflow_of(run) == self._old.run else None
        if asking is None or task is None:
            return key
        number = asking.number(task)
        # Nobody asks for what an instance has started whose list is split again: it will have another number.
        place = f"{task}.gone" if number is None else number
        return f"{dag_run_id(self._new, dag_run_name(run))}/{place}/{key.split('/', run.count('/') + 2)[-1]}"

    def _create(self) -> Steps[RunRecord]:
        (old,) = yield from self._ask(LoadRun(self._old.run))
        if old is None:
            raise self._refusal("it was removed meanwhile")
        record = RunRecord(
            run=self._new,
            name=self._old.name,
            workflow=self._old.workflow,
            queue=self._old.queue,
            created_at=self._wall_at,
            arguments=self._old.arguments,
            retry_of=self._old.run,
            reused=sum(dag.reused_count for dag in self._dags.values()),
        )
        yield from self._ask(CreateRun(record, {}))
        return record


def _without_values(end: TaskEnded) -> TaskEnded:
    """What a fold needs to know of an end, with as many rows."""
    return replace(end, value=Value(), rows=None if end.rows is None else (Value(),) * len(end.rows))
