"""Retries on real nodes: what completed does not run again, whatever dies meanwhile.

Tasks note each run of theirs by a line in a file; files that are there or not decide whether they fail.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.async_client import AsyncClient
from meshflow.core.records import State
from meshflow.core.requests import ListRuns, RemoveRun, Sweep, Swept
from meshflow.errors import NotRetryable
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import RealMesh, events, eventually, finish

pytestmark = pytest.mark.system

pytestmark = pytest.mark.system

TIMES = 40.0

FAN = """
import os
import time
from pathlib import Path

from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

def folder():
    return Path(os.environ["MESHFLOW_TEST_FOLDER"])
parameters = Parameters([Option("size", default=10, type=int)])

def note(name):
    with open(folder() / "ran", "a") as ran:
        ran.write(name + "\\n")

def is_mended(name):
    return (folder() / f"mended-{name}").exists()

def begin(data, store, signal, context):
    note("begin")
    data["value"] = b"v" * store.get("size")
    store.push("pushed", "begin")

def work(data, store, signal, context):
    note(context.task_name)
    assert len(data["value"]) == store.get("size")
    if context.task_name == "part3" and not is_mended("part3"):
        raise ValueError("not yet")
    store.push("pushed", context.task_name)
    data["value"] = context.task_name.encode() + data["value"]

def finish(data, store, signal, context):
    note("end")
    parts = sorted(data.get_by_alias(f"p{index}")["value"][:5].decode() for index in range(5))
    print(parts, len(data.get_by_alias("p0")["value"]), sorted(store.get("pushed")))

first = PythonTask(name="begin", callback=begin)
parts = [PythonTask(name=f"part{index}", callback=work) for index in range(5)]
last = PythonTask(name="end", callback=finish)
fan = Dag("fan")
fan.define({first: parts, **{part: {last: f"p{index}"} for index, part in enumerate(parts)}})
"""

NESTED = """
import os
import time
from pathlib import Path

from meshflow.models import Dag
from meshflow.tasks import PythonTask

def folder():
    return Path(os.environ["MESHFLOW_TEST_FOLDER"])

def note(name):
    with open(folder() / "ran", "a") as ran:
        ran.write(name + "\\n")

def start(data, store, signal, context):
    note("start")
    names = []
    for number in range(3):
        data["number"] = number
        names.append(signal.start_dag("sub", data=data))
    signal.join_dags(names)
    if not (folder() / "mended").exists():
        raise ValueError("a sub-dag has failed, so has this")

def prepare(data, store, signal, context):
    note(f"prepare {data['number']}")

def work(data, store, signal, context):
    note(f"work {data['number']}")
    time.sleep(data["number"] * 0.3)
    if data["number"] == 1 and not (folder() / "mended").exists():
        time.sleep(2.0)
        raise ValueError("not yet")

sub = Dag("sub", autostart=False)
sub.define({PythonTask(name="prepare", callback=prepare): PythonTask(name="work", callback=work)})
main = Dag("main")
main.define({PythonTask(name="start", callback=start): None})
"""

MAPPED = """
import os
from pathlib import Path

from meshflow import task, workflow

def folder():
    return Path(os.environ["MESHFLOW_TEST_FOLDER"])

def note(name):
    with open(folder() / "ran", "a") as ran:
        ran.write(name + "\\n")

@task
def numbers(count):
    note("numbers")
    return [(number, b"x" * 100_000) for number in range(count)]

@task
def double(pair):
    note(f"double {pair[0]}")
    if pair[0] == 7 and not (folder() / "mended").exists():
        raise ValueError("not yet")
    return 2 * pair[0]

@task
def total(values):
    note("total")
    return sum(values)

@workflow
def mapped(count: int = 10):
    total(double.map(numbers(count)))
"""

SLOW = """
import os
import time
from pathlib import Path

from meshflow.models import Dag
from meshflow.tasks import PythonTask

def folder():
    return Path(os.environ["MESHFLOW_TEST_FOLDER"])

def note(name):
    with open(folder() / "ran", "a") as ran:
        ran.write(name + "\\n")

def done(data, store, signal, context):
    note(context.task_name)

def slow(data, store, signal, context):
    note("slow")
    if not (folder() / "mended").exists():
        raise ValueError("not yet")
    time.sleep(3.0)

