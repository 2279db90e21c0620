"""Tasks that are mapped over lists which only the run knows, on a mesh of real processes."""

import time
from pathlib import Path

import pytest

from meshflow import task, workflow
from meshflow.core.records import State
from meshflow.errors import StopTask
from meshflow.models import Action, TaskContext
from tests.system.real_mesh import RealMesh, eventually, finish, printed, words

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def mesh(calm_pair: RealMesh) -> RealMesh:
    return calm_pair


@task
def give(value: object) -> object:
    return value


@task
def numbers(count: int) -> list[int]:
    return list(range(count))


@task(retries=1)
def double(number: int, more: int = 0) -> int:
    return 2 * number + more


@task
def total(values: list[int]) -> int:
    return sum(values)


def test_results_arrive_in_order_and_go_from_map_to_map(mesh: RealMesh) -> None:
    @workflow
    def chained(count: int) -> None:
        listed = numbers(count)
        doubled = double.map(listed, more=give(1))
        total(double.map(doubled, listed))
        total(double.map([]))

    run = mesh.client().submit(chained, {"count": 20})
    assert finish(run) is State.COMPLETED, run.reason
    assert run.result("double") == [2 * number + 1 for number in range(20)]
    assert run.result("double_2[3]") == 2 * 7 + 3
    assert (run.result("total"), run.result("total_2"), run.result("double_3")) == (990, 0, [])
    view = run.view()
    assert [each.state for each in view.tasks if each.name.startswith("double[")] == [State.COMPLETED] * 20
    assert view.tasks[1].reason == "20 rows"
    told = mesh.cli("status", run.id)
    assert "double_2[19]" in told.stdout
    assert run.record.total == run.record.done == 47


def test_thousands_of_instances(mesh: RealMesh) -> None:
    @workflow
    def wide(count: int) -> None:
        total(double.map(numbers(count)))

    run = mesh.client().submit(wide, {"count": 5000})
    assert finish(run, 60.0) is State.COMPLETED, run.reason
    assert run.result("total") == 5000 * 4999


def test_large_rows_and_large_results_go_through_the_store(mesh: RealMesh) -> None:
    @workflow
    def large() -> None:
        give.map(give([bytes([number]) * 300_000 for number in range(20)]))

    run = mesh.client().submit(large, keep_data=True)
    assert finish(run, 60.0) is State.COMPLETED, run.reason
    assert [(value[0], len(value)) for value in run.result("give_2")] == [(number, 300_000) for number in range(20)]


def test_what_is_no_list_fails_with_a_reason(mesh: RealMesh) -> None:
    @workflow
    def wrong() -> None:
        double.map(give(5))

    run = mesh.client().submit(wrong)
    assert finish(run) is State.FAILED
    assert "task 'double' is mapped over int 5 (argument 1), which is no list" in run.reason
    assert words(run, "double") == ["failed"], "to try it again would change nothing"


def test_instances_fail_stop_and_choose_like_all_tasks(mesh: RealMesh, tmp_path: Path) -> None:
    @task(retries=1)
    def tried(number: int, path: str, *, context: TaskContext) -> object:
        print(context.task_name)
        flag = Path(path, context.task_name)
        if number == 0 and not flag.exists():
            flag.touch()
            raise OSError("not yet")
        if number == 1:
            raise StopTask(skip_successors=False)
        return Action.of(number, limit=["give"] if number == 2 else [])

    @workflow
    def trying(path: str) -> None:
        tries = tried.map([0, 1, 2], path=path)
        give(tries)
        give.options(name="other")(tries)

    run = mesh.client().submit(trying, {"path": str(tmp_path)})
    assert finish(run) is State.COMPLETED, run.reason
    assert words(run, "tried[0]") == ["failed", "succeeded"]
    assert words(run, "tried[1]") == ["stopped"]
    assert run.result("give") == [0, None, 2]
    assert printed(run, "tried[0]") == ["tried[0]", "tried[0]"]
    assert words(run, "other") == ["succeeded"], "the one that was stopped chose nothing, so all may run"


def test_an_instance_that_fails_fails_the_run(mesh: RealMesh) -> None:
    @task
    def divide(number: int) -> float:
        return 1 / number

    @workflow
    def failing() -> None:
        total(divide.map([1, 2, 0, 4]))  # type: ignore[arg-type, unused-ignore]

    run = mesh.client().submit(failing)
    assert finish(run) is State.FAILED
    assert "task 'divide[2]' failed: ZeroDivisionError" in run.reason
    assert words(run, "total") == ["stopped"]


def test_a_run_is_cancelled_in_the_middle_of_a_map(mesh: RealMesh) -> None:
    @task(timeout=60)
    def sleep(seconds: float) -> None:
        time.sleep(seconds)

    @workflow
    def sleeping() -> None:
        sleep.map([30.0] * 50)

    run = mesh.client().submit(sleeping)
    eventually(lambda: [each for each in run.view().tasks if each.name == "sleep[0]" and each.node], "it is started")
    run.cancel("enough")
    assert finish(run) is State.CANCELLED
    assert {each.state for each in run.view().tasks} <= {State.COMPLETED, State.CANCELLED}


COUNTED = """
import os, time
from pathlib import Path
from meshflow import task, workflow

@task
def numbers():
    return list(range(12))

@task(AT_MOST)
def work(number, folder):
    with open(f"{folder}/ran", "a") as file:
        file.write(f"{number}\\n")
    while number >= 3 and not os.path.exists(f"{folder}/gate"):
        time.sleep(0.01)
    return number

@task
def total(values):
    return values

@workflow
def counted(folder: str):
    total(work.map(numbers(), folder=folder))
"""


@pytest.mark.parametrize("options", ["", "at_most_once=True"])
def test_another_node_takes_over_in_the_middle_of_a_map(tmp_path: Path, options: str) -> None:
    """The instances that run are adopted under the same names, and the others follow."""
    mesh = RealMesh(tmp_path / "mesh")
    try:
        mesh.start("driver1", ("workflow", "dag"), 1)
        mesh.start("driver2", ("workflow", "dag"), 1)
        mesh.start("worker", ("task",), 2)
        mesh.await_ready()
        mesh.await_nodes(3)
        run = mesh.submit(mesh.write("counted.py", COUNTED.replace("AT_MOST", options)), {"folder": str(tmp_path)})
        ran = tmp_path / "ran"
        eventually(lambda: ran.exists() and len(ran.read_text().split()) >= 5, "two instances wait at the gate")
        mesh.kill(owner := mesh.owner(run))
        eventually(lambda: mesh.owner(run) not in (owner, ""), "another node drives the run")
        (tmp_path / "gate").touch()
        assert finish(run) is State.COMPLETED, run.reason
        assert run.result("total") == list(range(12))
        if options:
            assert sorted(map(int, ran.read_text().split())) == list(range(12))
    finally:
        mesh.close()
        print(mesh.logs())
