"""What a node has too much of for its memory while the store is away waits on its disk: all of it gets through when the
store is back, and nothing of it stays behind, then or when the node is killed."""

import os
import stat
from collections import Counter
from pathlib import Path

import pytest

from meshflow.core.records import State
from meshflow.core.requests import ReadOutput, WriteOutput
from meshflow.core.worker_settings import WorkerSettings
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import RealMesh, eventually, finish
from tests.system.test_store_away import executions, locked, recorded

pytestmark = pytest.mark.system

COUNT = 9
PRINTED_BYTES = 10_000_000
"""By each task: less than is kept of one (limits.max_output_bytes), and of all together more than fits in memory."""
ON_DISK_BYTES = COUNT * PRINTED_BYTES - WorkerSettings().max_kept_bytes

LOUD = f"""
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    with (folder / "ran").open("a") as file:
        file.write(context.task_name + "\\n")
    until = time.monotonic() + 30
    while not (folder / "gate").exists() and time.monotonic() < until:
        time.sleep(0.005)
    print(context.task_name * ({PRINTED_BYTES} // 2), end="")
    data["padding"] = context.task_name * 10_000

d = Dag("load")
d.define({{PythonTask(name=f"t{{number}}", callback=work): None for number in range({COUNT})}})
"""


def begun(mesh: RealMesh) -> RunHandle:
    """A run whose tasks all wait on the node `worker` to be let go."""
    mesh.start("driver", ("workflow", "dag"), 1)
    mesh.start("worker", ("task",), COUNT)
    mesh.await_ready()
    mesh.await_nodes(2)
    run = mesh.submit(mesh.write("loud.py", LOUD), keep_data=True)
    eventually(lambda: len(executions(mesh)) == COUNT, "all tasks run")
    return run


def let_go(mesh: RealMesh) -> None:
    """Let the tasks print and end; returns when what does not fit in the memory of their node is on its disk."""
    (mesh.work / "gate").touch()
    eventually(
        lambda: sum(status.st_size for status in spool_files(mesh)) >= ON_DISK_BYTES,
        "what does not fit in memory is on disk",
    )
    assert {stat.S_IMODE(status.st_mode) for status in spool_files(mesh)} == {0o600}


def spool_files(mesh: RealMesh) -> list[os.stat_result]:
    """The files without a name that the node `worker` has open in the folder of its state."""
    found = []
    for path in Path(f"/proc/{mesh.pid('worker')}/fd").iterdir():
        try:
            is_here = os.readlink(path).startswith(str(mesh.folder / "state"))
            if is_here and (status := path.stat()).st_nlink == 0:
                found.append(status)
        except FileNotFoundError:  # It was closed just now.
            continue
    return found


def named_files(mesh: RealMesh) -> list[str]:
    """What has a name in the folder of the state."""
    return sorted(path.name for path in (mesh.folder / "state").rglob("*") if path.is_file())


def assert_complete(mesh: RealMesh, run: RunHandle) -> None:
    """Each task has one recorded end, and the attempt that it is of has all its output."""
    assert finish(run, 60.0) is State.COMPLETED, run.reason
    assert Counter(end.task for end in recorded(mesh, run)) == dict.fromkeys(range(COUNT), 1)
    for name in (f"t{number}" for number in range(COUNT)):
        chunks = mesh.client().ask(ReadOutput(run.id, name))
        assert isinstance(chunks, tuple)
        last = max(chunk.attempt for chunk in chunks if isinstance(chunk, WriteOutput))
        text = b"".join(chunk.data for chunk in chunks if isinstance(chunk, WriteOutput) and chunk.attempt == last)
        assert text == name.encode() * (PRINTED_BYTES // 2)


def test_what_waits_on_disk_is_recorded_once_when_the_store_is_back(mesh: RealMesh) -> None:
    run = begun(mesh)
    before = named_files(mesh)
    with locked(mesh):
        let_go(mesh)
        assert named_files(mesh) == before, "nobody else can open it"
    assert_complete(mesh, run)
    assert sorted(executions(mesh)) == [f"t{number}" for number in range(COUNT)]
    eventually(lambda: not spool_files(mesh), "the disk has its space back")


def test_a_node_that_is_killed_leaves_nothing_on_disk_and_its_tasks_run_again(mesh: RealMesh) -> None:
    run = begun(mesh)
    before = named_files(mesh)
    with locked(mesh):
        let_go(mesh)
        mesh.kill("worker")
        assert named_files(mesh) == before
    mesh.start("successor", ("task",), COUNT)
    assert_complete(mesh, run)
    assert Counter(executions(mesh)) == {f"t{number}": 2 for number in range(COUNT)}