done_tasks = [PythonTask(name=f"done{index}", callback=done) for index in range(20)]
slow_task = PythonTask(name="slow", callback=slow)
main = Dag("main")
main.define({task: slow_task for task in done_tasks} | {slow_task: PythonTask(name="after", callback=done)})
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    mesh = RealMesh(tmp_path_factory.mktemp("mesh"))
    mesh.start("ann", slots=3)
    mesh.start("bob", slots=3)
    mesh.await_ready()
    mesh.await_nodes(2)
    yield mesh
    mesh.close()


@pytest.fixture(autouse=True)
def _fresh(mesh: RealMesh) -> None:
    for path in [mesh.work / "ran", *mesh.work.glob("mended*")]:
        path.unlink(missing_ok=True)


def ran(mesh: RealMesh) -> Counter[str]:
    """How often each task ran since this was asked the last time."""
    path: Path = mesh.work / "ran"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return Counter(lines)


def failed_fan(mesh: RealMesh, size: int = 10, *, keep_data: bool = False) -> RunHandle:
    """A fan of which one part has failed; then the cause is mended."""
    run = mesh.submit(mesh.write("fan.py", FAN), {"size": size}, keep_data=keep_data)
    assert finish(run) is State.FAILED
    # A part that had not begun when the other failed does not run.
    assert ran(mesh)["begin"] == 1
    (mesh.work / "mended-part3").touch()
    return run


def last_line(run: RunHandle) -> str:
    return list(run.logs(task="end"))[-1].text


def expected(size: int) -> str:
    parts = [f"part{index}" for index in range(5)]
    return f"{parts} {size + 5} {sorted(['begin', *parts])}"


@pytest.mark.parametrize("size", [10, 100_000, 5_000_000])
def test_only_what_failed_and_what_hangs_on_it_runs_again(mesh: RealMesh, size: int) -> None:
    run = failed_fan(mesh, size)
    completed = {task.name for task in run.view().tasks if task.state is State.COMPLETED}
    retry = run.retry()
    assert finish(retry) is State.COMPLETED
    assert ran(mesh) == Counter({f"part{index}" for index in range(5)} - completed | {"end"})
    assert last_line(retry) == expected(size)
    assert mesh.client().run(run.id).state is State.FAILED
    assert retry.record.retry_of == run.id
    assert retry.record.reused == len(completed)
    assert retry.record.total == retry.record.done == 7


def test_the_old_run_may_be_removed_while_its_retry_goes_on(mesh: RealMesh) -> None:
    run = failed_fan(mesh, 100_000, keep_data=True)
    retry = run.retry()
    assert mesh.client().ask(RemoveRun(run.id)) is True
    while not (isinstance(swept := mesh.client().ask(Sweep()), Swept) and swept.is_done):
        pass
    assert finish(retry) is State.COMPLETED
    assert last_line(retry) == expected(100_000)
    assert len(retry.result("begin")["value"]) == 100_000
    assert sorted(retry.store.get("pushed")) == ["begin", *(f"part{index}" for index in range(5))]


