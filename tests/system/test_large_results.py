"""Large results go into the store before anybody is told of them. While it is away they wait in their node: in memory
up to the bound of all results that wait, beyond it on disk."""

import time
from collections import Counter
from pathlib import Path

import pytest

from meshflow.core.records import State
from meshflow.core.worker_settings import WorkerSettings
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, eventually, finish, printed
from tests.system.test_spool import spool_files
from tests.system.test_store_away import executions, locked, recorded

pytestmark = pytest.mark.system

COUNT = 9
VALUE_BYTES = 20_000_000
MAX_KEPT_BYTES = WorkerSettings().max_kept_bytes
ON_DISK_BYTES = COUNT * VALUE_BYTES - MAX_KEPT_BYTES - VALUE_BYTES
"""One value is with the store, which does not answer."""
PASSING_BYTES = 6 * VALUE_BYTES
"""Two values on their way from their tasks take so much for a moment, while room for them grows."""
HONEST = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""Has the allocator give large blocks back at once, so that the memory of a process says what it keeps."""

LARGE = f"""
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def make(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    with (folder / "ran").open("a") as file:
        file.write(context.task_name + "\\n")
    until = time.monotonic() + 30
    while not (folder / context.task_name).exists() and time.monotonic() < until:
        time.sleep(0.005)
    data["large"] = context.task_name.encode() * ({VALUE_BYTES} // 2)

def look(data, store, signal, context):
    name = context.task_name.removeprefix("after-")
    print(name, data["large"] == name.encode() * ({VALUE_BYTES} // 2))

d = Dag("load")
d.define({{
    PythonTask(name=f"t{{number}}", callback=make): PythonTask(name=f"after-t{{number}}", callback=look)
    for number in range({COUNT})
}})
"""

NAMES = [f"t{number}" for number in range(COUNT)]


def memory_bytes(pid: int, what: str) -> int:
    """The memory that a process has (`VmRSS`), or the most that it has had (`VmHWM`)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith(what))
    return int(found) * 1024


def spooled_bytes(mesh: RealMesh) -> int:
    """What the node has on disk."""
    return sum(status.st_size for status in spool_files(mesh))


def test_large_results_that_the_store_cannot_take_wait_on_disk_and_are_recorded_once(make_mesh: MakeMesh) -> None:
    mesh = make_mesh(environment=HONEST)
    mesh.start("driver", ("workflow", "dag"), 1)
    mesh.start("worker", ("task",), COUNT)
    mesh.await_ready()
    mesh.await_nodes(2)
    run = mesh.submit(mesh.write("large.py", LARGE), keep_data=True)
    eventually(lambda: len(executions(mesh)) == COUNT, "all tasks run")
    worker = mesh.pid("worker")
    before = memory_bytes(worker, "VmRSS")
    with locked(mesh):
        let_go: list[str] = []
        for name in NAMES:  # One after the other, for each takes some memory as it comes.
            eventually(
                lambda: memory_bytes(worker, "VmRSS") - before + spooled_bytes(mesh) >= len(let_go) * VALUE_BYTES,
                f"the results of {let_go} have come",
            )
            (mesh.work / name).touch()
            let_go.append(name)
            time.sleep(0.05)
        eventually(lambda: spooled_bytes(mesh) >= ON_DISK_BYTES, "what does not fit in memory is on disk")
        eventually(
            lambda: memory_bytes(worker, "VmRSS") - before < MAX_KEPT_BYTES + 2 * VALUE_BYTES,
            "the memory that results took as they came is given back",
        )
        assert memory_bytes(worker, "VmHWM") - before < MAX_KEPT_BYTES + 2 * VALUE_BYTES + PASSING_BYTES
    assert finish(run, 60.0) is State.COMPLETED, run.reason
    assert Counter(end.task for end in recorded(mesh, run)) == dict.fromkeys(range(2 * COUNT), 1)
    assert sorted(executions(mesh)) == sorted(NAMES)
    assert [printed(run, f"after-{name}") for name in NAMES] == [[f"{name} True"] for name in NAMES]
    eventually(lambda: not spool_files(mesh), "the disk has its space back")
