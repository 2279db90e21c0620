"""How calls of one function are divided among the tasks of a dag, and what a task makes of them."""

import math
from typing import Any

import pytest

from meshflow.errors import UsageError
from meshflow.models.bundles import load_task, pack_tasks
from meshflow.models.calls import load_results, unpack_flat
from meshflow.models.task_data import MultiTaskData, TaskData, value_of
from meshflow.tasks.calls_task import CallsTask, calls_dag, calls_of


def ranges(count: int, calls_per_task: int | None = None, row: tuple[object, ...] = (1,)) -> list[range]:
    dag = calls_dag(math.sqrt, [row] * count, calls_per_task)
    return [calls_of(task.name) for task in dag.tasks]


def made(task: CallsTask) -> list[tuple[bool, Any]]:
    """What came of the calls of a task, as if in a task process."""
    (digest,), bundles = pack_tasks([task])
    action = load_task(bundles[digest], task.name).run(MultiTaskData(dataset=TaskData()), None, None, None)
    return list(load_results(unpack_flat(value_of(action.data))))


@pytest.mark.parametrize(
    ("count", "tasks", "most"), [(0, 0, 0), (1, 1, 1), (1024, 1024, 1), (1025, 513, 2), (300_000, 1172, 256)]
)
def test_few_calls_have_a_task_each_and_many_share_one(count: int, tasks: int, most: int) -> None:
    found = ranges(count)
    assert (len(found), max(map(len, found), default=0)) == (tasks, most)
    assert [call for each in found for call in each] == list(range(count))


def test_the_caller_may_say_how_many_share_a_task() -> None:
    assert ranges(7, 3) == [range(3), range(3, 6), range(6, 7)]
    with pytest.raises(UsageError, match="calls_per_task is 0"):
        ranges(7, 0)


def test_large_arguments_make_tasks_of_few_calls() -> None:
    assert max(map(len, ranges(8, 8, (b"x" * 100_000,)))) == 2
    assert ranges(2, 8, (b"x" * 1_000_000,)) == [range(1), range(1, 2)]


def test_a_call_that_raises_is_a_result_like_any_other() -> None:
    (task,) = calls_dag(math.sqrt, [(4.0,), (-1.0,), (9.0,)], 3).tasks
    assert isinstance(task, CallsTask)
    (_, two), (is_returned, error), (_, three) = made(task)
    assert (two, is_returned, three) == (2.0, False, 3.0)
    assert isinstance(error, ValueError)
    assert "math domain error" in str(error.__cause__)


def test_options_are_those_of_a_task() -> None:
    (task,) = calls_dag(math.sqrt, [(1,)], None, queue="gpu", retries=5).tasks
    assert (task.queue, task.job_options.retries) == ("gpu", 5)
