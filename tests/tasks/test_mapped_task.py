"""`task.map`: what is recorded, how lists are split into rows, and what an instance makes of its row."""

from typing import Any, cast

import pytest

from meshflow import task
from meshflow.errors import PickleFailed, UsageError
from meshflow.models.action import Action
from meshflow.models.bundles import load_task, pack_tasks
from meshflow.models.payload import dump_data, load_data, loads
from meshflow.models.signal import TaskSignal
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData, TaskData, add_item, compose, no_items, value_of
from meshflow.models.wiring import recording
from meshflow.tasks import function_task
from meshflow.tasks.function_task import MappedTask
from tests.tasks.task_fakes import FakeDocument


@task
def numbers() -> list[int]:
    return [1, 2]


@task(retries=2, queue="gpu")
def fit(x: int, y: int = 0, *, scale: int = 1, context: TaskContext) -> str:
    return f"{context.task_name}: {(x + y) * scale}"


@task
def total(values: list[Any]) -> int:
    return len(values)


def mapped(*lists: Any, **keywords: Any) -> MappedTask:
    """The task of `fit.map`, pickled as on its way to a node."""
    with recording("main") as wiring:
        fit.map(*lists, **keywords)
    tasks = wiring.dag("dag").tasks
    digests, bundles = pack_tasks(tasks)
    return cast(MappedTask, load_task(bundles[digests[-1]], "fit"))


def rows(made: MappedTask, **values: object) -> list[Any]:
    """What is made of these results of its parents."""
    inputs = [(name, None, Action.of(value).data) for name, value in values.items()]
    return [loads(row) for row in made.split(compose(inputs, task_name="fit"))]


def test_the_dag_names_what_only_the_split_needs() -> None:
    with recording("main") as wiring:
        files, model = numbers(), numbers()
        total(fit.map(files, [numbers(), 2], scale=[model, 5]))
    spec = wiring.dag("dag").spec()
    by_name = {each.name: each for each in spec.tasks}
    assert by_name["fit"].splits == ("numbers", "numbers_3")
    assert (by_name["fit"].queue, by_name["fit"].retries, by_name["total"].splits) == ("gpu", 2, None)
    names = [each.name for each in spec.tasks]
    parents = [names[edge.parent] for edge in spec.edges if names[edge.child] == "fit"]
    assert sorted(parents) == ["numbers", "numbers_2", "numbers_3"]
    assert [names[edge.parent] for edge in spec.edges if names[edge.child] == "total"] == ["fit"]


def test_a_list_that_all_instances_get_too_is_not_left_out_of_their_inputs() -> None:
    with recording("main") as wiring:
        files = numbers()
        fit.map(files, scale=files)
    assert wiring.dag("dag").spec().tasks[-1].splits == ()


def test_a_map_over_constants_has_no_parents() -> None:
    with recording("main") as wiring:
        handle = fit.map(range(3))
    assert (handle.name, wiring.dag("dag").spec().tasks[0].splits) == ("fit", ())


@pytest.mark.parametrize(
    ("lists", "keywords", "says"),
    [
        ((), {}, r"fit\.map\(\) needs something to map over"),
        (([1], 2), {}, r"argument 2 of fit\.map\(\) is 2, which is no list to map over; give it as a keyword"),
        (("abc",), {}, r"argument 1 of fit\.map\(\) is 'abc', which is no list"),
        (([1], [2], [3]), {}, "task 'fit' cannot be called like this: too many positional arguments"),
        (([1],), {"more": 3}, "got an unexpected keyword argument 'more'"),
        (([1],), {"context": 3}, "task 'fit' is given 'context' where it runs"),
    ],
)
def test_what_cannot_be_mapped_is_refused_at_the_call(lists: tuple[Any, ...], keywords: Any, says: str) -> None:
    with recording("main"), pytest.raises(UsageError, match=says):
        fit.map(*lists, **keywords)


def test_a_map_outside_of_a_workflow_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="task 'fit' is called outside of a workflow"):
        fit.map([1])


def test_lists_of_tasks_and_constants_are_zipped_into_rows() -> None:
    with recording("main") as wiring:
        fit.map(numbers(), [numbers(), 30])
    made = cast(MappedTask, next(each for each in wiring.dag("dag").tasks if each.name == "fit"))
    assert rows(made, numbers=(1, 2), numbers_2=[7]) == [(1, [7]), (2, 30)]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            5,
            r"task 'fit' is mapped over int 5 \(argument 1\), which is no list; let the task that it comes from return",
        ),
        ("ab", "is mapped over str 'ab'"),
        (None, "is mapped over NoneType None"),
        ({1: 2}, "is mapped over dict"),
    ],
)
def test_a_value_that_is_no_list_fails_with_a_reason(value: object, says: str) -> None:
    with recording("main") as wiring:
        fit.map(numbers())
    made = cast(MappedTask, wiring.dag("dag").tasks[-1])
    with pytest.raises(UsageError, match=says):
        rows(made, numbers=value)


def test_lists_of_different_lengths_fail_with_both() -> None:
    with pytest.raises(UsageError, match=r"is mapped over lists of \[3, 2\] elements; they must be equally long"):
        rows(mapped([1, 2, 3], [1, 2]))


def test_there_is_a_bound_on_elements() -> None:
    assert len(rows(mapped(range(3)))) == 3
    with pytest.raises(UsageError, match=r"mapped over 100001 elements, more than 100000; map over chunks"):
        mapped(range(function_task.MAX_ROWS + 1)).split(compose([], task_name="fit"))


def test_there_is_a_bound_on_all_rows_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = mapped(["x" * 600, "y" * 600])
    monkeypatch.setattr(function_task, "MAX_PAYLOAD_BYTES", 1000)
    with pytest.raises(PickleFailed, match="more than the limit of"):
        made.split(compose([], task_name="fit"))


def test_an_instance_gets_its_row_and_what_is_the_same_for_all(
    store: FakeDocument, signal: TaskSignal, context: TaskContext
) -> None:
    with recording("main") as wiring:
        fit.map([1, 2], (3, 4), scale=numbers())
    made = cast(MappedTask, wiring.dag("dag").tasks[-1])
    row = made.split(compose([], task_name="fit"))[1]
    made.become("fit[1]", row)
    data = compose([("numbers", None, Action.of(10).data)], task_name="fit[1]")
    done = made._run(data, store, signal, context)
    assert value_of(done.data) == f"{context.task_name}: 60"
    assert done.data.default_dataset.task_history == ["fit[1]"]


def test_the_list_of_results_has_none_where_an_instance_was_stopped() -> None:
    items = load_data(dump_data(no_items()))
    add_item(items, Action.of(5).data)
    add_item(items, MultiTaskData(dataset=TaskData({})))
    assert value_of(items) == [5, None]
