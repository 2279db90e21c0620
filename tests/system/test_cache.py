"""Results that outlive their run, on a mesh of real processes."""

from pathlib import Path

import pytest

from meshflow import task, workflow
from meshflow.core.caching import GENERATIONS
from meshflow.core.records import State
from meshflow.core.requests import ListRuns
from meshflow.run_handle import RunHandle
from tests.system.real_mesh import RealMesh, events, finish, printed, words

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def mesh(calm_pair: RealMesh) -> RealMesh:
    return calm_pair


def cached(run: RunHandle) -> list[str]:
    """The tasks that were not run."""
    return sorted(each.name for each in run.view().tasks if each.reason.startswith("cached: "))


def note(folder: str, text: object) -> None:
    with Path(folder, "ran").open("a") as file:
        file.write(f"{text}\n")


def noted(folder: Path) -> list[str]:
    return (folder / "ran").read_text().split()


def submit(mesh: RealMesh, path: str) -> RunHandle:
    run = mesh.submit(path, {}, keep_data=True)
    assert finish(run) is State.COMPLETED, run.reason
    return run


FLOW = """
import numpy
from meshflow import task, workflow
from meshflow.models import Action

class Field:
    def __init__(self, number):
        self.number = number

@task(cache=True)
def field(number):
    return Field(number)

@task(cache=True, retries=1)
def image(field):
    print("taking", field.number)
    return numpy.full(100_000, field.number + OFFSET)

@task(cache=True)
def judge(images):
    return Action.of(sum(int(each[0]) for each in images), limit=["high"])

@task
def high(value):
    print("high", value)

@task
def low(value):
    print("low", value)

@workflow
def survey():
    value = judge([image(field(number)) for number in range(3)])
    high(value), low(value)
"""


def test_a_second_run_takes_results_large_ones_and_actions_from_the_first(mesh: RealMesh) -> None:
    pytest.importorskip("numpy")
    path = str(mesh.write("survey.py", FLOW.replace("OFFSET", "0")))
    first, second = submit(mesh, path), submit(mesh, path)
    assert cached(first) == []
    assert sorted(printed(first)) == ["high 3", "taking 0", "taking 1", "taking 2"]
    assert cached(second) == ["field", "field_2", "field_3", "image", "image_2", "image_3", "judge"]
    assert printed(second) == ["high 3"]
    assert words(second, "low") == ["skipped"]
    assert second.result("image_2").tolist() == [1] * 100_000
    told = mesh.cli("status", second.id)
    assert f"cached: from run {first.id}" in told.stdout
    assert [each.reason for each in events(second) if each.name == "judge" and each.word == "succeeded"] == [
        f"cached: from run {first.id}"
    ]


def test_other_code_is_other_work_and_what_follows_is_done_again_only_if_its_input_is_new(mesh: RealMesh) -> None:
    pytest.importorskip("numpy")
    submit(mesh, str(mesh.write("changed.py", "\n\n" + FLOW.replace("OFFSET", "10"))))
    run = submit(mesh, str(mesh.write("changed.py", FLOW.replace("OFFSET", "20 - 10"))))
    assert set(cached(run)) >= {"field", "judge"}, "20 - 10 is computed by the compiler: it is the same code"
    run = submit(mesh, str(mesh.write("changed.py", FLOW.replace("OFFSET", "11"))))
    assert cached(run) == ["field", "field_2", "field_3"]


def test_mapped_tasks_are_found_row_by_row(mesh: RealMesh, tmp_path: Path) -> None:
    @task(cache=True)
    def double(number: int, folder: str) -> int:
        note(folder, number)
        return 2 * number

    @workflow
    def doubling(numbers: list[int], folder: str) -> None:
        double.map(numbers, folder=folder)

    for numbers in ([1, 2, 3], [3, 5, 1]):
        run = mesh.client().submit(doubling, {"numbers": numbers, "folder": str(tmp_path)})
        assert finish(run) is State.COMPLETED, run.reason
        assert run.result("double") == [2 * number for number in numbers]
    assert sorted(noted(tmp_path)) == ["1", "2", "3", "5"]


PLAIN = """
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import BashTask, PythonTask

parameters = Parameters([Option("folder", type=str)])

def note(text):
    print(text)

def ask(data, store, signal, context):
    note("ask")
    data["folder"] = store.get("folder")

def work(data, store, signal, context):
    note("work")
    data["x"] = 1

def fail(data, store, signal, context):
    note("fail")
    raise OSError("not now")

asking = PythonTask("ask", ask, cache=True)
working = PythonTask("work", work, cache=True)
echoing = BashTask("echo", "echo hello", cache=True)
failing = PythonTask("fail", fail, cache=True)
d = Dag("main")
d.define({working: echoing, echoing: asking, asking: failing})
"""


def test_plain_tasks_failures_and_those_that_read_the_data_store(mesh: RealMesh) -> None:
    path = mesh.write("plain.py", PLAIN)
    runs = [mesh.submit(path, {"folder": folder}, keep_data=True) for folder in ("here", "there")]
    assert [finish(run) for run in runs] == [State.FAILED] * 2
    again = mesh.submit(path, {"folder": "there"})
    assert finish(again) is State.FAILED
    assert cached(again) == ["echo", "work"]
    assert printed(again) == ["ask", "fail"]
    assert runs[1].result("ask")["folder"] == "there"


def test_calls_are_found_by_the_next_client(mesh: RealMesh, tmp_path: Path) -> None:
    def add(left: int, right: int = 0) -> int:
        note(str(tmp_path), left)
        return left + right

    for expected in ([False] * 4, [True] * 4):
        with mesh.connect() as client:
            futures = client.options(cache=True).map(add, [1, 2, 3], [10, 20, 30])
            futures.append(client.options(cache=True).submit(add, 4, right=5))
            assert client.gather(futures) == [11, 22, 33, 9]
            assert [future.is_cached for future in futures] == expected
    assert sorted(noted(tmp_path)) == ["1", "2", "3", "4"]


def test_gc_clears_the_cache_and_no_list_shows_it(mesh: RealMesh) -> None:
    pytest.importorskip("numpy")
    path = str(mesh.write("survey.py", FLOW.replace("OFFSET", "7")))
    submit(mesh, path)
    generations = mesh.client().ask(ListRuns(parent=GENERATIONS))
    assert isinstance(generations, tuple)
    assert len(generations) == 1
    assert "cac4e" not in mesh.cli("status").stdout
    told = mesh.cli("gc", "--cache")
    assert told.stdout.startswith("removed 0 runs: ")
    assert not told.stdout.startswith("removed 0 runs: 0 rows")
    assert cached(submit(mesh, path)) == []
