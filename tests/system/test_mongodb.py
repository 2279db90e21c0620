"""A mesh whose store is MongoDB, played by the stand-in of the store tests (`tests/store/mongod_standin.py`)."""

import time
from collections.abc import Iterator

import pytest

from meshflow.core.records import State
from tests.store.mongod_standin import MongodStandIn
from tests.system.real_mesh import RealMesh, events, eventually, finish, printed

pytestmark = pytest.mark.system

GATED = """
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def wait(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    store.push("began", context.worker_hostname)
    while not (folder / "gate").exists():
        time.sleep(0.01)
    data["value"] = 7

def tell(data, store, signal, context):
    print(f"The value is: {data['value']}")

d = Dag("d")
d.define({PythonTask(name="wait_task", callback=wait): PythonTask(name="tell_task", callback=tell)})
"""


@pytest.fixture
def server() -> Iterator[MongodStandIn]:
    """A server with nothing in it."""
    server = MongodStandIn()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mongo_mesh(mesh: RealMesh, server: MongodStandIn) -> RealMesh:
    """Two nodes that drive runs and one that works; they know each other from the database."""
    mesh.environment["MESHFLOW_STORE__URL"] = f"mongodb://{server.address}/lab"
    for name, queues in (("driver1", "workflow,dag"), ("driver2", "workflow,dag"), ("worker", "task")):
        mesh.start(name, queues.split(","))
    mesh.await_ready()
    mesh.await_nodes(3)
    return mesh


def test_examples_run_and_their_data_can_be_read(mongo_mesh: RealMesh, server: MongodStandIn) -> None:
    """Nothing is kept in the state folder."""
    run = mongo_mesh.submit("simple")
    assert finish(run) is State.COMPLETED, run.reason
    assert printed(run)[-1] == "The value is: 5"
    run = mongo_mesh.submit("data_store", keep_data=True)
    assert finish(run) is State.COMPLETED, run.reason
    assert (run.store.get("number"), run.store.get("buffer.observable")) == (50, 20)
    assert run.store.get("image").shape == (100, 100)
    assert sorted(map(str, run.store.get("filenames")))[-4:] == ["file_a", "file_b", "file_c", "file_d"]
    assert not list(mongo_mesh.folder.glob("state/**/*.sqlite"))
    assert server.commands


def test_a_run_goes_on_when_its_owner_is_killed(mongo_mesh: RealMesh) -> None:
    """As with the embedded store: claimed by another node, its task adopted."""
    run = mongo_mesh.submit(mongo_mesh.write("gated.py", GATED), keep_data=True)
    eventually(lambda: run.store.get("began"), "the task runs")
    owner = mongo_mesh.owner(run)
    mongo_mesh.kill(owner)
    eventually(lambda: mongo_mesh.owner(run) not in (owner, ""), "another node drives the run")
    (mongo_mesh.work / "gate").touch()
    assert finish(run) is State.COMPLETED, run.reason
    assert printed(run) == ["The value is: 7"]
    assert run.store.get("began") == ["worker"]
    ends = [event.name for event in events(run) if event.type == "task" and event.word == "succeeded"]
    assert sorted(ends) == ["tell_task", "wait_task"]


def test_work_goes_on_when_the_server_hangs_up_in_the_middle(mongo_mesh: RealMesh, server: MongodStandIn) -> None:
    """Connections break and answers get lost while runs are under way."""
    runs = [mongo_mesh.submit("sequence") for _ in range(5)]
    server.fail("reply lost", skip=2, times=2)
    server.hang_up()
    for run in runs:
        assert finish(run) is State.COMPLETED, run.reason
        assert [line for line in printed(run) if line.startswith("This")] == [f"This is task #{n}" for n in (1, 2, 3)]


PUSHING = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    for number in range(5):
        store.push("pushed", f"{context.task_name}-{number}")
    data["large"] = bytes(100_000)
    print(context.task_name)

tasks = [PythonTask(name=f"t{number}", callback=work) for number in range(4)]
d = Dag("d")
d.define(dict(zip(tasks, tasks[1:])))
"""


def test_what_tasks_write_is_written_once_though_replies_are_lost(mongo_mesh: RealMesh, server: MongodStandIn) -> None:
    """Pushes, large results, output and the log: three times the server applies a write and hangs up, and does so again
    when the write is repeated."""
    run = mongo_mesh.submit(mongo_mesh.write("pushing.py", PUSHING), keep_data=True)
    lost_count = 0
    while not run.state.is_final:
        if server.fault is None and lost_count < 3:
            server.fail("reply lost", skip=5, times=2)
            lost_count += 1
        time.sleep(0.05)
    assert (server.fault, lost_count) == (None, 3)
    assert run.state is State.COMPLETED, run.reason
    names = [f"t{number}" for number in range(4)]
    assert run.store.get("pushed") == [f"{name}-{number}" for name in names for number in range(5)]
    assert printed(run) == names
    assert [event.name for event in events(run) if event.type == "task" and event.word == "succeeded"] == names
