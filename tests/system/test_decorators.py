"""Decorated functions on a mesh of real processes, from a file, from a program, and as one would in a notebook."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from meshflow import task, workflow
from meshflow.core.records import State
from meshflow.errors import AbortWorkflow, WorkflowArgumentError
from meshflow.models import Action, TaskContext
from tests.source_tree import ROOT
from tests.system.real_mesh import RealMesh, finish, printed, words

pytestmark = pytest.mark.system

FLOW = '''"""Adds numbers."""
from meshflow import task, workflow

OFFSET = 100

class Sum(int):
    pass

@task
def number(value):
    return value

@task
def total(values, *, context):
    print(f"{context.task_name} of {context.workflow_name}")
    return Sum(sum(values) + OFFSET)

@task
def show(value, kind=Sum):
    print(int(value), isinstance(value, kind))

@workflow
def adding(count: int = 3):
    show(total([number(value) for value in range(count)]))
'''

NOTEBOOK = """
import meshflow
from meshflow import task, workflow

@task
def square(number):
    return number * number

@task
def total(numbers):
    return sum(numbers)

@workflow
def squares(count: int):
    total([square(number) for number in range(count)])

with meshflow.local(slots=1) as client:
    run = client.submit(squares, {"count": 4})
    print(run.wait().value, run.result("total"))
"""


BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/decorators.md").read_text(), re.MULTILINE | re.DOTALL)
[README] = [
    block
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    if "@workflow" in block
]


@pytest.fixture(scope="module")
def mesh(calm: RealMesh) -> RealMesh:
    return calm


@task
def give(value: object) -> object:
    return value


@task
def size(value: list[int] | None) -> int:
    return -1 if value is None else len(value)


def test_values_go_from_task_to_task_also_large_ones(mesh: RealMesh) -> None:
    @workflow
    def measuring(count: int) -> None:
        large = give(list(range(count)))
        size(large)
        size(give(large))

    run = mesh.client().submit(measuring, {"count": "100000"}, keep_data=True)
    assert finish(run) is State.COMPLETED, run.reason
    assert (run.name, run.result("size"), run.result("size_2")) == ("measuring", 100_000, 100_000)
    assert run.result("give_2") == list(range(100_000))
    assert run.store.get("count") == 100_000


def test_a_task_of_many_parents_gets_the_value_of_each(mesh: RealMesh) -> None:
    @workflow
    def fan(width: int = 40) -> None:
        give({"all": [give(number) for number in range(width)]})

    run = mesh.client().submit(fan)
    assert finish(run) is State.COMPLETED, run.reason
    assert run.result("give_41") == {"all": list(range(40))}


def test_a_file_is_submitted_and_run_by_name(mesh: RealMesh) -> None:
    path = mesh.write("adding_flow.py", FLOW)
    run = mesh.submit(path, {"count": "4"})
    assert finish(run) is State.COMPLETED, run.reason
    assert sorted(printed(run)) == ["106 True", "total of adding_flow"]
    told = mesh.cli("run", "adding_flow", "count=2")
    assert told.returncode == 0, told.stderr
    assert "show | 101 True" in told.stdout + told.stderr
    refused = mesh.cli("run", "adding_flow", "count=two")
    assert "argument 'count' is 'two'" in refused.stderr
    assert ["adding_flow", "Adds", "numbers."] in [line.split() for line in mesh.cli("workflows").stdout.splitlines()]


def test_a_notebook_needs_no_file(mesh: RealMesh) -> None:
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK]
    done = subprocess.run(command, env=mesh.environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "completed 14\n"


def test_what_the_documents_show_works(mesh: RealMesh) -> None:
    flow, program, mapped, _ = BLOCKS
    mesh.write("flow.py", flow)
    told = mesh.cli("run", "flow", "scans=5")
    assert "report | 100 on local" in told.stdout + told.stderr
    command = [sys.executable, "-W", "error", "-c", f"import meshflow\n{flow}\n{program}"]
    done = subprocess.run(command, env=mesh.environment, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "100.0 [40, 60]\n"
    mesh.write("mapped_flow.py", "from pathlib import Path\nfrom meshflow import task, workflow\n" + mapped)
    (mesh.work / "1.dat").write_bytes(b"x" * 21)
    told = mesh.cli("run", "mapped_flow", f"folder={mesh.work}")
    assert "summary | 1 42.0" in told.stdout + told.stderr
    mesh.write("hello.py", README)
    told = mesh.cli("run", "hello")
    assert "count | 3 words on local" in told.stdout + told.stderr


def test_a_task_that_fails_is_tried_again(mesh: RealMesh, tmp_path: Path) -> None:
    @task(retries=2)
    def third_time(path: str, value: int) -> int:
        with open(path, "a+") as file:
            file.write("x")
            file.seek(0)
            if len(file.read()) < 3:
                raise OSError("not yet")
        return value + 1

    @workflow
    def trying(path: str) -> None:
        give(third_time(path, give(1)))

    run = mesh.client().submit(trying, {"path": str(tmp_path / "tries")})
    assert finish(run) is State.COMPLETED, run.reason
    assert words(run, "third_time") == ["failed", "failed", "succeeded"]
    assert run.result("give_2") == 2


def test_an_action_chooses_and_the_way_not_taken_is_none(mesh: RealMesh) -> None:
    @task
    def choose(value: int) -> Action:
        return Action.of(value, limit=["high" if value > 10 else "low"])

    @task
    def both(low: int | None, high: int | None) -> tuple[int | None, int | None]:
        return low, high

    @workflow
    def choosing(value: int) -> None:
        chosen = choose(value)
        both(give.options(name="low")(chosen), give.options(name="high")(chosen))

    for value, expected in ((5, (5, None)), (50, (None, 50))):
        run = mesh.client().submit(choosing, {"value": value})
        assert finish(run) is State.COMPLETED, run.reason
        assert run.result("both") == expected
        assert [words(run, name) for name in ("low", "high")].count(["skipped"]) == 1


def test_a_task_that_fails_fails_the_run_and_says_why(mesh: RealMesh) -> None:
    @task
    def check(value: int, *, context: TaskContext) -> None:
        raise AbortWorkflow(f"{context.task_name} says {value}")

    @workflow
    def failing() -> None:
        check(size([]))

    run = mesh.client().submit(failing)
    assert finish(run) is State.ABORTED
    assert "check says 0" in run.reason


def test_what_is_wrong_is_found_before_anything_is_stored(mesh: RealMesh) -> None:
    @workflow
    def needing(path: str) -> None:
        give(path)

    before = len(mesh.client().runs())
    with pytest.raises(WorkflowArgumentError, match="workflow 'needing' needs the arguments 'path'"):
        mesh.client().submit(needing)
    assert len(mesh.client().runs()) == before
