"""Keys of results: the same for the same work in any process, another for anything that might change what comes out."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshflow import task
from meshflow.core.attempts import Attempt
from meshflow.core.messages import Input, Job
from meshflow.core.records import Value
from meshflow.ids import RunId
from meshflow.models.bundles import load_task, pack_tasks
from meshflow.models.cache_keys import arguments_key, attempt_key, call_key, task_key
from meshflow.models.task import BaseTask
from meshflow.models.wiring import recording
from meshflow.tasks.function_task import FunctionTask, MappedTask
from meshflow.tasks.python_task import PythonTask
from tests.source_tree import ROOT

PROGRAM = """
from enum import Enum
from meshflow import task
from meshflow.models.bundles import load_task, pack_tasks
from meshflow.models.cache_keys import task_key
from meshflow.models.wiring import recording

FACTOR = 3
NAMES = {"a": 1, "b": [1, 2]}

class Kind(Enum):
    LOW = 1
    HIGH = 2

class Point:
    scale = 2
    def __init__(self, x): self.x = x
    def double(self): return self.scale * self.x * FACTOR

def helper(x, more=(1, 2)):
    return Point(x).double() + NAMES["a"] + sum(more)

@task(cache=True)
def fit(x, kind=Kind.LOW):
    inner = lambda y: helper(y) if y in {"p", "q", "r", 1} else 0
    return [inner(each) for each in range(x)], kind

with recording("main") as wiring:
    fit(5)
made = wiring.dag("dag").tasks
digests, bundles = pack_tasks(made)
print(task_key(load_task(bundles[digests[0]], "fit")))
"""


def key_of(program: str, folder: Path, seed: int, name: str) -> str:
    path = folder / name
    path.write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed)}
    return subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_key_is_the_same_in_other_processes_and_wherever_the_code_stands(tmp_path: Path) -> None:
    first = key_of(PROGRAM, tmp_path, 1, "one.py")
    assert len(first) == 48
    assert key_of("# moved\n\n" + PROGRAM, tmp_path, 2, "two.py") == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("FACTOR = 3", "FACTOR = 4"),
        ('{"a": 1,', '{"a": 2,'),
        ("scale = 2", "scale = 3"),
        ("self.scale * self.x * F", "self.scale + self.x * F"),
        ("more=(1, 2)", "more=(1, 3)"),
        ('{"p", "q", "r", 1}', '{"p", "q", "s", 1}'),
        ("kind=Kind.LOW", "kind=Kind.HIGH"),
        ("HIGH = 2", "HIGH = 3"),
        ("else 0", "else 1"),
        ("fit(5)", "fit(6)"),
    ],
)
def test_any_change_of_the_code_or_of_what_it_mentions_is_another_key(tmp_path: Path, before: str, after: str) -> None:
    assert before in PROGRAM
    changed = key_of(PROGRAM.replace(before, after), tmp_path, 1, "one.py")
    assert changed != key_of(PROGRAM, tmp_path, 1, "one.py")


def packed(made: BaseTask) -> BaseTask:
    [digest], bundles = pack_tasks([made])
    task: BaseTask = load_task(bundles[digest], made.name)
    return task


def function_task(name: str = "fit", **options: Any) -> FunctionTask:
    def fit(x: int) -> int:
        return x + 1

    return FunctionTask(name, fit, (1,), {}, (), **options)


def test_the_name_and_the_options_of_a_decorated_task_make_no_difference() -> None:
    key = task_key(packed(function_task()))
    assert key == task_key(packed(function_task("fit_2", retries=3, queue="gpu", cache=True)))


def test_the_name_of_another_task_is_part_of_the_key_as_it_is_of_its_data() -> None:
    def work(*_: object) -> None: ...

    assert task_key(packed(PythonTask("a", work))) != task_key(packed(PythonTask("b", work)))
    assert task_key(packed(PythonTask("a", work))) == task_key(packed(PythonTask("a", work, priority=3)))


def job(*inputs: Input, name: str = "fit", mapped: str = "", initial: bytes | None = None) -> Job:
    run = RunId("0123456789abcdef01234567/main:1")
    given = None if initial is None else Value(initial)
    return Job(Attempt(run, 0, 1, 1), name, "flow", "task", "d", inputs, given, mapped=mapped)


ONE = Input("a", None, Value(b"1"))


@pytest.mark.parametrize(
    "other",
    [
        job(),
        job(ONE, ONE),
        job(Input("a", None, Value(b"2"))),
        job(Input("b", None, Value(b"1"))),
        job(Input("a", "slot", Value(b"1"))),
        job(Input("a", None, Value(b"1"), is_item=True)),
        job(Input("a", None, Value(b"")), Input("", None, Value(b"1"))),
        job(ONE, initial=b"x"),
    ],
)
def test_other_inputs_are_another_key(other: Job) -> None:
    assert attempt_key("k", other) != attempt_key("k", job(ONE))
    assert attempt_key("j", job(ONE)) != attempt_key("k", job(ONE))


def test_where_a_value_was_kept_and_which_run_it_is_make_no_difference() -> None:
    other = Job(
        Attempt(RunId("f" * 24), 7, 3, 2), "other", "w", "q", "e", (Input("a", None, Value(b"1", "", 99)),), None, 5.0
    )
    assert attempt_key("k", other) == attempt_key("k", job(ONE))


def test_an_instance_is_named_by_its_row_and_not_by_its_place() -> None:
    @task(cache=True)
    def fit(x: int) -> int:
        return x + 1

    keys = []
    for lists, index in (([10, 20], 1), ([20, 30, 40], 0)):
        with recording("main") as wiring:
            fit.map(lists)
        made = packed(wiring.dag("dag").tasks[0])
        assert isinstance(made, MappedTask)
        row = made.split(None)[index]  # type: ignore[arg-type]
        made.become(f"fit[{index}]", row)
        keys.append(attempt_key(task_key(made), job(Input("fit", None, Value(row)), mapped="fit")))
    assert keys[0] == keys[1]


def numbers() -> Callable[[int], int]:
    return lambda x: x


def test_calls_are_named_by_function_and_arguments() -> None:
    key = call_key(numbers())
    assert key == call_key(numbers())
    assert key != call_key(lambda x: x + 1)
    assert arguments_key(key, (1,), {}) == arguments_key(key, (1,), {})
    others = [((2,), {}), ((1, 2), {}), ((), {"x": 1}), ((True,), {}), ((1.0,), {})]
    assert len({arguments_key(key, *row) for row in [((1,), {}), *others]}) == 6
    assert arguments_key(key, (), {"a": 1, "b": 2}) == arguments_key(key, (), {"b": 2, "a": 1})


def test_whether_equal_texts_are_one_object_makes_no_difference() -> None:
    """That depends on what else a process has run: names in code become one with those that are there already."""
    text = "some text"
    other = "".join(("some ", "text"))
    shared: list[int] = []
    assert text is not other
    one, two = (arguments_key("k", (text, each, b"x", shared, shared), {}) for each in (text, other))
    assert one == two
    assert arguments_key("k", (text, text, b"x", shared, []), {}) != one
