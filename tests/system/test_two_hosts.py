"""Two hosts with a network of their own between them, made of network namespaces.

The second host has neither store nor key at first: it is given the key in a file, joins through the address of the
first, and borrows the first one's store.
"""

import shutil
import subprocess
import sys

import pytest

from tests.system.conftest import MakeMesh
from tests.system.network import ADDRESSES, plug
from tests.system.real_mesh import RealMesh, eventually

pytestmark = pytest.mark.system

PORT = 7411
FIRST = f"{ADDRESSES[0]}:{PORT}"


@pytest.fixture
def pair(hosts: list[str], make_mesh: MakeMesh) -> tuple[RealMesh, RealMesh]:
    """A node that drives and has the store on the first host, and one that works on the second."""
    first, second = (
        make_mesh(side, prefix=["ip", "netns", "exec", name]) for side, name in zip("ab", hosts, strict=True)
    )
    made = first.cli("key", "make")
    assert made.returncode == 0, made.stderr
    key = second.folder / "mesh.key"
    shutil.copy(made.stdout.strip(), key)
    key.chmod(0o600)
    first.start("first", ("workflow", "dag"), 1, "--bind", FIRST)
    first.await_ready("first")
    second.start("second", ("task",), 2, "--join", FIRST, "--bind", ADDRESSES[1], "--key-file", str(key))
    second.await_ready("second")
    second.environment["MESHFLOW_KEY_FILE"] = str(key)
    return first, second


def submit(mesh: RealMesh, *more: str) -> None:
    """Submit `simple` and see it through."""
    result = mesh.cli("submit", "simple", "--follow", *more)
    assert result.returncode == 0, result.stderr
    assert "The value is: 5" in result.stdout


def test_a_joined_host_runs_tasks_and_either_side_may_submit(pair: tuple[RealMesh, RealMesh]) -> None:
    """The second host finds its own node, the first its own; both see both."""
    first, second = pair
    submit(first)
    submit(second)
    for mesh in pair:
        names = eventually(lambda mesh=mesh: _names(mesh), "both nodes are seen")  # type: ignore[misc]
        assert names == ["first", "second"]
    assert not list(second.folder.glob("state/**/store.sqlite")), "the second host has no store"


def _names(mesh: RealMesh) -> list[str]:
    lines = mesh.cli("nodes").stdout.splitlines()[1:]
    names = sorted(line.split()[0] for line in lines)
    return names if len(names) == 2 else []


def test_without_the_key_nobody_joins(hosts: list[str], make_mesh: MakeMesh) -> None:
    """A client of the other host is told so."""
    first, second = (
        make_mesh(side, prefix=["ip", "netns", "exec", name]) for side, name in zip("ab", hosts, strict=True)
    )
    assert first.cli("key", "make").returncode == 0
    first.start("first", ("workflow", "dag", "task"), 1, "--bind", FIRST)
    first.await_ready()
    result = second.cli("status", "--connect", FIRST)
    assert result.returncode == 9, result.stderr
    assert "key" in result.stderr


def test_a_host_that_loses_its_network_gets_its_work_back_with_it(
    pair: tuple[RealMesh, RealMesh], hosts: list[str]
) -> None:
    """While the cable is out nothing is lost; once it is in again, the run ends."""
    first, second = pair
    submit(first)
    plug(hosts[1], is_in=False)
    result = first.cli("submit", "simple")
    assert result.returncode == 0, result.stderr
    eventually(lambda: "dead" in first.log("first").read_text(), "the first takes the second for dead")
    plug(hosts[1], is_in=True)
    done = first.cli("logs", "-f", result.stdout.strip())
    assert done.returncode == 0, done.stderr
    assert "The value is: 5" in done.stdout
    assert second.pid("second")


def test_runs_pause_while_the_host_with_the_store_is_dead(pair: tuple[RealMesh, RealMesh]) -> None:
    """The task on the other host ends meanwhile, keeps its result, and is not run again."""
    first, second = pair
    submitted = first.cli("submit", str(first.write("gated.py", GATED)))
    assert submitted.returncode == 0, submitted.stderr
    ran = second.work / "ran"
    eventually(ran.exists, "the task runs on the second host")
    first.kill("first")
    (second.work / "gate").touch()
    eventually(lambda: "ended" in ran.read_text(), "the task ends")
    first.start("first", ("workflow", "dag"), 1, "--bind", FIRST)
    first.await_ready("first")
    done = first.cli("logs", "-f", submitted.stdout.strip())
    assert done.returncode == 0, done.stderr
    assert "The value is: 7" in done.stdout
    assert ran.read_text().splitlines() == ["began", "ended"]


def test_calls_of_a_client_are_made_on_the_other_host(pair: tuple[RealMesh, RealMesh], hosts: list[str]) -> None:
    """The first host has no slots, and processes of the second cannot reach the client but through the mesh."""
    first, second = pair
    program = first.write("calls.py", CALLS)
    command = ["ip", "netns", "exec", hosts[0], sys.executable, str(program), str(second.pid("second"))]
    called = subprocess.run(command, env=first.environment, capture_output=True, text=True, timeout=60, check=False)
    assert called.returncode == 0, called.stderr
    assert called.stdout.split() == ["125250", "8000000"]


CALLS = """
import os, sys
import meshflow

def grandparent():
    with open(f"/proc/{os.getppid()}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

with meshflow.Client() as client:
    assert client.submit(grandparent).result(30) == int(sys.argv[1])
    print(sum(client.gather(client.map(abs, range(-500, 0)))))
    print(len(client.submit(bytes, 8_000_000).result(30)))
"""

GATED = """
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def wait(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    with (folder / "ran").open("a", buffering=1) as file:
        print("began", file=file)
        while not (folder / "gate").exists():
            time.sleep(0.01)
        data["value"] = 7
        print("ended", file=file)

def tell(data, store, signal, context):
    print(f"The value is: {data['value']}")

d = Dag("d")
d.define({PythonTask(name="wait_task", callback=wait): PythonTask(name="tell_task", callback=tell)})
"""
