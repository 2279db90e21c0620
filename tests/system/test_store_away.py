"""The store goes away under load and comes back: nothing is lost, nothing is recorded twice, and the full rate is
back within five seconds.

Away for two seconds here; `MESHFLOW_LONG=1` makes that a minute.
"""

import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from meshflow.core.records import Batch, State, TaskEnded
from meshflow.core.requests import ReadLog
from meshflow.ids import RunId
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import PACKAGE, RealMesh, eventually, finish

pytestmark = pytest.mark.system

IS_LONG = os.environ.get("MESHFLOW_LONG") == "1"
AWAY_S = 60.0 if IS_LONG else 2.0
BEFORE_S, AFTER_S = (3.0, 10.0) if IS_LONG else (1.0, 1.5)
"""Seconds of load before and after."""
SLOTS, TASK_S = 4, 0.04
BACK_AT_RATE_S = 5.0
"""What is promised."""

LOADED = f"""
import os, time
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    time.sleep({TASK_S})
    with open(os.environ["MESHFLOW_TEST_FOLDER"] + "/ran", "a") as file:
        file.write(context.task_name + "\\n")

d = Dag("load")
d.define({{PythonTask(name=f"t{{number}}", callback=work): None for number in range(COUNT)}})
"""
COUNT = round(SLOTS / TASK_S * (BEFORE_S + AWAY_S + AFTER_S))


@contextmanager
def locked(mesh: RealMesh) -> Iterator[None]:
    """Another process holds the locks of the embedded store, and the lock of SQLite beside them."""
    (path,) = (mesh.folder / "state").rglob("store.sqlite")
    with path.with_name(path.name + ".lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        connection = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def gone(mesh: RealMesh) -> Iterator[None]:
    """The file of the embedded store is not where it was."""
    (path,) = (mesh.folder / "state").rglob("store.sqlite")
    path.rename(path.with_name("elsewhere"))
    yield
    path.with_name("elsewhere").rename(path)


def start_workers(mesh: RealMesh, *more: str) -> None:
    """A node that drives runs, and one that works."""
    mesh.start("driver", ("workflow", "dag"), 1, *more)
    mesh.start("worker", ("task",), SLOTS, *more)
    mesh.await_ready("driver", "worker")


@pytest.mark.parametrize("away", [locked, gone] if IS_LONG else [locked])
def test_the_embedded_store_is_away(mesh: RealMesh, away: Callable[[RealMesh], AbstractContextManager[None]]) -> None:
    start_workers(mesh)
    mesh.await_nodes(2)
    with loaded(mesh) as run, away(mesh):
        time.sleep(AWAY_S)
    assert_nothing_lost(mesh, run)


def test_the_node_that_has_the_store_is_away(mesh: RealMesh) -> None:
    """The others have none of their own, and reach it through the mesh."""
    mesh.start("holder", ("nothing",), 1)
    mesh.await_ready("holder")
    (holder,) = mesh.await_nodes(1)
    start_workers(mesh, "--join", holder.member.address)
    mesh.await_nodes(3)
    with loaded(mesh) as run:
        mesh.signal("holder", signal.SIGSTOP)
        time.sleep(AWAY_S)
        mesh.signal("holder", signal.SIGCONT)
    assert_nothing_lost(mesh, run)


MONGOD = """
import signal
from tests.store.mongod_standin import MongodStandIn

server = MongodStandIn()
server.start()
print(server.address, flush=True)
signal.pause()
"""


def test_mongodb_is_away(mesh: RealMesh) -> None:
    """The process of the server is stopped: it takes connections, and says nothing."""
    command = [sys.executable, "-c", MONGOD]
    with subprocess.Popen(command, cwd=PACKAGE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        mesh.environment["MESHFLOW_STORE__URL"] = f"mongodb://{server.stdout.readline().strip()}/lab"
        start_workers(mesh)
        mesh.await_nodes(2)
        with loaded(mesh) as run:
            server.send_signal(signal.SIGSTOP)
            time.sleep(AWAY_S)
            server.send_signal(signal.SIGCONT)
        assert_nothing_lost(mesh, run)
        server.kill()


# --- load ---


@contextmanager
def loaded(mesh: RealMesh) -> Iterator[RunHandle]:
    """The body is run in the middle of a run of many short tasks; then the rates before and after are compared."""
    run = mesh.submit(mesh.write("load.py", LOADED.replace("COUNT", str(COUNT))), keep_data=True)
    eventually(lambda: executions(mesh), "tasks run")
    time.sleep(BEFORE_S)
    away_at = time.time()
    yield run
    back_at = time.time()
    assert finish(run, 60.0 + AWAY_S) is State.COMPLETED, run.reason
    ended_at = sorted(end.ended_at or 0.0 for end in recorded(mesh, run))
    before = rate(ended_at, away_at - BEFORE_S * 0.8, away_at)
    # What was done meanwhile is done: only then may there be less than seconds of work left.
    is_over = ended_at[-1] < back_at + AFTER_S / 2
    windows = [back_at + step / 4 for step in range(round(4 * BACK_AT_RATE_S) - 4)]
    after = max(rate(ended_at, start, start + 1.0) for start in windows)
    print(f"away for {back_at - away_at:.1f} s: {before:.0f} tasks/s before, {after:.0f} after, over early: {is_over}")
    assert is_over or after > 0.8 * before, (before, after)


def rate(times: list[float], since: float, until: float) -> float:
    """How many of the times lie between, by second."""
    return sum(since <= at < until for at in times) / (until - since)


def executions(mesh: RealMesh) -> list[str]:
    """The tasks that were run, as often as they were."""
    path = mesh.work / "ran"
    return path.read_text().splitlines() if path.exists() else []


def recorded(mesh: RealMesh, run: RunHandle) -> list[TaskEnded]:
    """The ends in the log."""
    batches: list[Batch] = []
    while True:
        (more,) = mesh.client().mesh.perform([ReadLog(RunId(f"{run.id}/load:1"), since=len(batches))])
        assert isinstance(more, tuple)
        if not more:
            break
        batches += more
    entries = [entry for batch in batches for entry in batch.entries]
    return [entry for entry in entries if isinstance(entry, TaskEnded) and not entry.retry]


def assert_nothing_lost(mesh: RealMesh, run: RunHandle) -> None:
    """Every task has one recorded end, and was run once: no node had died."""
    names = [f"t{number}" for number in range(COUNT)]
    assert Counter(end.task for end in recorded(mesh, run)) == dict.fromkeys(range(COUNT), 1)
    assert sorted(executions(mesh)) == sorted(names)
