"""The file of the embedded store: its modes, its schema, its locks, and what is said when it cannot be used."""

import fcntl
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from meshflow.core.records import Batch
from meshflow.core.requests import (
    Append,
    GetBlob,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
)
from meshflow.errors import StoreError, StoreUnavailable
from meshflow.store import sqlite_file
from meshflow.store.sqlite import SqliteStore
from tests.store.another_program import change, rows
from tests.store.contract_base import OTHER, RUN, ask, create

# --- the file ---


def test_files_are_for_their_owner_alone_and_so_are_folders_made_for_them(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    path = tmp_path / "there" / "new" / "deep" / "store.sqlite"
    mask = os.umask(0o000)
    try:
        store = SqliteStore(path)
        ask(store, create())
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.rglob("*")}
        store.close()
    finally:
        os.umask(mask)
    assert modes == {
        "there": 0o755,  # it was there already
        "new": 0o700,
        "deep": 0o700,
        "store.sqlite": 0o600,
        "store.sqlite-wal": 0o600,
        "store.sqlite-shm": 0o600,
        "store.sqlite.lock": 0o600,
    }


def test_every_commit_is_synced_to_disk(path: Path) -> None:
    connection = sqlite_file.connect(path, 1.0)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    connection.close()


def test_a_store_is_there_again_after_closing(path: Path) -> None:
    for request, answer in ((PutBlob(RUN, "key", b"1"), True), (GetBlob(RUN, "key"), b"1")):
        store = SqliteStore(path)
        assert ask(store, request) == answer
        store.close()
        store.close()  # again does no harm
    assert [each.name for each in path.parent.iterdir() if each.name.endswith(("-wal", "-shm"))] == []


def test_a_closed_store_opens_again_when_it_is_needed(store: SqliteStore) -> None:
    ask(store, PutBlob(RUN, "key", b"1"))
    store.close()
    assert ask(store, GetBlob(RUN, "key")) == b"1"


@pytest.mark.parametrize("what", ["folder", "below a file"])
def test_a_path_that_cannot_be_a_file_is_said_to_be_unusable(tmp_path: Path, what: str) -> None:
    path = tmp_path / "place"
    if what == "folder":
        path.mkdir()
    else:
        path.write_text("a file")
        path = path / "store.sqlite"
    with pytest.raises(StoreUnavailable, match=str(path)):
        SqliteStore(path)


@pytest.mark.parametrize("content", [b"this is no database, whatever its name says" * 100, b"SQLite format 3\0" * 300])
def test_a_damaged_file_is_refused_as_it_is_and_the_error_says_what_to_do(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match="backup") as raised:
        SqliteStore(path)
    assert not isinstance(raised.value, StoreUnavailable)
    assert ".recover" in str(raised.value)
    assert path.read_bytes() == content


def test_a_store_that_gets_damaged_says_so(store: SqliteStore, path: Path) -> None:
    store.perform([create(), *[PutBlob(RUN, str(number), b"x" * 5000) for number in range(50)]])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="restore it from a backup"):
        store.perform([ListRuns(), GetBlob(RUN, "7"), LoadRun(RUN)])


def test_an_entry_that_cannot_be_decoded_is_an_error_not_a_wrong_answer(store: SqliteStore, path: Path) -> None:
    ask(store, Append(Batch(RUN, 0, "token", ())))
    change(path, "UPDATE log SET batch = x'93'")
    with pytest.raises(StoreError, match="later MeshFlow"):
        ask(store, ReadLog(RUN))


