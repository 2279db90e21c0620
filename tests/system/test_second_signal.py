"""A node that is told twice to stop does so at once, and what it was doing goes on elsewhere."""

import signal
import time

import pytest

from tests.system.real_mesh import RealMesh, eventually, finish, is_running, printed

pytestmark = pytest.mark.system

AT_ONCE_S = 5.0
"""Tasks that are ended have three seconds to clean up; this one needs none."""

FORCED = 130

GATED = """
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def wait(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    with (folder / "pids").open("a", buffering=1) as file:
        print(os.getpid(), file=file)
    while not (folder / "gate").exists():
        time.sleep(0.01)
    print("through the gate")

d = Dag("d")
d.define({PythonTask(name="wait", callback=wait): None})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_waits_for_the_task_and_the_second_does_not(mesh: RealMesh, number: signal.Signals) -> None:
    mesh.start("first", slots=1)
    mesh.await_ready()
    run = mesh.submit(mesh.write("gated.py", GATED))
    pids = mesh.work / "pids"
    eventually(lambda: pids.exists() and pids.read_text().endswith("\n"), "the task runs")
    task = int(pids.read_text())

    mesh.signal("first", number)
    eventually(lambda: [each.state for each in mesh.client().nodes()] == ["draining"], "the node drains")
    assert is_running(task), "it may end"

    told_at = time.monotonic()
    mesh.signal("first", number)
    assert mesh.await_exit("first") == FORCED
    assert time.monotonic() - told_at < AT_ONCE_S
    eventually(lambda: not is_running(task), "the task has ended with its node")

    mesh.start("second", slots=1)
    mesh.await_ready("second")
    (mesh.work / "gate").touch()
    assert finish(run).value == "completed", run.reason
    assert printed(run) == ["through the gate"]
