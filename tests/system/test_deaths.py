"""Nodes that die at the worst moment: nothing is lost, each result is recorded once, and the runs go on by themselves.

A task notes each execution by a line in a file, so that executions can be counted beside what was recorded of them.
"""

import signal
import time

import pytest

from meshflow.core.records import State
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import RealMesh, events, eventually, finish, is_running, printed

pytestmark = pytest.mark.system

TAKE_OVER_S = 5.0
"""What is promised for the death of an owner, from the kill to the next claim."""

COUNTED = """
import os, time
from pathlib import Path
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("gate", default="", type=str)])

def folder():
    return Path(os.environ["MESHFLOW_TEST_FOLDER"])

def note(data, store, signal, context):
    with (folder() / f"{context.workflow_id}.ran").open("a") as file:
        file.write(f"{context.task_name} {context.worker_hostname} {os.getpid()}\\n")

def work(data, store, signal, context):
    note(data, store, signal, context)
    gate = store.get("gate")
    while gate and context.task_name == "t3" and not (folder() / gate).exists():
        time.sleep(0.01)
    data["sum"] = (data["sum"] if "sum" in data else 0) + 1

def tell(data, store, signal, context):
    note(data, store, signal, context)
    print(f"The sum is: {data['sum']}")

tasks = [PythonTask(name=f"t{number}", callback=work, AT_MOST) for number in range(6)]
last = PythonTask(name="last", callback=tell)
d = Dag("main_dag")
d.define(dict(zip(tasks, [*tasks[1:], last])))
"""

NAMES = [*(f"t{number}" for number in range(6)), "last"]


def counted(mesh: RealMesh, *, at_most_once: bool = False, gate: str = "gate") -> RunHandle:
    """A chain of tasks, of which the fourth waits for a file to appear; the run stands there."""
    more = "at_most_once=True" if at_most_once else ""
    handle = mesh.submit(mesh.write("counted.py", COUNTED.replace("AT_MOST", more)), {"gate": gate}, keep_data=True)
    eventually(lambda: [line for line in executions(mesh, handle) if line.startswith("t3 ")], "t3 runs")
    return handle


def executions(mesh: RealMesh, run: RunHandle) -> list[str]:
    """`task node pid` for each execution that began."""
    path = mesh.work / f"{run.id}.ran"
    return path.read_text().splitlines() if path.exists() else []


def open_gate(mesh: RealMesh) -> None:
    """Let the waiting task go on."""
    (mesh.work / "gate").touch()


def assert_recorded_once(mesh: RealMesh, run: RunHandle) -> None:
    """Every task has run, has one recorded end, and its result was counted once."""
    ends = [event.name for event in events(run) if event.type == "task" and event.word == "succeeded"]
    assert sorted(ends) == sorted(NAMES)
    assert {line.split()[0] for line in executions(mesh, run)} == set(NAMES)
    assert printed(run, "last")[-1] == "The sum is: 6"


def start(mesh: RealMesh) -> None:
    """Two nodes that may drive runs, and two that work."""
    mesh.start("driver1", ("workflow", "dag"), 1)
    mesh.start("driver2", ("workflow", "dag"), 1)
    mesh.start("worker1", ("task",), 1)
    mesh.start("worker2", ("task",), 1)
    mesh.await_ready()
    mesh.await_nodes(4)


def test_a_run_goes_on_when_its_owner_is_killed(mesh: RealMesh) -> None:
    """Another node claims it within five seconds, and the task that runs is not started again."""
    start(mesh)
    run = counted(mesh)
    owner = mesh.owner(run)
    mesh.kill(owner)
    killed_at = time.monotonic()
    eventually(lambda: mesh.owner(run) not in (owner, ""), "another node drives the run", TAKE_OVER_S)
    print(f"take-over of the run after {time.monotonic() - killed_at:.2f} s")
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    print(f"end of the run after {time.monotonic() - killed_at:.2f} s")
    assert_recorded_once(mesh, run)
    assert [line.split()[0] for line in executions(mesh, run)].count("t3") == 1, "it was adopted, not started again"


def test_a_task_runs_again_when_its_node_is_killed(mesh: RealMesh) -> None:
    """The task process dies with its node, and the other node runs the task."""
    start(mesh)
    run = counted(mesh)
    _, node, pid = executions(mesh, run)[-1].split()
    mesh.kill(node)
    killed_at = time.monotonic()
    eventually(lambda: not is_running(int(pid)), "the task process ends with its node")
    eventually(lambda: executions(mesh, run)[-1].split()[1] != node, "t3 runs elsewhere")
    print(f"the task runs elsewhere after {time.monotonic() - killed_at:.2f} s")
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    assert_recorded_once(mesh, run)
    lost = [event for event in events(run) if event.word == "lost"]
    assert [(event.name, event.retry) for event in lost] == [("t3", True)]
    assert node in lost[0].reason


def test_an_at_most_once_task_is_not_run_again_when_its_node_is_killed(mesh: RealMesh) -> None:
    """The run fails and says why."""
    start(mesh)
    run = counted(mesh, at_most_once=True)
    mesh.kill(executions(mesh, run)[-1].split()[1])
    assert finish(run) is State.FAILED
    assert "t3" in run.reason
    assert "it may run at most once" in run.reason
    assert [line.split()[0] for line in executions(mesh, run)] == ["t0", "t1", "t2", "t3"]


