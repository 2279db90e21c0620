"""The file of the embedded store: opening, its schema, and what its errors mean.

Invariants:
1. A commit is on the disk when it returns: write-ahead log, and SQLite syncs it at every commit (`synchronous=FULL`).
2. A file that is not ours, damaged, or of a later MeshFlow is refused as it is; nothing in it is changed.
3. The schema of the file is `PRAGMA user_version`; it is only ever raised, one migration at a time, in one transaction.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from meshflow.errors import StoreError, StoreUnavailable
from meshflow.store.rules import OPEN_STATES

_APPLICATION_ID = 0x4D455346  # "MESF", so that the file of another program is not taken for a store

IS_OPEN = "state IN ({})".format(", ".join(f"'{state}'" for state in OPEN_STATES))
"""The condition on a row of `runs` that something may follow."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE runs (run TEXT PRIMARY KEY, parent TEXT, workflow TEXT NOT NULL, created_at REAL NOT NULL,"
        " created BLOB NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, stop TEXT NOT NULL,"
        " stop_reason TEXT NOT NULL, owner TEXT, epoch INTEGER NOT NULL, started_at REAL, ended_at REAL,"
        " total INTEGER NOT NULL, done INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX runs_by_age ON runs (created_at, run)",
        "CREATE INDEX runs_by_parent ON runs (parent, created_at, run)",
        "CREATE INDEX runs_by_workflow ON runs (workflow, created_at, run)",
        f"CREATE INDEX runs_open ON runs (created_at, run) WHERE {IS_OPEN}",
        "CREATE TABLE log (run TEXT NOT NULL, seq INTEGER NOT NULL, batch BLOB NOT NULL, PRIMARY KEY (run, seq))",
        "CREATE TABLE blobs (run TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, key))",
        "CREATE TABLE documents (run TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE fields (run TEXT NOT NULL, section TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
        " PRIMARY KEY (run, section, key))",
        "CREATE TABLE large_values (id INTEGER PRIMARY KEY, run TEXT NOT NULL, data BLOB NOT NULL)",
        "CREATE INDEX large_values_by_run ON large_values (run)",
        "CREATE TABLE tokens (run TEXT NOT NULL, number INTEGER NOT NULL, token TEXT NOT NULL,"
        " PRIMARY KEY (run, number)) WITHOUT ROWID",
        "CREATE UNIQUE INDEX tokens_by_token ON tokens (run, token)",
        "CREATE TABLE output (run TEXT NOT NULL, task TEXT NOT NULL, attempt INTEGER NOT NULL, stream TEXT NOT NULL,"
        " offset INTEGER NOT NULL, at REAL NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY (run, task, attempt, stream, offset))",
        "CREATE TABLE nodes (node TEXT PRIMARY KEY, address TEXT NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID",
    ),
    ("ALTER TABLE nodes ADD COLUMN name TEXT NOT NULL DEFAULT ''",),
    ("CREATE TABLE removals (run TEXT PRIMARY KEY, kind TEXT NOT NULL, noted_at REAL NOT NULL) WITHOUT ROWID",),
)
"""Statements that lead from each version of the schema to the next. A released migration is never edited."""

_WAL_KEPT_BYTES = 64 * 1024 * 1024
"""A write-ahead log that grew beyond this, under a long read, is cut back to it by the next checkpoint."""

_SAYS_NO = 11, 26  # SQLITE_CORRUPT, SQLITE_NOTADB
_WHAT_TO_DO = {
    5: "another process has been writing to it for too long",  # SQLITE_BUSY
    6: "another process has been writing to it for too long",  # SQLITE_LOCKED
    8: "it cannot be written to; check the permissions of the file and of its folder",  # SQLITE_READONLY
    10: "the disk reports an error",  # SQLITE_IOERR
    13: "the disk is full; make room",  # SQLITE_FULL
    14: "it cannot be opened; check that its folder exists and may be written to",  # SQLITE_CANTOPEN
}


def store_error(path: Path, problem: sqlite3.Error) -> StoreError:
    """What an error of SQLite means to whoever asked: StoreUnavailable unless trying again is pointless."""
    code = getattr(problem, "sqlite_errorcode", 0) & 0xFF  # the upper bits tell subspecies apart
    if code in _SAYS_NO:
        return StoreError(
            f"{path} is not a usable store ({problem}); restore it from a backup, "
            f"or save what can be saved with `sqlite3 {path} .recover`, and move it away to start with an empty one"
        )
    if isinstance(problem, sqlite3.OperationalError):
        return StoreUnavailable(f"the store {path} cannot be used now: {_WHAT_TO_DO.get(code, problem)} ({problem})")
    return StoreError(f"the store {path} refused a request: {problem}")


def connect(path: Path, busy_s: float, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made if missing: the file 0600, and missing folders 0700.

    Transactions are begun and ended explicitly. A lock held by another process is waited for `busy_s` seconds.

    Raises:
        StoreUnavailable: the file cannot be made or opened.
        StoreError: it is not a store, damaged, or of a later MeshFlow.
    """
    try:
        _make_folder(path.parent)
        is_new = not path.exists() or path.stat().st_size == 0
        connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as problem:
        raise StoreUnavailable(f"the store {path} cannot be opened: {problem}") from problem
    try:
        _prepare(connection, path, busy_s, is_new, migrations)
    except sqlite3.Error as problem:
        connection.close()
        raise store_error(path, problem) from problem
    except StoreError:
        connection.close()
        raise
    return connection


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _prepare(
    connection: sqlite3.Connection, path: Path, busy_s: float, is_new: bool, migrations: Sequence[Sequence[str]]
) -> None:
    connection.execute("BEGIN")
    version = _version_of(connection, path, len(migrations))
    connection.execute("COMMIT")
    if is_new:
        # Before there is a write-ahead log, which takes over the mode of the file; the file is still empty.
        os.chmod(path, 0o600)
        # So that space can be given back in small parts. It can only be chosen for an empty file: one that was made
        # without it keeps its size, and uses what became free again.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    _use_write_ahead_log(connection, path, time.monotonic() + busy_s)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    if version < len(migrations):
        _migrate(connection, path, migrations)


def _version_of(connection: sqlite3.Connection, path: Path, known: int) -> int:
    """The schema of the file. In a transaction: another process may be making the file just now."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (table_count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if table_count and application != _APPLICATION_ID:
        raise StoreError(
            f"{path} is a database of another program; give the path of a MeshFlow store, or of a new file"
        )
    if version > known:
        raise StoreError(
            f"the store {path} has schema {version}, made by a later MeshFlow; this one knows schemas up to {known}; "
            "upgrade this MeshFlow, or use another store"
        )
    return version


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path, deadline: float) -> None:
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError:
            # Two processes that switch a new file over at once: SQLite lets one fail at once instead of waiting.
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
    if mode != "wal":
        raise StoreError(f"the store {path} is on a file system without shared memory; put it on a local disk")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = _version_of(connection, path, len(migrations))  # another process may have been faster
    for statements in migrations[version:]:
        for statement in statements:
            connection.execute(statement)
    if version == 0:
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(migrations)}")
    connection.execute("COMMIT")
