"""Data that is too much for one message reaches the task that wants it."""

import pytest

from meshflow.core.records import State
from tests.system.real_mesh import RealMesh, finish, printed

pytestmark = pytest.mark.system

GATHER = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def make(data, store, signal, context):
    data["part"] = b"x" * 60_000

def gather(data, store, signal, context):
    print(sum(len(each.data["part"]) for each in data))

d = Dag("d")
end = PythonTask(name="gather", callback=gather)
d.define({PythonTask(name=f"make{number}", callback=make): end for number in range(1200)})
"""
"""Each result is small enough to travel with a job; together they are 72 MB, and a message may have 64 MiB."""


def test_a_task_gathers_more_than_a_message_carries(mesh: RealMesh) -> None:
    mesh.start("only")
    mesh.await_ready()
    run = mesh.submit(mesh.write("flow.py", GATHER))
    assert finish(run) is State.COMPLETED
    assert printed(run, "gather") == ["72000000"]
