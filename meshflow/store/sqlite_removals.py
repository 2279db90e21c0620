"""How runs leave the embedded store: taken out at once, removed bit by bit.

A run is taken out with its record, in one transaction: nobody finds it any more, and an entry in `removals` says that
its rows are to go. Sweeps remove these in parts, since a writer keeps all others waiting. Who is killed in between
leaves an entry, and the next sweep goes on there.

Invariants:
1. The record of an open workflow run is never removed.
2. An entry leaves `removals` only in the transaction that removes the last row of its run.
3. The log of a run is removed from its end: who still reads it sees a run that was cut short, not one with gaps.
4. Documents without a run are not orphans: programs may keep their own (`datastore.py`).

Kinds of entries: `all` and `output` say what is to go; `orphan` is a note that there were rows without a record.
"""

import sqlite3
from typing import Any

from meshflow.core.requests import RemoveOrphans, Swept
from meshflow.ids import RunId, workflow_of
from meshflow.store.rules import SWEEP_BYTES, SWEEP_ROWS, dag_runs_of
from meshflow.store.sqlite_document import SqliteDocuments
from meshflow.store.sqlite_file import IS_OPEN

_LOOKED_AT = 1000
"""Runs that one search for orphans looks at: some 20 ms."""

_VACUUMED_PAGES = 2048
"""Pages that one sweep gives back: 8 MiB, which may have to be moved."""

_INCREMENTAL = 2  # the answer of PRAGMA auto_vacuum

_PARTS = (
    ("log", "rowid", "batch", "run DESC, seq DESC"),
    ("output", "rowid", "data", "run"),
    ("blobs", "rowid", "data", "run"),
    ("fields", "rowid", "value", "run"),
    ("large_values", "rowid", "data", "run"),
    ("runs", "run", "created", "run"),
)
"""Tables, what identifies their rows, what takes the space in them, and the order in which they go."""


class SqliteRemovals:
    """Performs the requests that remove runs, within the transaction that its owner has begun."""

    def __init__(self, connection: sqlite3.Connection, documents: SqliteDocuments) -> None:
        self._connection = connection
        self._documents = documents

    def remove(self, run: RunId) -> bool:
        """Answer RemoveRun."""
        if run != workflow_of(run) or not self._change(f"DELETE FROM runs WHERE run = ? AND NOT {IS_OPEN}", run):
            return False
        self._condemn(run)
        return True

    def remove_output(self, run: RunId) -> bool:
        """Answer RemoveRun for the output alone."""
        if run != workflow_of(run) or not self._select(f"SELECT 1 FROM runs WHERE run = ? AND NOT {IS_OPEN}", run):
            return False
        if not self._select("SELECT 1 FROM output WHERE run >= ? AND run < ? LIMIT 1", run, _end_of(run)):
            return False
        self._change("INSERT INTO removals VALUES (?, 'output', 0) ON CONFLICT DO NOTHING", run)
        return True

    def remove_orphans(self, request: RemoveOrphans) -> str:
        """Answer RemoveOrphans."""
        position = request.after
        for _ in range(_LOOKED_AT):
            ahead = [
                self._select(f"SELECT min(run) FROM {table} WHERE run >= ?", position)[0][0]
                for table in ("log", "output", "blobs", "runs")
            ]
            found = [run for run in ahead if run is not None]
            if not found:
                return ""
            run = workflow_of(RunId(min(found)))
            position = _end_of(run)
            self._judge(run, request)
        return position

    def sweep(self) -> Swept:
        """Answer Sweep."""
        row_count = size_bytes = 0
        while row_count < SWEEP_ROWS and size_bytes < SWEEP_BYTES:
            entries = self._select("SELECT run, kind FROM removals WHERE kind <> 'orphan' LIMIT 1")
            if not entries:
                return Swept(row_count, size_bytes, row_count == 0 and self._give_space_back())
            run, kind = entries[0]
            if kind == "all" and self._select("SELECT 1 FROM runs WHERE run = ?", run):
                # A submission took longer than anybody waited, and has come to its end all the same.
                self._change("DELETE FROM removals WHERE run = ?", run)
                continue
            sizes = self._remove_part(run, kind, SWEEP_ROWS - row_count, SWEEP_BYTES - size_bytes)
            row_count += len(sizes)
            size_bytes += sum(sizes)
            if not sizes:
                if kind == "all":
                    self._change("DELETE FROM tokens WHERE run = ?", run)
                self._change("DELETE FROM removals WHERE run = ?", run)
        return Swept(row_count, size_bytes, is_done=False)

    # --- parts ---

    def _select(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _change(self, statement: str, *parameters: object) -> bool:
        return self._connection.execute(statement, parameters).rowcount > 0

    def _condemn(self, run: RunId) -> None:
        self._documents.take_out(run)
        # Records of dag runs go with the sweeps, but for those that somebody might claim.
        self._change(f"DELETE FROM runs WHERE run >= ? AND run < ? AND {IS_OPEN}", run, _end_of(run))
        self._change("INSERT INTO removals VALUES (?, 'all', 0) ON CONFLICT DO UPDATE SET kind = 'all'", run)

    def _judge(self, run: RunId, request: RemoveOrphans) -> None:
        """Note a run whose rows have no record, or take it out if it was noted long enough ago."""
        entries = self._select("SELECT kind, noted_at FROM removals WHERE run = ?", run)
        is_noted = bool(entries) and entries[0][0] == "orphan"
        if self._select("SELECT 1 FROM runs WHERE run = ?", run):
            if is_noted:
                self._change("DELETE FROM removals WHERE run = ?", run)
        elif is_noted and entries[0][1] < request.noted_before:
            self._condemn(run)
        else:
            self._change("INSERT INTO removals VALUES (?, 'orphan', ?) ON CONFLICT DO NOTHING", run, request.at)

    def _remove_part(self, run: RunId, kind: str, max_rows: int, max_bytes: int) -> list[int]:
        """Remove rows of one table; their sizes, or an empty list if the run has no rows left."""
        for table, key, data, order in _PARTS:
            if kind == "output" and table != "output":
                continue
            rows = self._connection.execute(
                f"SELECT {key}, length({data}) FROM {table} WHERE run >= ? AND run < ? ORDER BY {order} LIMIT ?",
                (run, _end_of(run), max_rows),
            )
            keys: list[tuple[object]] = []
            sizes: list[int] = []
            left_bytes = max_bytes
            for each, size_bytes in rows:
                keys.append((each,))
                sizes.append(size_bytes)
                left_bytes -= size_bytes
                if left_bytes <= 0:
                    rows.close()
                    break
            if keys:
                self._connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", keys)
                return sizes
        return []

    def _give_space_back(self) -> bool:
        """Cut free pages off the end of the file; whether none are left, or the file was made without this."""
        if self._select("PRAGMA auto_vacuum")[0][0] != _INCREMENTAL:
            return True
        free_count: int = self._select("PRAGMA freelist_count")[0][0]
        for _ in range(min(free_count, _VACUUMED_PAGES)):
            # One by one: each page is a row of the answer, and Python stops at the first, since it has no columns.
            self._connection.execute("PRAGMA incremental_vacuum(1)")
        return free_count <= _VACUUMED_PAGES


def _end_of(run: RunId) -> str:
    """What follows a workflow run and all its dag runs, in the order of their ids."""
    return dag_runs_of(run)[1]