def test_the_command_line_retries_and_tells_of_which_run_it_is_one(mesh: RealMesh) -> None:
    run = failed_fan(mesh)
    done = mesh.cli("retry", run.id[:12], "--wait", "-o", "json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["retry_of"] == run.id
    assert told["counts"]["total"] == 7
    shown = mesh.cli("status", told["id"])
    assert f"a retry of {run.id}; tasks reused: {told['counts']['reused']} of 7" in shown.stdout
    detail = json.loads(mesh.cli("status", told["id"], "-o", "json").stdout)
    tasks = {task["name"]: task["is_reused"] for task in detail["dags"][0]["tasks"]}
    assert (tasks["begin"], tasks["part3"], tasks["end"]) == (True, False, False)
    again = mesh.cli("retry", told["id"])
    assert again.returncode == 2
    assert "nothing to retry" in again.stderr


def test_what_was_taken_over_is_no_event_of_the_new_run(mesh: RealMesh) -> None:
    retry = failed_fan(mesh).retry()
    assert finish(retry) is State.COMPLETED
    told = events(retry)
    assert "begin" not in [event.name for event in told]
    assert f"a retry of {retry.record.retry_of}" in told[0].reason
    assert [event.word for event in told if event.name == "fan:1"] == ["queued", "started", "succeeded"]


def test_an_event_loop_can_retry(mesh: RealMesh) -> None:
    run = failed_fan(mesh)

    async def retry() -> tuple[State, str | None]:
        async with AsyncClient(client=mesh.client()) as client:
            retry = await (await client.run(run.id)).retry()
            state = await retry.wait(TIMES)
            with pytest.raises(NotRetryable):
                await client.retry(retry.id)
            return state, (await retry.record()).retry_of

    assert asyncio.run(retry()) == (State.COMPLETED, run.id)
    assert ran(mesh)["part3"] == 1


def test_a_sub_dag_that_failed_is_retried_and_those_that_completed_are_found_again(mesh: RealMesh) -> None:
    run = mesh.submit(mesh.write("nested.py", NESTED))
    assert finish(run) is State.FAILED
    first = ran(mesh)
    assert (first["start"], first["work 1"]) == (1, 1)
    view = run.view()
    assert view.dags["sub:2"].state is State.FAILED
    (mesh.work / "mended").touch()
    retry = mesh.client().retry(run)
    assert finish(retry) is State.COMPLETED
    assert ran(mesh) == Counter({"start": 1, "work 1": 1})
    assert list(retry.view().dags) == ["main:1", "sub:1", "sub:2", "sub:3"]
    (records,) = mesh.client().mesh.perform([ListRuns(parent=retry.id)])
    assert isinstance(records, tuple)
    assert {record.state for record in records} == {State.COMPLETED}


def test_of_a_mapped_task_only_the_instances_run_again_that_did_not_complete(mesh: RealMesh) -> None:
    run = mesh.submit(mesh.write("mapped.py", MAPPED), keep_data=True)
    assert finish(run) is State.FAILED
    ran(mesh)
    completed = {task.name for task in run.view().tasks if task.state is State.COMPLETED}
    (mesh.work / "mended").touch()
    retry = run.retry()
    assert finish(retry) is State.COMPLETED, retry.reason
    again = [f"double {number}" for number in range(10) if f"double[{number}]" not in completed]
    assert ran(mesh) == Counter([*again, "total"])
    assert "double 7" in again
    assert retry.result("total") == 90
    assert retry.result("double") == [2 * number for number in range(10)]


def test_a_retry_of_a_retry_begins_where_that_has_left_off(mesh: RealMesh) -> None:
    run = mesh.submit(mesh.write("slow.py", SLOW))
    assert finish(run) is State.FAILED
    assert ran(mesh)["slow"] == 1
    second = run.retry()
    assert finish(second) is State.FAILED
    assert ran(mesh) == Counter({"slow": 1})
    (mesh.work / "mended").touch()
    third = second.retry()
    assert finish(third) is State.COMPLETED
    assert ran(mesh) == Counter({"slow": 1, "after": 1})
    assert (third.record.retry_of, third.record.reused) == (second.id, 20)


def test_a_run_that_was_cancelled_is_retried(mesh: RealMesh) -> None:
    (mesh.work / "mended").touch()
    run = mesh.submit(mesh.write("slow.py", SLOW))
    eventually(lambda: "slow" in (mesh.work / "ran").read_text() if (mesh.work / "ran").exists() else "", "slow runs")
    with pytest.raises(NotRetryable, match="is running; wait for its end"):
        run.retry()
    run.cancel()
    assert finish(run) is State.CANCELLED
    ran(mesh)
    retry = run.retry()
    assert finish(retry) is State.COMPLETED
    assert ran(mesh) == Counter({"slow": 1, "after": 1})


def test_owners_may_be_killed_during_a_retry(tmp_path: Path) -> None:
    mesh = RealMesh(tmp_path / "mesh")
    try:
        mesh.start("owner", ("workflow", "dag"))
        mesh.start("worker", ("task",), 3)
        mesh.await_ready()
        mesh.await_nodes(2)
        run = mesh.submit(mesh.write("slow.py", SLOW))
        assert finish(run) is State.FAILED
        ran(mesh)
        (mesh.work / "mended").touch()
        retry = run.retry()
        eventually(lambda: (mesh.work / "ran").exists(), "the retry runs")
        mesh.start("heir", ("workflow", "dag"))
        mesh.await_ready("heir")
        mesh.kill("owner")
        assert finish(retry) is State.COMPLETED
        assert ran(mesh) == Counter({"slow": 1, "after": 1})
        assert mesh.owner(retry) == "heir"
    finally:
        mesh.close()
