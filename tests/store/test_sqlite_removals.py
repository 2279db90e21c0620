"""How runs leave the embedded store: what becomes of the file, of those who wait, and of who is killed meanwhile."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from meshflow.core.records import Batch, State, TaskEnded, Value
from meshflow.core.requests import (
    Append,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
    ReadOutput,
    RemoveOrphans,
    RemoveRun,
    Sweep,
    WriteOutput,
)
from meshflow.ids import RunId
from meshflow.store import sqlite_removals
from meshflow.store.sqlite import SqliteStore
from tests.store.contract_base import DAG, OTHER, RUN, ask, create, end, sweep

ROOT = Path(__file__).parents[2]

LONGEST_SWEEP_S = 2.0
"""On a machine that is busy with other tests; alone, no sweep takes a tenth of a second."""


def fill(store: SqliteStore, *, tasks: int = 2000, blobs: int = 50) -> None:
    """A run that has ended, with output of every task and some large values."""
    entries = tuple(TaskEnded(task, 1, State.COMPLETED, Value(b"x" * 100, "", 100)) for task in range(100))
    store.perform([create(), create(DAG)])
    store.perform([Append(Batch(DAG, seq, "mine", entries)) for seq in range(tasks // 100)])
    store.perform([WriteOutput(DAG, f"t{task}", 1, "stdout", 0, b"printed") for task in range(tasks)])
    store.perform([PutBlob(RUN, f"value/{key}", b"x" * 100_000) for key in range(blobs)])
    store.perform([end(), end(DAG)])


def test_the_space_of_a_removed_run_is_given_back(store: SqliteStore, path: Path) -> None:
    ask(store, create(OTHER))
    fill(store)
    ask(store, RemoveRun(RUN))
    sweep(store)
    store.close()
    assert path.stat().st_size < 200_000


def test_a_file_that_was_made_without_this_keeps_its_size_and_uses_the_space_again(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    store = SqliteStore(path)
    sizes = []
    for _ in range(3):
        fill(store)
        ask(store, RemoveRun(RUN))
        sweep(store)
        store.close()
        sizes.append(path.stat().st_size)
    assert sizes[0] > 5_000_000
    assert sizes[-1] < 1.05 * sizes[0]


def test_no_sweep_keeps_others_waiting_for_long_however_large_the_run(store: SqliteStore) -> None:
    fill(store, tasks=20_000, blobs=400)
    ask(store, RemoveRun(RUN))
    longest_s = 0.0
    for _ in range(1000):
        begun_at = time.monotonic()
        swept = ask(store, Sweep())
        longest_s = max(longest_s, time.monotonic() - begun_at)
        assert swept.row_count <= 2000  # type: ignore[attr-defined]
        assert swept.size_bytes <= 17 * 1024 * 1024  # type: ignore[attr-defined]
        if swept.is_done:  # type: ignore[attr-defined]
            break
    assert longest_s < LONGEST_SWEEP_S


def test_parts_of_runs_are_found_by_an_index(store: SqliteStore, path: Path) -> None:
    fill(store, tasks=100, blobs=1)
    assert store._session is not None
    statements: list[str] = []
    store._session._connection.set_trace_callback(statements.append)
    store.perform([RemoveOrphans(1.0, 0.0), RemoveRun(RUN)])
    sweep(store)
    plans = []
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            if statement.startswith("SELECT") and "removals" not in statement:
                plans += [f"{row[3]}: {statement}" for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert len(plans) > 10
    assert [plan for plan in plans if plan.startswith("SCAN") or "TEMP B-TREE" in plan] == []


def test_a_search_for_orphans_goes_on_where_the_last_one_ended(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_removals, "_LOOKED_AT", 3)
    runs = [RunId(f"{number:024x}") for number in range(8)]
    store.perform([PutBlob(run, "key", b"1") for run in runs])
    for at in (1.0, 2.0):
        after, steps = "", 0
        while steps == 0 or after:
            after, steps = str(ask(store, RemoveOrphans(at, 1.5, after))), steps + 1
        assert steps == 3
    assert sweep(store) == (8, 8)


CLEANER = """
import sys, time
from pathlib import Path
from meshflow.core.requests import RemoveRun, Sweep
from meshflow.ids import RunId
from meshflow.store import sqlite_removals
from meshflow.store.sqlite import SqliteStore

sqlite_removals.SWEEP_ROWS = 20
store = SqliteStore(Path(sys.argv[1]))
store.perform([RemoveRun(RunId(sys.argv[2]))])
while True:
    store.perform([Sweep()])
    print("swept", flush=True)
"""


@pytest.mark.system
def test_what_a_killed_cleaner_leaves_is_not_seen_and_goes_with_the_next_sweeps(store: SqliteStore, path: Path) -> None:
    fill(store)
    ask(store, create(OTHER))
    cleaner = subprocess.Popen(
        [sys.executable, "-c", CLEANER, str(path), RUN], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with cleaner:
        assert cleaner.stdout is not None
        for _ in range(5):
            assert cleaner.stdout.readline() == "swept\n"
        cleaner.kill()
    assert store.perform([LoadRun(RUN), ListRuns(is_open=False, workflows_only=True)]) == [None, ()]
    assert ask(store, ReadOutput(RUN)) != ()
    row_count, _ = sweep(store)
    assert row_count > 0
    assert store.perform([ReadLog(DAG), ReadOutput(RUN), LoadRun(DAG)]) == [(), (), None]
    assert ask(store, LoadRun(OTHER)) is not None