def test_the_database_of_another_program_is_refused_as_it_is(path: Path) -> None:
    change(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


# --- the schema ---


def test_a_store_of_a_later_version_is_refused_as_it_is(store: SqliteStore, path: Path) -> None:
    ask(store, create())
    store.close()
    later = len(sqlite_file.MIGRATIONS) + 1
    change(path, f"PRAGMA user_version = {later}")
    with pytest.raises(StoreError, match=rf"schema {later}.*upgrade"):
        SqliteStore(path)
    assert rows(path, "PRAGMA user_version") == [(later,)]


def test_a_store_of_an_earlier_version_is_migrated_and_keeps_its_data(store: SqliteStore, path: Path) -> None:
    ask(store, PutBlob(RUN, "key", b"1"))
    migrations = [
        *sqlite_file.MIGRATIONS,
        ("CREATE TABLE more (x)", "INSERT INTO more VALUES (1)"),
        ("DROP TABLE more",),
    ]
    sqlite_file.connect(path, 1.0, migrations[:-1]).close()
    sqlite_file.connect(path, 1.0, migrations[:-1]).close()
    assert rows(path, "SELECT x FROM more") == [(1,)]
    sqlite_file.connect(path, 1.0, migrations).close()
    assert rows(path, "PRAGMA user_version") == [(len(migrations),)]
    assert rows(path, "SELECT data FROM blobs") == [(b"1",)]


def test_a_migration_that_fails_leaves_the_store_as_it_was(store: SqliteStore, path: Path) -> None:
    migrations = [*sqlite_file.MIGRATIONS, ("CREATE TABLE more (x)", "CREATE TABLE runs (x)")]
    with pytest.raises(StoreError, match="runs already exists"):
        sqlite_file.connect(path, 1.0, migrations)
    assert rows(path, "PRAGMA user_version") == [(len(sqlite_file.MIGRATIONS),)]
    assert rows(path, "SELECT name FROM sqlite_master WHERE name = 'more'") == []


# --- a file that goes away ---


def test_nothing_is_written_to_a_file_that_was_removed(store: SqliteStore, path: Path) -> None:
    """SQLite would go on writing to it, and say that all is well."""
    ask(store, create())
    path.rename(path.with_name("moved"))
    for request in (LoadRun(RUN), create(OTHER)):
        with pytest.raises(StoreUnavailable, match="has gone"):
            ask(store, request)
    assert not path.exists()
    path.with_name("moved").rename(path)
    assert ask(store, create(OTHER)) is True


@pytest.mark.parametrize("is_open", [True, False])
def test_nothing_is_written_to_another_file_in_the_place_of_the_store(
    store: SqliteStore, path: Path, is_open: bool
) -> None:
    """SQLite would replay the log of the file that was there before in it."""
    other = path.with_name("other")
    SqliteStore(other).close()
    ask(store, create())
    if not is_open:
        store.close()
    other.rename(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="another file"):
            ask(store, create(OTHER))
    path.with_name(path.name + "-wal").unlink(missing_ok=True)
    assert rows(path, "SELECT count(*) FROM runs") == [(0,)]


# --- locks ---


def test_a_lock_of_another_program_is_waited_for_but_not_for_ever(store: SqliteStore, path: Path) -> None:
    ask(store, create())
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process"):
            ask(store, create(OTHER))
        assert ask(store, LoadRun(OTHER)) is None  # reads go on
        other.execute("ROLLBACK")
    assert ask(store, create(OTHER)) is True


def test_a_turn_of_another_process_is_waited_for_but_not_for_ever(store: SqliteStore, path: Path) -> None:
    ask(store, create())
    turn = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX)
    with pytest.raises(StoreUnavailable, match=r"another process.*0\.05 seconds"):
        ask(store, create(OTHER))
    assert ask(store, LoadRun(RUN)) is not None  # reads go on
    os.close(turn)
    assert ask(store, create(OTHER)) is True


def test_a_turn_that_comes_in_time_is_taken(path: Path) -> None:
    store = SqliteStore(path)
    turn = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(turn, fcntl.LOCK_EX)
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(store, create())))
    waiting.start()
    assert not answers
    os.close(turn)
    waiting.join(10)
    assert answers == [True]
    store.close()


def test_one_that_gave_up_waiting_does_not_keep_the_turn(store: SqliteStore, path: Path) -> None:
    turn = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(turn, fcntl.LOCK_EX)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            ask(store, create())
    os.close(turn)
    for thread in threading.enumerate():
        if thread.name == "meshflow-store-turn":
            thread.join(10)
    turn = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody has it
    os.close(turn)


def test_a_file_that_another_process_is_making_just_now_is_not_taken_for_that_of_another_program(
    tmp_path: Path,
) -> None:
    troubles: list[Exception] = []
    for number in range(15):
        path = tmp_path / f"{number}.sqlite"
        together = threading.Barrier(8)

        def open_thrice(path: Path = path, together: threading.Barrier = together) -> None:
            together.wait()
            for _ in range(3):
                try:
                    sqlite_file.connect(path, 10.0).close()
                except StoreError as problem:
                    troubles.append(problem)

        threads = [threading.Thread(target=open_thrice) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert troubles == []
