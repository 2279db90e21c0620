"""Each limit of the section `limits`, exceeded against real nodes: a clear sentence, and nothing else is harmed."""

from pathlib import Path

import pytest

from meshflow.core.client_messages import AskStatus, NodeStatus
from meshflow.core.records import State
from meshflow.core.requests import PutBlob
from meshflow.ids import NodeId, RunId
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.remote import TooLargeForMesh
from tests.siege import run_one
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, events, eventually, finish, printed
from tests.system.strangers import deaf, key_of

pytestmark = pytest.mark.system

LIMITED = """
limits:
  max_value_bytes: 100000
  max_output_bytes: 2000
"""

GREEDY = """
from meshflow.models import Action, Dag
from meshflow.tasks import PythonTask

def large(data, store, signal, context):
    data['x'] = bytes(150_000)
    return Action(data)

def starts(data, store, signal, context):
    data['x'] = bytes(150_000)
    signal.start_dag('sub', data=data)

def chatty(data, store, signal, context):
    for number in range(1000):
        print(number)

def fine(data, store, signal, context):
    data['x'] = bytes(90_000)
    return Action(data)

tasks = {each.__name__: each for each in (large, starts, chatty, fine)}
main = Dag('main')
sub = Dag('sub', autostart=False)
sub.define({PythonTask(name='nothing', callback=fine): None})
main.define({PythonTask(name='NAME', callback=tasks['NAME']): None})
"""


@pytest.fixture
def limited(make_mesh: MakeMesh) -> RealMesh:
    mesh = make_mesh()
    path = mesh.write("meshflow.yml", LIMITED)
    mesh.start("one", ("workflow", "dag", "task"), 2, "--config", str(path))
    mesh.await_ready("one")
    return mesh


def greedy(mesh: RealMesh, name: str) -> Path:
    """A workflow with one task, of that name."""
    return mesh.write(f"{name}.py", GREEDY.replace("NAME", name))


def test_a_value_or_an_output_that_is_too_large_harms_its_task_only(limited: RealMesh) -> None:
    for name, sentence in (
        ("large", "its result has 150"),
        ("starts", "the data has 150"),
    ):
        run = limited.submit(greedy(limited, name))
        assert finish(run) is State.FAILED
        reason = next(event.reason for event in events(run) if event.name == name and event.reason)
        assert sentence in reason
        assert "more than 100000 (limits.max_value_bytes); write it to a file" in reason
    run = limited.submit(greedy(limited, "chatty"))
    assert finish(run) is State.COMPLETED
    lines = printed(run)
    assert lines[-1] == "output cut: more than 2000 bytes (limits.max_output_bytes)"
    assert len("\n".join(lines[:-1])) <= 2000
    assert finish(limited.submit(greedy(limited, "fine"))) is State.COMPLETED


def test_a_message_that_is_too_large_is_refused_at_either_end(make_mesh: MakeMesh) -> None:
    mesh = make_mesh()
    mesh.start("one")
    mesh.await_ready("one")
    data = bytes(65 * 1024 * 1024)
    run = RunId("65a1f0c2d3e4b5a697887766")
    with pytest.raises(TooLargeForMesh, match=r"a request of 68157\d+ bytes .*at most 67108864 .*raise max_message"):
        mesh.client().mesh.perform([PutBlob(run, "blob", data)])
    address, key = mesh.client().nodes()[0].member.address, key_of(mesh)
    line = Line(NodeId("00000000000000fe"), key, address, TransportSettings(max_message_bytes=10 * len(data)))
    line._ends[0].socket.send(bytes([1]) + data)  # what no client of ours would do
    eventually(lambda: is_broken(line), "it loses its connection")
    line.close()
    run_one(mesh)


def is_broken(line: Line) -> bool:
    """Whether the node has hung up."""
    from meshflow.runtime.transport.problems import Unreachable

    try:
        line.receive(0.1)
    except Unreachable:
        return True
    return False


def test_a_queue_that_is_full_is_told_of_and_the_rest_goes_on(make_mesh: MakeMesh) -> None:
    """A client that asks and never reads: its answers are dropped, those of others are not."""
    mesh = make_mesh(environment={"MESHFLOW_LIMITS__MAX_QUEUED_MESSAGES": "1000"})
    mesh.start("one")
    mesh.await_ready("one")
    address, key = mesh.client().nodes()[0].member.address, key_of(mesh)
    # Each answer has some hundred bytes, and the system's buffers take in a few megabytes of them.
    questions = [AskStatus(number) for number in range(40_000)]
    with deaf(address, key, NodeId("00000000000000fd"), questions):
        eventually(lambda: "1000 messages wait for it, further ones are dropped" in mesh.logs(), "the log says so")
    assert mesh.logs().count("further ones are dropped") == 1
    line = Line(NodeId("00000000000000fc"), key, address)
    line.send(AskStatus(1))
    assert isinstance(line.receive(5.0), NodeStatus)
    line.close()
    run_one(mesh)
