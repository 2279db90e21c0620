"""What disks keep and give back damaged: rows of the embedded store, and reports that wait in files."""

import sqlite3
from functools import cache
from pathlib import Path

from meshflow import wire
from meshflow.core.attempts import Attempt
from meshflow.core.messages import Finished, Output, Report, Returned
from meshflow.core.records import Batch, RunRecord, State, Value
from meshflow.core.requests import (
    Append,
    CreateRun,
    GetField,
    ListRuns,
    LoadRun,
    ReadLog,
    ReadOutput,
    Request,
    SetFields,
    WriteOutput,
)
from meshflow.errors import StoreError
from meshflow.ids import RunId
from meshflow.runtime.spool import FileSpool
from meshflow.store.sqlite import SqliteStore

_RUN = RunId("5f" * 12)
_RECORD = RunRecord(_RUN, name="simple", workflow="simple", queue="workflow")
_BATCH = Batch(_RUN, 1, "token", ())
_FIELD: dict[str, object] = {"a": [1, 2.5, {"b": b"bytes"}], "c": "text"}
_READS: tuple[Request, ...] = (
    LoadRun(_RUN),
    ListRuns(),
    ReadLog(_RUN, 0),
    GetField(_RUN, "data", "key"),
    ReadOutput(_RUN),
    Append(_BATCH),
    SetFields(_RUN, "data", {"key.more": 1}),
)
_BYTES = (("runs", "created"), ("log", "batch"), ("fields", "value"))
_TEXTS = (("runs", "state"), ("runs", "stop"), ("runs", "reason"))


@cache
def _store(path: Path) -> tuple[SqliteStore, sqlite3.Connection]:
    store = SqliteStore(path)
    store.perform([CreateRun(_RECORD, {}, {"meta": {}, "data": {"key": _FIELD}}), Append(_BATCH)])
    store.perform([WriteOutput(_RUN, "task", 1, "stdout", 0, b"text", 1.0)])
    damage = sqlite3.connect(path, isolation_level=None)
    damage.execute("PRAGMA synchronous = OFF")
    return store, damage


def feed_rows(data: bytes, folder: Path) -> None:
    """Have the store read a row with `data` in one of its columns; which one, the data says."""
    store, damage = _store(folder / "store.sqlite")
    columns: list[tuple[str, str]] = [*_BYTES, *_TEXTS]
    table, column = columns[sum(data) % len(columns)]
    ((before,),) = damage.execute(f"SELECT {column} FROM {table}").fetchall()
    damage.execute(f"UPDATE {table} SET {column} = ?", (data if (table, column) in _BYTES else data.decode("latin-1"),))
    try:
        for request in _READS:
            try:
                store.perform([request])
            except StoreError:
                continue
    finally:
        damage.execute(f"UPDATE {table} SET {column} = ?", (before,))


def row_examples() -> list[bytes]:
    """What the columns hold."""
    return [wire.encode(_RECORD), wire.encode(_BATCH), wire.encode_value(_FIELD), b"running", b"stop"]


def reports() -> list[Report]:
    """One of each kind."""
    attempt = Attempt(f"{_RUN}/d:1", 0, 1, 1)  # type: ignore[arg-type]
    return [
        Finished(attempt, State.COMPLETED, Value(b"value"), ("a",), "", 1.0, 2.0),
        Output(attempt, WriteOutput(_RUN, "task", 1, "stdout", 0, b"text", 1.0)),
        Returned(attempt),
    ]


class _Given(FileSpool):
    """Finds `data` on the disk, whatever was put there."""

    data = b""

    def _write(self, data: bytes, stub: Report) -> object:  # type: ignore[override]
        return super()._write(self.data, stub)


def feed_spool(data: bytes, folder: Path) -> None:
    """Read a report back where `data` stands instead; what comes is of the same kind, and can be sent."""
    spool = _Given(lambda: folder)
    spool.data = data
    for report in reports():
        number = spool.put(report)
        assert number is not None
        found = spool.get(number)
        assert type(found) is type(report)
        wire.encode(found)
    spool.close()


def spool_examples() -> list[bytes]:
    """Reports as files hold them."""
    return [wire.encode(report) for report in reports()]