def test_an_at_most_once_task_survives_the_death_of_the_owner(mesh: RealMesh) -> None:
    """Its node lives, so its one execution counts for the next owner."""
    start(mesh)
    run = counted(mesh, at_most_once=True)
    mesh.kill(mesh.owner(run))
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    assert_recorded_once(mesh, run)
    assert len(executions(mesh, run)) == len(NAMES)


def test_runs_are_finished_by_the_next_nodes_when_all_nodes_were_killed(mesh: RealMesh) -> None:
    """What was accepted is finished: a run in its middle and those that wait."""
    start(mesh)
    run = counted(mesh)
    waiting = [mesh.submit(mesh.work / "counted.py", keep_data=True) for _ in range(5)]
    mesh.kill("driver1", "driver2", "worker1", "worker2")
    open_gate(mesh)
    mesh.start("next", slots=2)
    mesh.await_ready("next")
    for each in (run, *waiting):
        assert finish(each) is State.COMPLETED, each.reason
        assert_recorded_once(mesh, each)


def test_a_node_that_was_taken_for_dead_and_comes_back_changes_nothing(mesh: RealMesh) -> None:
    """A worker is stopped until its task was run elsewhere; when it goes on, its late result is not recorded."""
    start(mesh)
    run = counted(mesh)
    node = executions(mesh, run)[-1].split()[1]
    mesh.signal(node, signal.SIGSTOP)
    eventually(lambda: executions(mesh, run)[-1].split()[1] != node, "t3 runs elsewhere")
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    mesh.signal(node, signal.SIGCONT)
    mesh.await_nodes(4)
    assert_recorded_once(mesh, run)
    assert finish(again := mesh.submit("simple")) is State.COMPLETED, again.reason


def test_an_owner_that_was_taken_for_dead_and_comes_back_changes_nothing(mesh: RealMesh) -> None:
    """The run is taken over while its owner is stopped; when that goes on, it stands down."""
    start(mesh)
    run = counted(mesh)
    owner = mesh.owner(run)
    mesh.signal(owner, signal.SIGSTOP)
    eventually(lambda: mesh.owner(run) not in (owner, ""), "another node drives the run")
    mesh.signal(owner, signal.SIGCONT)
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    mesh.await_nodes(4)
    assert_recorded_once(mesh, run)


def test_many_runs_survive_a_series_of_deaths(mesh: RealMesh) -> None:
    """One node after the other is killed and replaced while twenty runs go on."""
    names = ["n0", "n1", "n2"]
    for name in names:
        mesh.start(name)
    mesh.await_ready()
    mesh.await_nodes(3)
    path = mesh.write("counted.py", COUNTED.replace("AT_MOST", ""))
    runs = [mesh.submit(path, keep_data=True) for _ in range(20)]
    for number, name in enumerate(names):
        mesh.kill(name)
        mesh.start(f"m{number}")
        mesh.await_ready(f"m{number}")
    for run in runs:
        assert finish(run, 60.0) is State.COMPLETED, run.reason
        assert_recorded_once(mesh, run)


def test_a_drained_node_ends_its_task_and_loses_nothing(mesh: RealMesh) -> None:
    """SIGTERM: what runs may end, the run goes on elsewhere, and the exit code is 0."""
    start(mesh)
    run = counted(mesh)
    node = executions(mesh, run)[-1].split()[1]
    mesh.signal(node, signal.SIGTERM)
    eventually(lambda: _state(mesh, node) == "draining", "the node says that it drains")
    open_gate(mesh)
    assert mesh.await_exit(node) == 0
    assert finish(run) is State.COMPLETED, run.reason
    assert_recorded_once(mesh, run)
    assert len(executions(mesh, run)) == len(NAMES)


def test_a_drained_owner_hands_its_runs_on(mesh: RealMesh) -> None:
    """SIGTERM to the node that drives a run: another one does, without a wait for the death of the first."""
    start(mesh)
    run = counted(mesh)
    owner = mesh.owner(run)
    mesh.signal(owner, signal.SIGTERM)
    assert mesh.await_exit(owner) == 0
    eventually(lambda: mesh.owner(run) not in (owner, ""), "another node drives the run")
    open_gate(mesh)
    assert finish(run) is State.COMPLETED, run.reason
    assert_recorded_once(mesh, run)
    assert len(executions(mesh, run)) == len(NAMES)


def _state(mesh: RealMesh, name: str) -> str:
    return next((report.state for report in mesh.client().nodes() if report.member.name == name), "unknown")


def test_a_killed_node_leaves_no_task_process_behind(mesh: RealMesh) -> None:
    """Nor what a task has started."""
    mesh.start("only")
    mesh.await_ready()
    run = mesh.submit(mesh.write("sleeper.py", SLEEPER))
    pids = mesh.work / "pids"
    eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2, "the command runs")
    mesh.kill("only")
    for pid in map(int, pids.read_text().split()):
        eventually(lambda pid=pid: not is_running(pid), f"process {pid} ends")  # type: ignore[misc]
    assert run.id


SLEEPER = """
from meshflow.models import Dag
from meshflow.tasks import BashTask

d = Dag("d")
d.define({BashTask(name="t", command='sleep 300 & echo $$ $! > "$MESHFLOW_TEST_FOLDER/pids"; wait'): None})
"""
