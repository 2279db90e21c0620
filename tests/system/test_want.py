"""A host that runs out of something: it is said, nothing is lost, and work goes on by itself when there is more."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.core.records import State
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, events, eventually, finish, printed

pytestmark = pytest.mark.system

COUNTED = """
import os, time
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    time.sleep(0.02)
    print(context.task_name)
    store.push("done", context.task_name)
    data["padding"] = os.urandom(SIZE)

tasks = [PythonTask(name=f"t{number}", callback=work) for number in range(20)]
d = Dag("d")
d.define(dict(zip(tasks, tasks[1:])))
"""

NAMES = [f"t{number}" for number in range(20)]


def counted(mesh: RealMesh, size_bytes: int = 0) -> Path:
    """A chain of tasks that print, push, and hand on so many bytes."""
    return mesh.write("counted.py", COUNTED.replace("SIZE", str(size_bytes)))


# --- the disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write to a file as long as the disk takes it.

    Raises:
        OSError: it takes no more.
    """
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_holds_work_up_and_loses_nothing(make_mesh: MakeMesh, small_disk: Path) -> None:
    """The file system of the store fills up in the middle of a run, and is full for a while."""
    mesh = make_mesh(environment={"MESHFLOW_STATE_DIR": str(small_disk / "state")})
    mesh.start("only")
    mesh.await_ready()
    run = mesh.submit(counted(mesh, 1000), keep_data=True)
    eventually(lambda: len(run.store.get("done", [])) > 3, "tasks run")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    eventually(lambda: "the disk is full; make room" in mesh.cli("nodes").stderr, "the node says why")
    refused = mesh.cli("submit", "simple")
    assert refused.returncode != 0
    assert "the disk is full; make room" in refused.stderr
    assert "Traceback" not in refused.stderr
    ballast.unlink()
    assert finish(run) is State.COMPLETED, run.reason
    assert run.store.get("done") == NAMES
    assert printed(run) == NAMES
    assert [event.name for event in events(run) if event.type == "task" and event.word == "succeeded"] == NAMES


# --- descriptors ---


def allow(mesh: RealMesh, name: str, descriptors: int) -> int:
    """Let a node have so many descriptors from now on; gives how many it could have."""
    _, hard = resource.prlimit(mesh.pid(name), resource.RLIMIT_NOFILE)
    resource.prlimit(mesh.pid(name), resource.RLIMIT_NOFILE, (descriptors, hard))
    return hard


def test_without_descriptors_work_waits_and_says_so(mesh: RealMesh) -> None:
    """The nodes get none that they have not got: for processes, large values, connections, the store's lock."""
    names = {"driver": ("workflow", "dag"), "worker": ("task",)}
    for name, queues in names.items():
        mesh.start(name, queues, 2)
    mesh.await_ready()
    mesh.await_nodes(2)
    allow(mesh, "worker", 8)
    run = mesh.submit(counted(mesh, 200_000), keep_data=True)
    eventually(lambda: run.state is State.RUNNING, "the run begins")
    allowed = allow(mesh, "driver", 8)
    eventually(lambda: "the store does not answer" in mesh.log("driver").read_text(), "the driver says what it lacks")
    eventually(lambda: "Too many open files" in mesh.log("worker").read_text(), "the worker says what it lacks")
    for name in names:
        allow(mesh, name, allowed)
    assert finish(run) is State.COMPLETED, run.reason
    assert run.store.get("done") == NAMES
    assert printed(run) == NAMES


# --- the clock ---

SHIFTED = """
import runpy, sys, time
from pathlib import Path

SHIFT = Path(sys.argv.pop(1))
wall = time.time

def shifted():
    return wall() + float(SHIFT.read_text())

time.time = shifted
runpy.run_module("meshflow", run_name="__main__", alter_sys=True)
"""


def test_a_clock_that_is_set_back_an_hour_changes_only_what_it_shows(make_mesh: MakeMesh, tmp_path: Path) -> None:
    """In the middle of a run; runs and nodes that come later are as good as earlier ones."""
    shift, program = tmp_path / "shift", tmp_path / "shifted.py"
    shift.write_text("0")
    program.write_text(SHIFTED)
    mesh = make_mesh(program=(str(program), str(shift)))
    mesh.start("first", ("workflow", "dag", "task"), 2)
    mesh.start("second", ("workflow", "dag", "task"), 2)
    mesh.await_ready()
    mesh.await_nodes(2)
    run = mesh.submit(counted(mesh), keep_data=True)
    eventually(lambda: len(run.store.get("done", [])) > 3, "tasks run")
    shift.write_text("-3600")
    later = mesh.submit(counted(mesh), keep_data=True)
    for each in (run, later):
        assert finish(each) is State.COMPLETED, each.reason
        assert each.store.get("done") == NAMES
        assert [event.name for event in events(each) if event.type == "task" and event.word == "succeeded"] == NAMES
    assert sorted(printed(run)) == sorted(NAMES), "lines are shown by their time"
    assert printed(later) == NAMES
    mesh.start("third", ("workflow", "dag", "task"), 2)
    mesh.await_ready("third")
    mesh.await_nodes(3)
    mesh.kill("first", "second")
    assert finish(mesh.submit("simple")) is State.COMPLETED
