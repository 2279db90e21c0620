"""A store in memory: what the simulator's nodes share, and the plainest reading of what each request means.

Nothing is encoded, so it is fast; nothing is drawn or looked up from outside, so a run can be replayed. All handles
of a simulated mesh are the same object: a batch is performed at once, between two steps of the simulation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, assert_never

from meshflow.core.records import Batch, DagStarted, Entry, RunRecord, TaskEnded, Value
from meshflow.core.requests import (
    Answer,
    Append,
    AskStop,
    CopyBlob,
    CopyDocument,
    CreateRun,
    ExtendField,
    ForgetNode,
    GetBlob,
    GetField,
    ListNodes,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
    ReadOutput,
    Refused,
    RegisterNode,
    RemoveDocument,
    RemoveNodes,
    RemoveOrphans,
    RemoveRun,
    Request,
    SetFields,
    Sweep,
    Swept,
    UpdateRun,
    WriteOutput,
)
from meshflow.ids import NodeId, RunId, workflow_of
from meshflow.store.document import (
    Tree,
    assign,
    extend,
    find,
    items_to_set,
    new_section,
    no_document,
    path_to_get,
    sections_to_create,
    values_to_add,
)
from meshflow.store.rules import TOKENS_KEPT, VALUE_BLOBS, order_of_output, outranked_by
from meshflow.store.values import Refusal, copied

T = TypeVar("T")

_ENTRY_BYTES = 100
"""About what an entry takes in the log of another store, without the value in it."""


@dataclass(slots=True)
class _Document:
    sections: dict[str, Tree]
    tokens: dict[str, None] = field(default_factory=dict)


class MemoryStore:
    """Keeps everything in dicts; nothing outlives the object."""

    def __init__(self) -> None:
        self._runs: dict[RunId, RunRecord] = {}
        self._logs: dict[RunId, dict[int, Batch]] = {}
        self._blobs: dict[RunId, dict[str, bytes]] = {}
        self._documents: dict[RunId, _Document] = {}
        self._output: dict[RunId, dict[tuple[str, int, str, int], WriteOutput]] = {}
        self._nodes: dict[NodeId, RegisterNode] = {}
        self._removals: dict[RunId, bool] = {}
        """Runs that were taken out; whether all of it goes, or the output alone."""
        self._orphans: dict[RunId, float] = {}
        """When it was noted that they have no record."""

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each."""
        return [self._perform(request) for request in requests]

    def close(self) -> None:
        """Do nothing: other handles may still use what is kept here."""

    def _perform(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Refusal as problem:
            return Refused(str(problem))

    def _answer(self, request: Request) -> Answer:
        match request:
            case Append(batch):
                return self._logs.setdefault(batch.run, {}).setdefault(batch.seq, batch).token == batch.token
            case UpdateRun():
                return self._update(request)
            case WriteOutput():
                key = (request.task, request.attempt, request.stream, request.offset)
                self._output.setdefault(request.run, {}).setdefault(key, request)
                return True
            case LoadRun(run):
                return self._runs.get(run)
            case ReadLog():
                return self._read_log(request)
            case GetBlob(run, key):
                return self._blobs.get(workflow_of(run), {}).get(key)
            case PutBlob(run, key, data):
                self._blobs.setdefault(workflow_of(run), {})[key] = data
                return True
            case CopyBlob(run, source, key):
                blob = self._blobs.get(source, {}).get(key)
                return blob is not None and self._answer(PutBlob(run, key, blob))
            case CopyDocument(run, source):
                return self._copy_document(run, source)
            case GetField():
                return self._get(request)
            case SetFields():
                return self._set(request)
            case ExtendField():
                return self._extend(request)
            case CreateRun():
                return self._create(request)
            case ListRuns():
                return self._list(request)
            case AskStop():
                return self._ask_stop(request)
            case RemoveDocument(run):
                blobs, (low, high) = self._blobs.get(run, {}), VALUE_BLOBS
                for name in [name for name in blobs if low <= name < high]:
                    del blobs[name]
                return self._documents.pop(run, None) is not None
            case ReadOutput():
                return self._read_output(request)
            case RegisterNode(node):
                self._nodes[node] = request
                return True
            case ForgetNode(node):
                if node in self._nodes:
                    self._nodes[node] = replace(self._nodes[node], address="")
                return True
            case ListNodes(since):
                return tuple(self._nodes[node] for node in sorted(self._nodes) if self._nodes[node].seen_at >= since)
            case RemoveRun():
                return self._remove(request)
            case RemoveOrphans():
                return self._remove_orphans(request)
            case RemoveNodes(before):
                gone = [node for node, entry in self._nodes.items() if entry.seen_at < before]
                for node in gone:
                    del self._nodes[node]
                return len(gone)
            case Sweep():
                return self._sweep()
            case _:
                assert_never(request)

    # --- runs ---

    def _create(self, request: CreateRun) -> bool:
        record = request.record
        if record.run in self._runs:
            return False
        arguments, sections = new_section(record.arguments, "arguments"), sections_to_create(request)
        if sections is not None:
            self._documents.setdefault(workflow_of(record.run), _Document(sections))
        self._blobs.setdefault(workflow_of(record.run), {}).update(request.blobs)
        self._runs[record.run] = replace(record, arguments=arguments)
        return True

    def _list(self, request: ListRuns) -> tuple[RunRecord, ...]:
        found = [
            record
            for record in self._runs.values()
            if (request.is_open is None or request.is_open is not record.state.is_final)
            and (request.parent is None or record.parent == request.parent)
            and not (request.workflows_only and record.parent is not None)
            and (request.workflow is None or record.workflow == request.workflow)
            and (request.before is None or record.created_at < request.before)
        ]
        found.sort(key=lambda record: (record.created_at, record.run), reverse=True)
        return tuple(found[: request.limit])

    def _update(self, request: UpdateRun) -> bool:
        record = self._runs.get(request.run)
        if record is None or request.epoch < record.epoch:
            return False
        self._runs[request.run] = replace(
            record,
            epoch=request.epoch,
            state=record.state if request.state is None else request.state,
            reason=record.reason if request.reason is None else request.reason,
            owner=record.owner if request.owner is None else request.owner,
            started_at=request.started_at if record.started_at is None else record.started_at,
            ended_at=record.ended_at if request.ended_at is None else request.ended_at,
            total=record.total if request.total is None else request.total,
            done=record.done if request.done is None else request.done,
        )
        return True

    def _ask_stop(self, request: AskStop) -> bool:
        record = self._runs.get(request.run)
        if record is None or record.state.is_final:
            return False
        if record.stop.value in outranked_by(request.stop):
            self._runs[request.run] = replace(record, stop=request.stop, stop_reason=request.reason)
        return True

    # --- removal ---

    def _remove(self, request: RemoveRun) -> bool:
        record = self._runs.get(request.run)
        if record is None or request.run != workflow_of(request.run) or not record.state.is_final:
            return False
        if not request.output_only:
            self._condemn(request.run)
            return True
        has_output = any(workflow_of(run) == request.run and chunks for run, chunks in self._output.items())
        if has_output:
            self._removals.setdefault(request.run, False)
        return has_output

    def _condemn(self, run: RunId) -> None:
        for key in [key for key in self._runs if workflow_of(key) == run]:
            del self._runs[key]
        self._documents.pop(run, None)
        self._removals[run] = True

    def _remove_orphans(self, request: RemoveOrphans) -> str:
        """All in one go: nobody waits for this store."""
        tables = (self._runs, self._logs, self._blobs, self._output)
        found = {workflow_of(run): None for table in tables for run in table}
        orphans = [run for run in found if run not in self._runs and run not in self._removals]
        self._orphans = {run: self._orphans.get(run, request.at) for run in orphans}
        for run in orphans:
            if self._orphans[run] < request.noted_before:
                self._condemn(run)
        return ""

    def _sweep(self) -> Swept:
        """Everything of one run."""
        if not self._removals:
            return Swept(0, 0, is_done=True)
        run, is_all = self._removals.popitem()
        sizes = [len(chunk.data) for key in self._keys(self._output, run) for chunk in self._output.pop(key).values()]
        if is_all:
            for key in self._keys(self._logs, run):
                sizes += [sum(map(_size_of, batch.entries)) for batch in self._logs.pop(key).values()]
            sizes += [len(data) for data in self._blobs.pop(run, {}).values()]
        return Swept(len(sizes), sum(sizes), is_done=False)

    def _keys(self, table: dict[RunId, T], run: RunId) -> list[RunId]:
        return [key for key in table if workflow_of(key) == run]

    # --- log and output ---

    def _read_log(self, request: ReadLog) -> tuple[Batch, ...]:
        log = self._logs.get(request.run, {})
        found: list[Batch] = []
        size_bytes = 0
        for seq in sorted(seq for seq in log if seq >= request.since):
            if found and size_bytes >= request.max_bytes:
                break
            found.append(log[seq])
            size_bytes += sum(_size_of(entry) for entry in log[seq].entries)
        return tuple(found)

    def _read_output(self, request: ReadOutput) -> tuple[WriteOutput, ...]:
        found = [
            chunk
            for run, chunks in self._output.items()
            if run == request.run or workflow_of(run) == request.run
            for chunk in chunks.values()
            if request.task in (None, chunk.task) and request.attempt in (None, chunk.attempt)
        ]
        return tuple(sorted(found, key=order_of_output))

    # --- documents ---

    def _get(self, request: GetField) -> tuple[bool, object]:
        path = path_to_get(request)
        document = self._documents.get(workflow_of(request.run))
        if document is None:
            raise no_document(request.run)
        exists, value = find(document.sections[request.section], path)
        return exists, copied(value)

    def _copy_document(self, run: RunId, source: RunId) -> bool:
        document = self._documents.get(source)
        if document is None:
            return False
        sections = {section: new_section({}, section) for section in document.sections}
        sections["data"] = new_section(document.sections["data"], "data")
        self._documents.setdefault(run, _Document(sections))
        return True

    def _set(self, request: SetFields) -> bool:
        items = items_to_set(request)
        document = self._documents.get(workflow_of(request.run))
        if document is None:
            return False
        tree = document.sections[request.section]
        for path, _ in items:
            find(tree, path)
        for path, value in items:
            assign(tree, path, value)
        return True

    def _extend(self, request: ExtendField) -> bool:
        path, values = values_to_add(request)
        document = self._documents.get(workflow_of(request.run))
        if document is None:
            return False
        if request.token in document.tokens:
            return True
        extend(document.sections[request.section], path, values)
        if values:
            document.tokens[request.token] = None
            if len(document.tokens) > TOKENS_KEPT:
                del document.tokens[next(iter(document.tokens))]
        return True


def _size_of(entry: Entry) -> int:
    match entry:
        case TaskEnded(value=value) | DagStarted(data=Value() as value):
            return _ENTRY_BYTES + len(value.inline)
        case _:
            return _ENTRY_BYTES
