"""Owners and workers that were stopped, taken for dead and continued: fenced, and seen to be; one result per task.

`MESHFLOW_LONG=1` repeats each as often as the promise says (200 times), instead of a few.
"""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from meshflow.core.records import Claimed, Entry, State, TaskEnded
from meshflow.core.requests import ReadLog
from meshflow.ids import RunId
from meshflow.run_handle import RunHandle
from meshflow.store.sqlite import SqliteStore
from tests.system.conftest import MakeMesh
from tests.system.network import ADDRESSES, plug
from tests.system.real_mesh import DEFAULT_QUEUES, RealMesh, events, eventually, finish

pytestmark = pytest.mark.system

IS_LONG = os.environ.get("MESHFLOW_LONG") == "1"
TIMES = 200 if IS_LONG else 2

BUSY = """
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    if not Path(os.environ["MESHFLOW_TEST_FOLDER"], "gate").exists():
        time.sleep(0.25)

tasks = [PythonTask(name=f"t{number}", callback=work) for number in range(120)]
d = Dag("busy")
d.define({task: None for task in tasks})
"""

STOPPED = """
import os, time
from pathlib import Path
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("mark", type=str)])

def work(data, store, signal, context):
    folder, mark = Path(os.environ["MESHFLOW_TEST_FOLDER"]), store.get("mark")
    with (folder / f"{mark}.ran").open("a") as file:
        file.write(f"{context.worker_hostname} {os.getpid()}\\n")
    until = time.monotonic() + 20
    while not (folder / f"{mark}.gate").exists() and time.monotonic() < until:
        time.sleep(0.005)
    data["who"] = os.getpid()

def tell(data, store, signal, context):
    store.push("told", data["who"])

d = Dag("d")
d.define({PythonTask(name="work", callback=work): PythonTask(name="tell", callback=tell)})
"""


def refused_append_counts(mesh: RealMesh) -> dict[str, int]:
    """Of the nodes that answer, by name, as the command line shows it."""
    shown = mesh.cli("nodes", "-o", "json")
    assert shown.returncode == 0, shown.stderr
    counts = {node["name"]: node["refused_append_count"] for node in json.loads(shown.stdout)["items"]}
    return {name: count for name, count in counts.items() if count is not None}


def log_entries(mesh: RealMesh, run: str) -> list[Entry]:
    """The log of a run, from the file of the embedded store."""
    (path,) = (mesh.folder / "state").rglob("store.sqlite")
    store = SqliteStore(path)
    (batches,) = store.perform([ReadLog(RunId(run), max_bytes=2**40)])
    store.close()
    assert isinstance(batches, tuple)
    return [entry for batch in batches for entry in batch.entries]


def ends(run: RunHandle) -> list[str]:
    """The tasks that ended well, as often as it is recorded."""
    return sorted(event.name for event in events(run) if event.type == "task" and event.word == "succeeded")


def test_owners_on_both_sides_of_a_cut_are_fenced_and_seen_to_be(hosts: list[str], make_mesh: MakeMesh) -> None:
    """Two hosts that share a store lose sight of each other: each takes the other for dead and its runs over. The store
    takes the entries of one owner at a time, so every task has one recorded end all the same. The tasks are long enough
    for a claim to come between two entries of the rival."""
    first = make_mesh("a", prefix=["ip", "netns", "exec", hosts[0]])
    store = {"MESHFLOW_STATE_DIR": first.environment["MESHFLOW_STATE_DIR"], "MESHFLOW_STORE__URL": "embedded"}
    second = make_mesh("b", prefix=["ip", "netns", "exec", hosts[1]], environment=store)
    assert first.cli("key", "make").returncode == 0
    first.start("first", DEFAULT_QUEUES, 2, "--bind", f"{ADDRESSES[0]}:7412")
    first.await_ready()
    second.start("second", DEFAULT_QUEUES, 2, "--bind", ADDRESSES[1], "--join", f"{ADDRESSES[0]}:7412")
    second.await_ready()
    eventually(lambda: refused_append_counts(first) == {"first": 0, "second": 0}, "both nodes are seen")
    submitted = first.cli("submit", str(first.write("busy.py", BUSY)), "--keep-data")
    assert submitted.returncode == 0, submitted.stderr
    plug(hosts[1], is_in=False)
    sides = (first, second)
    eventually(lambda: any(any(refused_append_counts(side).values()) for side in sides), "an append is refused")
    for side in sides:
        (side.work / "gate").touch()
    plug(hosts[1], is_in=True)
    done = first.cli("logs", "-f", submitted.stdout.strip())
    assert done.returncode == 0, done.stderr
    entries = log_entries(first, f"{submitted.stdout.strip()}/busy:1")
    recorded = Counter(entry.task for entry in entries if isinstance(entry, TaskEnded) and not entry.retry)
    assert recorded == dict.fromkeys(range(120), 1)
    epochs = [entry.epoch for entry in entries if isinstance(entry, Claimed)]
    assert epochs == list(range(1, len(epochs) + 1)), "epochs rise by one"
    assert len(epochs) > 1


def test_results_of_attempts_that_were_stopped_beyond_their_take_over_are_not_recorded(mesh: RealMesh) -> None:
    """A worker and its task are stopped until others have run the task again; then it goes on and ends, too."""
    for name in ("driver", "other"):
        mesh.start(name, ("workflow", "dag"), 1)
    for name in ("worker1", "worker2"):
        mesh.start(name, ("task",), 1)
    mesh.await_ready()
    path = mesh.write("stopped.py", STOPPED)
    for number in range(TIMES):
        mesh.await_nodes(4)
        began_at = time.monotonic()
        stop_and_continue(mesh, path, f"m{number}")
        print(f"{number + 1} of {TIMES}: one recorded result, after {time.monotonic() - began_at:.1f} s", flush=True)


def stop_and_continue(mesh: RealMesh, path: Path, mark: str) -> None:
    """Submit, stop who runs it, let it run elsewhere, continue the first, and look at what was recorded."""
    run = mesh.submit(path, {"mark": mark}, keep_data=True)
    ran = mesh.work / f"{mark}.ran"

    def executions() -> list[list[str]]:
        return [line.split() for line in ran.read_text().splitlines()] if ran.exists() else []

    ((node, pid),) = eventually(executions, "the task runs")
    mesh.signal(node, signal.SIGSTOP)
    os.kill(int(pid), signal.SIGSTOP)
    eventually(lambda: len(executions()) == 2, "it runs elsewhere")
    (mesh.work / f"{mark}.gate").touch()
    is_late = int(mark[1:]) % 2 == 1  # the first attempt ends while the run goes on, or after its end
    if is_late:
        assert finish(run) is State.COMPLETED, run.reason
    os.kill(int(pid), signal.SIGCONT)
    mesh.signal(node, signal.SIGCONT)
    assert finish(run) is State.COMPLETED, run.reason
    other = executions()[1][1]
    assert len(executions()) == 2
    assert ends(run) == ["tell", "work"]
    assert run.store.get("told") == [int(other)], "the result of the attempt that counts went on, once"
