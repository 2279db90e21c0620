"""The embedded store: one SQLite file, shared by all nodes and clients of a host.

A batch is one transaction, so one sync of the disk pays for all its requests. Writers of several processes take turns
at the beginning of a batch; batches that only read take no lock and see the store as it was when they began.

Nothing here rolls back a single request: a request that is refused has not written anything yet.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

from meshflow import wire
from meshflow.core.records import Batch, RunRecord, State, Stop
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
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import PeerError, StoreError, StoreRefusal, StoreUnavailable
from meshflow.ids import NodeId, RunId, workflow_of
from meshflow.store.document import new_section, sections_to_create
from meshflow.store.rules import (
    PROGRESS,
    VALUE_BLOBS,
    dag_runs_of,
    order_of_output,
    outranked_by,
    spelled_out,
)
from meshflow.store.sqlite_document import SqliteDocuments
from meshflow.store.sqlite_file import IS_OPEN, connect, store_error
from meshflow.store.sqlite_removals import SqliteRemovals
from meshflow.store.sqlite_turn import Turns
from meshflow.store.values import Refusal, check_blob

BUSY_S = 10.0
"""How long a batch waits for its turn to write, in seconds. Turns take milliseconds, unless the disk hangs."""

_READS = (LoadRun, ListRuns, ReadLog, GetBlob, GetField, ReadOutput, ListNodes)

# The record as it was created, encoded, and beside it what it is searched by and what changes.
_COLUMNS = ("run", "parent", "workflow", "created_at", "created", *PROGRESS)
_INSERT_RUN = (
    f"INSERT INTO runs ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO NOTHING"
)
# Parameters that are NULL leave their column as it is.
_UPDATE_RUN = (
    "UPDATE runs SET epoch = ?, state = coalesce(?, state), reason = coalesce(?, reason), owner = coalesce(?, owner),"
    " started_at = coalesce(started_at, ?), ended_at = coalesce(?, ended_at), total = coalesce(?, total),"
    " done = coalesce(?, done) WHERE run = ? AND epoch <= ?"
)


class SqliteStore:
    """Performs requests on the SQLite file at `path`, which is made if missing.

    Raises:
        StoreUnavailable: the file cannot be made or opened.
        StoreError: it is not a store, damaged, or of a later MeshFlow.
    """

    def __init__(self, path: Path, *, busy_s: float = BUSY_S) -> None:
        self._path = path.expanduser().absolute()
        self._busy_s = busy_s
        self._turns = Turns(self._path, busy_s)
        self._session: _Session | None = _Session(connect(self._path, busy_s))
        self._inode = self._path.stat().st_ino

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each; all or none.

        Raises:
            StoreUnavailable: the disk or another process is in the way, or the file has gone.
            StoreError: the file is damaged, another one stands in its place, or a name or number fits no store.
        """
        is_read = all(isinstance(request, _READS) for request in requests)
        try:
            if is_read:
                return self._open_session().perform("BEGIN", requests)
            with self._turns.mine():
                return self._open_session().perform("BEGIN IMMEDIATE", requests)
        except BaseException as problem:
            # Whatever went wrong: closing ends the transaction, and the next batch begins with the file as it then is.
            self.close()
            self._raise_as_store_error(problem)
            raise

    def _raise_as_store_error(self, problem: BaseException) -> None:
        match problem:
            case sqlite3.Error():
                raise store_error(self._path, problem) from problem
            case PeerError():
                raise StoreRefusal(
                    f"the store {self._path} holds what cannot be read ({problem}); "
                    "it was written by a later MeshFlow, or is damaged; upgrade, or restore it from a backup"
                ) from problem
            case UnicodeError() | OverflowError():
                raise StoreRefusal(f"the store {self._path} cannot hold what was asked: {problem}") from problem

    def close(self) -> None:
        """Let go of the file."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open_session(self) -> "_Session":
        """The session, or a new one after a failure.

        SQLite goes on writing to a file that was removed, and what is written there is lost with its last descriptor.
        In a file that took its place it would replay the log of the old one. So it is looked at before each batch.
        """
        try:
            inode = self._path.stat().st_ino
        except OSError as problem:
            raise StoreUnavailable(f"the store {self._path} has gone ({problem}); put the file back") from problem
        if inode != self._inode:
            raise StoreError(f"another file stands at {self._path} than was opened; restart what uses it")
        if self._session is None:
            self._session = _Session(connect(self._path, self._busy_s))
        return self._session


class _Session:
    """Performs requests on an open connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._documents = SqliteDocuments(connection)
        self._removals = SqliteRemovals(connection, self._documents)

    def close(self) -> None:
        self._connection.close()

    def perform(self, begin: str, requests: Sequence[Request]) -> list[Answer]:
        self._connection.execute(begin)
        answers = [self._perform(request) for request in requests]
        self._documents.write_back()
        self._connection.execute("COMMIT")
        self._documents.forget()
        return answers

    def _perform(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Refusal as problem:
            return Refused(str(problem))

    def _answer(self, request: Request) -> Answer:
        match request:
            case Append(batch):
                return self._append(batch)
            case UpdateRun():
                return self._update(request)
            case WriteOutput():
                return self._write_output(request)
            case LoadRun(run):
                return next(iter(self._records("WHERE run = ?", [run])), None)
            case ReadLog():
                return self._read_log(request)
            case GetBlob(run, key):
                rows = self._select("SELECT data FROM blobs WHERE run = ? AND key = ?", workflow_of(run), key)
                return rows[0][0] if rows else None
            case PutBlob(run, key, data):
                return self._put_blob(workflow_of(run), key, data)
            case CopyBlob():
                return self._copy_blob(request)
            case CopyDocument():
                return self._documents.copy(request)
            case GetField():
                return self._documents.get(request)
            case SetFields():
                return self._documents.set(request)
            case ExtendField():
                return self._documents.extend(request)
            case CreateRun():
                return self._create(request)
            case ListRuns():
                return self._list(request)
            case AskStop():
                return self._ask_stop(request)
            case RemoveDocument(run):
                self._change("DELETE FROM blobs WHERE run = ? AND key >= ? AND key < ?", run, *VALUE_BLOBS)
                return self._documents.remove(run)
            case ReadOutput():
                return self._read_output(request)
            case RegisterNode():
                return self._register(request)
            case ForgetNode(node):
                self._change("UPDATE nodes SET address = '' WHERE node = ?", node)
                return True
            case ListNodes(since):
                columns = "node, address, seen_at, name"
                rows = self._select(f"SELECT {columns} FROM nodes WHERE seen_at >= ? ORDER BY node", since)
                return tuple(RegisterNode(NodeId(node), *more) for node, *more in rows)
            case RemoveRun(run, output_only):
                return self._removals.remove_output(run) if output_only else self._removals.remove(run)
            case RemoveOrphans():
                return self._removals.remove_orphans(request)
            case RemoveNodes(before):
                return self._connection.execute("DELETE FROM nodes WHERE seen_at < ?", (before,)).rowcount
            case Sweep():
                return self._removals.sweep()
            case _:
                assert_never(request)

    def _select(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _change(self, statement: str, *parameters: object) -> bool:
        """Whether a row was changed."""
        return self._connection.execute(statement, parameters).rowcount > 0

    # --- runs ---

    def _create(self, request: CreateRun) -> bool:
        sections = sections_to_create(request)
        record = replace(request.record, arguments=new_section(request.record.arguments, "arguments"))
        for key, data in request.blobs.items():
            check_blob(key, data)
        if not self._change(_INSERT_RUN, *_row(record)):
            return False
        run = workflow_of(record.run)
        if sections is not None:
            self._documents.create(run, sections)
        for key, data in request.blobs.items():
            self._put_blob(run, key, data)
        return True

    def _records(self, condition: str, parameters: Sequence[object]) -> tuple[RunRecord, ...]:
        rows = self._select(f"SELECT created, {', '.join(PROGRESS)} FROM runs {condition}", *parameters)
        return tuple(_record(*row) for row in rows)

    def _list(self, request: ListRuns) -> tuple[RunRecord, ...]:
        conditions: list[str] = []
        parameters: list[object] = []
        if request.is_open is not None:
            conditions.append(IS_OPEN if request.is_open else f"NOT {IS_OPEN}")
        if request.workflows_only:
            conditions.append("parent IS NULL")
        filters = (("parent =", request.parent), ("workflow =", request.workflow), ("created_at <", request.before))
        for condition, wanted in filters:
            if wanted is not None:
                conditions.append(f"{condition} ?")
                parameters.append(wanted)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        parameters.append(-1 if request.limit is None else request.limit)
        return self._records(f"{where}ORDER BY created_at DESC, run DESC LIMIT ?", parameters)

    def _update(self, request: UpdateRun) -> bool:
        return self._change(
            _UPDATE_RUN,
            *(request.epoch, request.state and request.state.value, request.reason and spelled_out(request.reason)),
            *(request.owner, request.started_at, request.ended_at, request.total, request.done),
            *(request.run, request.epoch),
        )

    def _ask_stop(self, request: AskStop) -> bool:
        lower = outranked_by(request.stop)
        is_changed = self._change(
            f"UPDATE runs SET stop = ?, stop_reason = ? WHERE run = ? AND {IS_OPEN}"
            f" AND stop IN ({', '.join('?' * len(lower))})",
            *(request.stop.value, spelled_out(request.reason), request.run, *lower),
        )
        return is_changed or bool(self._select(f"SELECT 1 FROM runs WHERE run = ? AND {IS_OPEN}", request.run))

    # --- log, blobs, output, nodes ---

    def _append(self, batch: Batch) -> bool:
        if self._change(
            "INSERT INTO log VALUES (?, ?, ?) ON CONFLICT DO NOTHING", batch.run, batch.seq, wire.encode(batch)
        ):
            return True
        ((present,),) = self._select("SELECT batch FROM log WHERE run = ? AND seq = ?", batch.run, batch.seq)
        return wire.decode(Batch, present).token == batch.token

    def _read_log(self, request: ReadLog) -> tuple[Batch, ...]:
        rows = self._connection.execute(
            "SELECT batch FROM log WHERE run = ? AND seq >= ? ORDER BY seq", (request.run, request.since)
        )
        found: list[Batch] = []
        size_bytes = 0
        for (row,) in rows:
            found.append(wire.decode(Batch, row))
            size_bytes += len(row)
            if size_bytes >= request.max_bytes:
                rows.close()
                break
        return tuple(found)

    def _put_blob(self, run: RunId, key: str, data: bytes) -> bool:
        check_blob(key, data)
        return self._change(
            "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data", run, key, data
        )

    def _copy_blob(self, request: CopyBlob) -> bool:
        return self._change(
            "INSERT INTO blobs SELECT ?, key, data FROM blobs WHERE run = ? AND key = ?"
            " ON CONFLICT DO UPDATE SET data = excluded.data",
            *(request.run, request.source, request.key),
        )

    def _write_output(self, request: WriteOutput) -> bool:
        self._change(
            "INSERT INTO output VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(request.run, spelled_out(request.task), request.attempt, request.stream, request.offset),
            *(request.at, request.data),
        )
        return True

    def _read_output(self, request: ReadOutput) -> tuple[WriteOutput, ...]:
        rows = self._select(
            "SELECT run, task, attempt, stream, offset, data, at FROM output"
            " WHERE (run = ? OR run >= ? AND run < ?) AND task = coalesce(?, task)"
            " AND attempt = coalesce(?, attempt)",
            *(request.run, *dag_runs_of(request.run), request.task, request.attempt),
        )
        return tuple(sorted((WriteOutput(*row) for row in rows), key=order_of_output))

    def _register(self, entry: RegisterNode) -> bool:
        return self._change(
            "INSERT INTO nodes (node, address, seen_at, name) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET address = excluded.address, seen_at = excluded.seen_at, name = excluded.name",
            *(entry.node, entry.address, entry.seen_at, spelled_out(entry.name)),
        )


def _row(record: RunRecord) -> list[object]:
    texts = {"state": record.state.value, "stop": record.stop.value, "created": wire.encode(record)}
    texts |= {name: spelled_out(getattr(record, name)) for name in ("reason", "stop_reason")}
    return [texts[name] if name in texts else getattr(record, name) for name in _COLUMNS]


def _record(created: bytes, *progress: Any) -> RunRecord:
    changes = dict(zip(PROGRESS, progress, strict=True))
    try:
        changes["state"], changes["stop"] = State(changes["state"]), Stop(changes["stop"])
    except ValueError as problem:
        raise PeerError(f"the state of a run: {problem}") from problem
    return replace(wire.decode(RunRecord, created), **changes)
