"""The client that a program has without asking for one: whose mesh it is of, and what is left of it."""

import subprocess
import sys

import pytest

from meshflow.config import Config
from meshflow.mesh import NoMesh
from meshflow.shared_client import shared_client
from tests.system.real_mesh import RealMesh, eventually, is_running

pytestmark = pytest.mark.system

NOWHERE = "127.0.0.1:1"

PROGRAM = """
import os
import meshflow.runtime.child
from meshflow.shared_client import is_task_process, shared_client, slot_count

client = shared_client()
assert shared_client() is client
assert client.submit(is_task_process).result() and not is_task_process()
print(client.submit(os.getpid).result(), *[node.member.name for node in client.nodes()], slot_count(client, "task"))
"""


def output_of_the_program(mesh: RealMesh) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=mesh.environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.split()


def test_a_program_without_a_mesh_has_one_until_it_ends(mesh: RealMesh) -> None:
    process, *nodes, slots = output_of_the_program(mesh)
    assert nodes == ["local"]
    assert int(slots) > 0
    eventually(lambda: not is_running(int(process)), "the task process ended with the program")


def test_a_program_uses_the_mesh_of_its_host(mesh: RealMesh) -> None:
    mesh.start("first", slots=3)
    mesh.await_ready()
    _, *nodes, slots = output_of_the_program(mesh)
    assert nodes == ["first"]
    assert slots == "3"


def test_no_mesh_is_started_in_place_of_one_that_was_named(mesh: RealMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MESHFLOW_RUNTIME_DIR", "MESHFLOW_STATE_DIR"):
        monkeypatch.setenv(variable, mesh.environment[variable])
    with pytest.raises(NoMesh):
        shared_client(NOWHERE)
    config = Config()
    config.load_from_dict({"mesh": {"join": [NOWHERE]}})
    monkeypatch.setattr(Config, "from_file", lambda *_, **__: config)
    with pytest.raises(NoMesh):
        shared_client()
