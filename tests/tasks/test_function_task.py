"""`@task`: what calls of decorated functions record, and what their tasks do."""

import inspect
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from meshflow import task
from meshflow.errors import PickleFailed, StopTask, TaskReturnActionInvalid, UsageError
from meshflow.models.action import Action
from meshflow.models.bundles import load_task, pack_tasks
from meshflow.models.dag import Dag
from meshflow.models.payload import dump_data, load_data
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData, compose, value_of
from meshflow.models.wiring import Handle, recording
from meshflow.tasks.function_task import FunctionTask, TaskFunction
from tests.tasks.task_fakes import FakeDocument

Perform = Callable[[Dag], dict[str, Any]]


@task
def one() -> int:
    return 1


@task
def add(left: int, right: int = 10) -> int:
    return left + right


@task
def listed(*values: Any, **named: Any) -> tuple[Any, ...]:
    return values, named


@pytest.fixture
def perform(store: FakeDocument, signal: TaskSignal, context: TaskContext) -> Perform:
    """Run all tasks of a dag, pickled as on their way to a node, and tell the value of each; `Action` is ignored."""

    def performed(dag: Dag) -> dict[str, Any]:
        spec = dag.spec()
        results: dict[int, bytes] = {}
        waiting = dict(enumerate(dag.tasks))
        digests, bundles = pack_tasks(dag.tasks)
        while waiting:
            for index, described in list(waiting.items()):
                above = [edge for edge in spec.edges if edge.child == index]
                if all(edge.parent in results for edge in above):
                    del waiting[index]
                    made = load_task(bundles[digests[index]], described.name)
                    inputs = [
                        (spec.tasks[edge.parent].name, edge.slot, load_data(results[edge.parent])) for edge in above
                    ]
                    data = compose(inputs, task_name=described.name)
                    results[index] = dump_data(made._run(data, store, signal, context).data)
        return {spec.tasks[index].name: value_of(load_data(result)) for index, result in results.items()}

    return performed


# --- what is recorded ---


def test_the_dag_is_the_one_that_would_be_made_by_hand() -> None:
    with recording("main") as wiring:
        add(one(), one())
    by_hand = Dag("main")
    first, second = (FunctionTask(name, one.function, (), {}, ()) for name in ("one", "one_2"))
    last = FunctionTask("add", add.function, (), {}, ("one", "one_2"))
    by_hand.define({first: last, second: last})
    assert wiring.dag("dag").spec() == by_hand.spec()


def test_all_options_of_a_task_are_those_of_its_decorator() -> None:
    options: dict[str, Any] = {
        "queue": "gpu",
        "force_run": True,
        "propagate_skip": False,
        "retries": 2,
        "retry_delay": 0.5,
        "backoff": 2.0,
        "timeout": 10.0,
        "priority": 7,
        "cache": True,
        "callback_init": print,
        "callback_finally": print,
    }
    with recording("main") as wiring:
        decorated = task(name="fit", **options)(one.function)
        assert decorated().name == "fit"
    [made] = wiring.dag("dag").tasks
    assert vars(made) == vars(FunctionTask("fit", one.function, (), {}, (), **options))
    assert set(options) == set(inspect.signature(BaseTask).parameters) - {"name", "at_most_once"}
    assert task(at_most_once=True)(one.function)


def test_options_can_be_changed_for_a_call() -> None:
    with recording("main") as wiring:
        changed = task(retries=2, queue="a")(one.function).options(name="uno", queue="b")
        handle: Handle[int] = changed()
    [made] = wiring.dag("dag").tasks
    assert (handle.name, made.name, made.queue, made.retries) == ("uno", "uno", "b", 2)


def test_a_value_that_is_used_twice_is_one_edge() -> None:
    with recording("main") as wiring:
        number = one()
        add(number, number)
    assert len(wiring.dag("dag").spec().edges) == 1


def test_constants_are_those_of_the_time_of_the_call(perform: Perform) -> None:
    numbers = [1]
    with recording("main") as wiring:
        listed(numbers)
        numbers.append(2)
    assert perform(wiring.dag("dag")) == {"listed": (([1],), {})}


# --- what is refused ---


def test_a_call_outside_of_a_workflow_says_what_to_do() -> None:
    with pytest.raises(
        UsageError, match=r"task 'one' is called outside of a workflow; .* itself, which is one\.function"
    ):
        one()
    assert one.function() == 1


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        ((), {}, r"task 'add' cannot be called like this: missing a required argument: 'left'; it is add\(left"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"more": 3}, "got an unexpected keyword argument 'more'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: tuple[Any, ...], keywords: Any, says: str) -> None:
    with recording("main"), pytest.raises(UsageError, match=says):
        add(*arguments, **keywords)


def test_an_argument_that_cannot_be_pickled_is_named() -> None:
    with (
        recording("main"),
        pytest.raises(PickleFailed, match=r"^argument 'right' of task 'add' cannot be .*lock.*; make"),
    ):
        add(1, [threading.Lock()])


def test_a_handle_in_another_object_is_refused() -> None:
    with recording("main"), pytest.raises(UsageError, match=r"^the handle of task 'one' is inside an object"):
        add({one()})


