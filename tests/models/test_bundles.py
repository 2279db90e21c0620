"""Tasks that differ in nothing but their names, which are pickled once; `test_payload.py` has the rest of bundles."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from meshflow.models.action import Named
from meshflow.models.bundles import Bundle, pack_tasks
from meshflow.models.task import BaseTask
from meshflow.tasks import PythonTask

SCRIPT: dict[str, Any] = vars(ModuleType("a_script"))
exec("COUNT = 0\ndef count(*given):\n    global COUNT\n    COUNT += 1\n    return COUNT\n", SCRIPT)


class WithList(BaseTask):
    def __init__(self, name: str, items: list[int]) -> None:
        super().__init__(name)
        self.items = items


class Reduced(BaseTask):
    """Says itself what is pickled of it."""

    def __reduce__(self) -> tuple[object, ...]:
        return Reduced, (f"{self.name}!",)


def made(tasks: Sequence[Named]) -> list[Any]:
    """The tasks, as a task process makes them."""
    digests, bundles = pack_tasks(tasks)
    opened = {digest: Bundle(data) for digest, data in bundles.items()}
    return [opened[digest].task(task.name) for digest, task in zip(digests, tasks, strict=True)]


def test_tasks_that_differ_in_their_names_cost_little_more_than_those() -> None:
    _, bundles = pack_tasks([PythonTask(f"task_{number}", SCRIPT["count"]) for number in range(1000)])
    assert sum(map(len, bundles.values())) < 1000 * 24


def test_each_comes_back_with_its_own_name_class_and_options() -> None:
    found = made([PythonTask(f"task_{number}", SCRIPT["count"], queue="gpu", retries=2) for number in range(3)])
    assert [each.name for each in found] == ["task_0", "task_1", "task_2"]
    assert [(type(each), each.queue, each.job_options.retries) for each in found] == [(PythonTask, "gpu", 2)] * 3


def test_each_has_a_function_with_globals_of_its_own() -> None:
    found = made([PythonTask(name, SCRIPT["count"]) for name in "abc"])
    assert [each.run(None, None, None, None) for each in found for _ in range(2)] == [1, 2, 1, 2, 1, 2]


def test_a_list_that_tasks_shared_is_no_longer_shared() -> None:
    items = [1]
    found = made([WithList(name, items) for name in "abc"])
    found[0].items.append(2)
    assert [each.items for each in found] == [[1, 2], [1], [1]]


def test_what_differs_in_more_than_the_name_stays_different() -> None:
    found = made([WithList("a", [1]), WithList("b", [2]), PythonTask("c", queue="x"), PythonTask("d", queue="y")])
    assert [vars(each).get("items", each.queue) for each in found] == [[1], [2], "x", "y"]


def test_a_class_that_says_what_is_pickled_of_it_is_asked_for_each_task() -> None:
    assert [each.name for each in made([Reduced("a"), Reduced("b")])] == ["a!", "b!"]


def test_tasks_that_are_alike_and_in_several_bundles_come_back() -> None:
    tasks = [PythonTask(f"{number:01000}", SCRIPT["count"]) for number in range(200)]
    assert len(pack_tasks(tasks)[1]) > 1
    assert [each.name for each in made(tasks)] == [task.name for task in tasks]