def test_an_argument_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with (
        recording("main"),
        pytest.raises(UsageError, match="'left' of task 'add' is nested too deep, or contains itself"),
    ):
        add(endless)


def test_a_handle_of_another_workflow_is_refused() -> None:
    with recording("there"):
        handle = one()
    with recording("here") as wiring:
        with pytest.raises(UsageError, match=r"task 'add' of dag 'here' is given .* of dag 'there'"):
            add([handle])
        assert wiring.dag("dag").tasks == ()


async def later() -> None: ...
def several() -> Any:
    yield 1


async def several_later() -> Any:
    yield 1


@pytest.mark.parametrize("function", [later, several, several_later, len, int, 5])
def test_only_plain_functions_are_tasks(function: Any) -> None:
    with pytest.raises(UsageError, match="@task is for functions made by `def`, without `async` or `yield`, not for "):
        task(function)


def test_options_are_checked_where_the_function_is_decorated() -> None:
    with pytest.raises(UsageError, match="retries is -1"):
        task(retries=-1)(one.function)
    with pytest.raises(TypeError, match="retrys"):
        task(retrys=1)(one.function)  # type: ignore[call-overload]


# --- what tasks do ---


def test_values_go_from_task_to_task(perform: Perform) -> None:
    with recording("main") as wiring:
        add(add(one(), 2), right=one())
    assert perform(wiring.dag("dag")) == {"one": 1, "one_2": 1, "add": 3, "add_2": 4}


def test_values_are_found_in_lists_tuples_and_dictionaries(perform: Perform) -> None:
    with recording("main") as wiring:
        first, second = one(), add(1)
        listed([first, "x", (second,)], {"a": {"b": second}}, key=first)
    assert perform(wiring.dag("dag"))["listed"] == (([1, "x", (11,)], {"a": {"b": 11}}), {"key": 1})


@pytest.mark.parametrize("value", [None, {"a": {"b": 1}}, Counter("aab"), (1, 2), [], {1: {2: 3}}])
def test_a_value_arrives_as_it_was_returned(perform: Perform, value: Any) -> None:
    @task
    def give() -> Any:
        return value

    with recording("main") as wiring:
        listed(give())
    found = perform(wiring.dag("dag"))
    assert found == {"give": value, "listed": ((value,), {})}
    assert type(found["listed"][0][0]) is type(value)


def test_what_a_function_may_ask_for_by_keyword_only_is_filled_in(perform: Perform, context: TaskContext) -> None:
    @task
    def where(number: int, *, context: TaskContext, signal: Any, store: Any) -> tuple[Any, ...]:
        store.set("number", number)
        return number, context.task_name, type(signal), store.get("number")

    with recording("main") as wiring:
        where(one())
        with pytest.raises(UsageError, match="task 'where' is given 'context' where it runs; leave it out"):
            where(1, context=context)
    assert perform(wiring.dag("dag"))["where"] == (1, context.task_name, TaskSignal, 1)


def test_parameters_of_these_names_that_are_not_keyword_only_are_like_others(perform: Perform) -> None:
    @task
    def plain(store: str, context: str = "c") -> str:
        return store + context

    with recording("main") as wiring:
        plain("s")
    assert perform(wiring.dag("dag")) == {"plain": "sc"}


def test_a_task_that_is_stopped_hands_on_none_and_not_what_it_was_given(perform: Perform) -> None:
    @task
    def stop(number: int) -> int:
        raise StopTask(skip_successors=False)

    with recording("main") as wiring:
        listed(stop(one()))
    assert perform(wiring.dag("dag"))["listed"] == ((None,), {})


def test_a_parent_that_was_skipped_is_none(store: Any, signal: Any, context: Any) -> None:
    with recording("main") as wiring:
        listed(one(), one())
    made = cast(FunctionTask, next(each for each in wiring.dag("dag").tasks if each.name == "listed"))
    data = compose([("one_2", None, Action.of(2).data)], task_name="listed")
    assert value_of(made.run(data, store, signal, context).data) == ((None, 2), {})


def test_an_action_chooses_successors_by_name_or_by_function(run: Callable[[BaseTask], Action]) -> None:
    @task
    def choose() -> Action:
        return Action.of(5, limit=["fit_2", one])

    action = run(FunctionTask("choose", choose.function, (), {}, ()))
    assert (value_of(action.data), action.limit_names) == (5, ("fit_2", "one"))


def test_an_action_without_a_value_is_refused(run: Callable[[BaseTask], Action]) -> None:
    @task
    def choose() -> Action:
        return Action(compose([], task_name="choose"))

    with pytest.raises(
        TaskReturnActionInvalid, match=r"'choose' returned an Action without a value .*; return Action\.of"
    ):
        run(FunctionTask("choose", choose.function, (), {}, ()))


def test_a_returned_value_that_cannot_be_pickled_is_told_as_such() -> None:
    data: MultiTaskData = Action.of(threading.Lock()).data
    with pytest.raises(PickleFailed, match=r"^what the task returned \(lock\) cannot be pickled: "):
        dump_data(data)


def test_a_decorated_function_looks_like_its_function() -> None:
    assert inspect.signature(add) == inspect.signature(add.function)
    assert (repr(add), isinstance(add, TaskFunction)) == ("TaskFunction('add')", True)
