"""`@task`: functions whose calls in a workflow function make tasks, and values that go from one to the next.

    @task(retries=2)
    def count(words: list[str]) -> int:
        return len(words)

A parent's value is found by the parent's name in the data that the task is given; see `models/wiring.py` for how the
calls become a dag.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from types import FunctionType
from typing import Any, Generic, TypeVar, Unpack, overload

from meshflow.errors import PickleFailed, TaskReturnActionInvalid, UsageError
from meshflow.models.action import Action
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.payload import MAX_PAYLOAD_BYTES, dumps, loads
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import RETURNED, MultiTaskData
from meshflow.models.wiring import Cell, Handle, ValueOf, Wiring, current, replaced
from meshflow.tasks.options import TaskOptions

T = TypeVar("T")

_GIVEN = ("store", "signal", "context")
"""Keyword-only parameters of these names are filled in where the task runs."""

MAX_ROWS = 100_000
"""Elements that one task may be mapped over: each takes about 1 KB at the owner of the run."""

_LISTS = (list, tuple, range)
_CHUNKS = "map over chunks of them instead"


class FunctionTask(BaseTask):
    """Calls a function with arguments among which the values of other tasks may be, and hands on what it returns."""

    NOT_IN_KEY = (*BaseTask.NOT_IN_KEY, "_name", "_parents")

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        arguments: Sequence[object],
        keywords: Mapping[str, object],
        parents: Sequence[str],
        **options: Unpack[TaskOptions],
    ) -> None:
        """In `arguments` and `keywords` a `ValueOf` stands for what that one of the `parents` returns. The options are
        those of `BaseTask`."""
        super().__init__(name, **options)
        self._function = function
        self._arguments = tuple(arguments)
        self._keywords = dict(keywords)
        self._parents = tuple(parents)

    def run(
        self,
        data: MultiTaskData,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        **kwargs: object,
    ) -> Action:
        """Call the function. A parent that has no value, as it was skipped or stopped, is None to it.

        Raises:
            TaskReturnActionInvalid: it returned an Action that was not made by `Action.of`.
        """
        values = _taken(data, self._parents)
        present = {"store": store, "signal": signal, "context": context}
        given = {name: present[name] for name in _given_names(self._function)}

        def fill(leaf: Any) -> Any:
            return self._filled(leaf, values)

        value = self._function(*replaced(self._arguments, fill), **replaced(self._keywords, fill), **given)
        if not isinstance(value, Action):
            return Action.of(value)
        if RETURNED not in value.data:
            raise TaskReturnActionInvalid(
                f"task {self.name!r} returned an Action without a value for its successors; "
                "return Action.of(value, limit=[...])"
            )
        return value

    def _filled(self, leaf: Any, values: Mapping[str, Any]) -> Any:
        """What a part of the arguments stands for, given the values of the parents."""
        return values.get(leaf.task) if isinstance(leaf, ValueOf) else leaf


class MappedTask(FunctionTask):
    """Calls a function once for each row of lists that are known only when it runs, each time as a task of its own.

    As it comes from the dag, it only splits the lists; a copy of it becomes each of the instances.
    """

    NOT_IN_KEY = (*FunctionTask.NOT_IN_KEY, "_lists", "_splits", "_row")

    def __init__(
        self,
        name: str,
        function: Callable[..., object],
        lists: Sequence[object],
        arguments: Sequence[object],
        keywords: Mapping[str, object],
        parents: Sequence[str],
        splits: Sequence[str],
        **options: Unpack[TaskOptions],
    ) -> None:
        """In `arguments` a `Cell` stands for a part of the row. In `lists`, `arguments` and `keywords` a `ValueOf`
        stands for what that one of the `parents` returns; those of `splits` are in `lists` only."""
        super().__init__(name, function, arguments, keywords, parents, **options)
        self._lists = tuple(lists)
        self._splits = tuple(splits)
        self._row: tuple[Any, ...] = ()

    @property
    def splits(self) -> tuple[str, ...]:
        """The parents whose values only the split needs."""
        return self._splits

    def split(self, data: MultiTaskData) -> list[bytes]:
        """The rows, each pickled.

        Raises:
            UsageError: what is mapped over is no list, or not of one length, or too long.
            PickleFailed: an element cannot be pickled, or all rows together are too large.
        """
        values = _taken(data, self._parents)
        lists = [replaced(each, lambda leaf: self._filled(leaf, values)) for each in self._lists]
        for place, each in enumerate(lists, 1):
            if not isinstance(each, _LISTS):
                raise UsageError(
                    f"task {self.name!r} is mapped over {type(each).__name__} {each!r:.80} (argument {place}), which "
                    "is no list; let the task that it comes from return a list or a tuple"
                )
        lengths = [len(each) for each in lists]
        if len(set(lengths)) > 1:
            raise UsageError(
                f"task {self.name!r} is mapped over lists of {lengths} elements; they must be equally long"
            )
        if lengths[0] > MAX_ROWS:
            raise UsageError(
                f"task {self.name!r} is mapped over {lengths[0]} elements, more than {MAX_ROWS}; {_CHUNKS}"
            )
        rows, room = [], MAX_PAYLOAD_BYTES
        for row in zip(*lists, strict=True):
            rows.append(dumps(row, max_bytes=room))
            room -= len(rows[-1])
        return rows

    def become(self, instance: str, row: bytes) -> None:
        """Be the instance of that name from here on."""
        self._name, self._row = instance, loads(row)

    def _filled(self, leaf: Any, values: Mapping[str, Any]) -> Any:
        return self._row[leaf.column] if isinstance(leaf, Cell) else super()._filled(leaf, values)


class TaskFunction(Generic[T]):
    """What `@task` makes of a function: calling it in a workflow function makes a task."""

    def __init__(self, function: Callable[..., T], name: str | None = None, **options: Unpack[TaskOptions]) -> None:
        """`name` is that of the tasks; None: that of the function. The options are those of `BaseTask`.

        Raises:
            UsageError: it is not a plain function, or an option is out of its range.
        """
        is_plain = isinstance(function, FunctionType) and not (
            inspect.iscoroutinefunction(function)
            or inspect.isgeneratorfunction(function)
            or inspect.isasyncgenfunction(function)
        )
        if not is_plain:
            raise UsageError(
                f"@task is for functions made by `def`, without `async` or `yield`, not for {function!r:.80}"
            )
        update_wrapper(self, function)  # First, as it brings along whatever attributes the function has.
        self.name = function.__name__ if name is None else name
        self.function = function
        self._options = options
        BaseTask(self.name, **options)  # What is wrong with the options is said here, and not at each call.

    def options(self, *, name: str | None = None, **changes: Unpack[TaskOptions]) -> "TaskFunction[T]":
        """The same function with other options: `fit.options(queue="gpu")(data)`."""
        options = self._options.copy()
        options.update(changes)
        return TaskFunction(self.function, self.name if name is None else name, **options)

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Handle[T]:
        """Make a task of this call, in the dag of the workflow function that runs.

        Raises:
            UsageError: no workflow function runs, the arguments do not fit the function, or a handle among them is of
                another dag.
            PickleFailed: an argument cannot be pickled.
        """
        wiring = self._current_wiring()
        name = wiring.free_name(self.name)
        bound, parents = self._wired_call(wiring, name, arguments, keywords)
        task = FunctionTask(name, self.function, bound.args, bound.kwargs, tuple(parents), **self._options)
        return wiring.add(task, parents)

    def map(self, /, *lists: Any, **keywords: Any) -> Handle[list[T]]:
        """Make a task for each element of a list that is known only when the run has got there: `fit.map(files)`.

        Positional arguments are lists, or tasks that will return one; of each, every call gets one element. Keyword
        arguments are the same for all calls. The value of the handle is the list of all results, in order.

        Raises:
            UsageError: as for a single call, or a positional argument is neither a list nor a task.
            PickleFailed: an argument cannot be pickled.
        """
        wiring = self._current_wiring()
        name = wiring.free_name(self.name)
        if not lists:
            raise UsageError(f"{self.name}.map() needs something to map over; give it a list or a task as an argument")
        for place, each in enumerate(lists, 1):
            if not isinstance(each, (Handle, *_LISTS)):
                raise UsageError(
                    f"argument {place} of {self.name}.map() is {each!r:.80}, which is no list to map over; give it as "
                    "a keyword argument if all calls are to get the same"
                )
        splits: dict[str, None] = {}
        wire = _wire(wiring, name, splits)
        columns = [_wired(each, wire, str(place), name) for place, each in enumerate(lists, 1)]
        cells = tuple(Cell(column) for column in range(len(lists)))
        bound, shared = self._wired_call(wiring, name, cells, keywords)
        parents = splits | shared
        only_split = [parent for parent in splits if parent not in shared]
        task = MappedTask(
            name, self.function, columns, bound.args, bound.kwargs, tuple(parents), only_split, **self._options
        )
        return wiring.add(task, parents)

    def _current_wiring(self) -> Wiring:
        wiring = current()
        if wiring is None:
            raise UsageError(
                f"task {self.name!r} is called outside of a workflow; call it in a function that is decorated with "
                f"@workflow, or call the function itself, which is {self.name}.function"
            )
        return wiring

    def _wired_call(
        self, wiring: Wiring, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[inspect.BoundArguments, dict[str, None]]:
        """A call with its handles replaced, and the tasks that these are of."""
        bound = self._bound(arguments, keywords)
        parents: dict[str, None] = {}
        wire = _wire(wiring, name, parents)
        for parameter, value in bound.arguments.items():
            bound.arguments[parameter] = _wired(value, wire, parameter, name)
        return bound, parents

    def _bound(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> inspect.BoundArguments:
        given = _given_names(self.function)
        whole = inspect.signature(self.function)
        signature = whole.replace(parameters=[each for each in whole.parameters.values() if each.name not in given])
        for name in given:
            if name in keywords:
                raise UsageError(f"task {self.name!r} is given {name!r} where it runs; leave it out of the call")
        try:
            return signature.bind(*arguments, **keywords)
        except TypeError as exc:
            raise UsageError(
                f"task {self.name!r} cannot be called like this: {exc}; it is {self.name}{signature}"
            ) from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


@overload
def task(function: Callable[..., T], /) -> TaskFunction[T]: ...


@overload
def task(
    *, name: str | None = None, **options: Unpack[TaskOptions]
) -> Callable[[Callable[..., T]], TaskFunction[T]]: ...


def task(function: Any = None, /, *, name: str | None = None, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of each call of a function within a workflow function: `@task`, or `@task(retries=2, queue="gpu")`.

    The options are those of `BaseTask`; `name` is that of the tasks, by default that of the function.

    Raises:
        UsageError: it is not a plain function, or an option is out of its range.
    """
    if function is not None:
        return TaskFunction(function, name, **options)
    return lambda decorated: TaskFunction(decorated, name, **options)


def _given_names(function: Callable[..., object]) -> list[str]:
    """The parameters of the function that are filled in where the task runs."""
    parameters = inspect.signature(function).parameters
    return [name for name in _GIVEN if name in parameters and parameters[name].kind is inspect.Parameter.KEYWORD_ONLY]


def _taken(data: MultiTaskData, parents: Sequence[str]) -> dict[str, Any]:
    """What the parents returned, by name. It is taken out of the data, so that a task which is stopped does not hand on
    the value of a parent as its own."""
    values = {}
    for parent in parents:
        if data.has_alias(parent) and RETURNED in data(parent):
            (values[parent],) = data(parent)[RETURNED]
            del data(parent)[RETURNED]
    return values


def _wire(wiring: Wiring, name: str, parents: dict[str, None]) -> Callable[[Any], Any]:
    """What replaces handles in the arguments of the task `name`, and notes their tasks in `parents`."""

    def wire(leaf: Any) -> Any:
        if not isinstance(leaf, Handle):
            return leaf
        value = wiring.value_of(leaf, name)
        parents[value.task] = None
        return value

    return wire


def _wired(value: Any, wire: Callable[[Any], Any], parameter: str, task: str) -> Any:
    """An argument with handles replaced, of which it is known that it can be sent."""
    try:
        wired = replaced(value, wire)
        dumps(wired)
    except RecursionError:
        raise UsageError(f"argument {parameter!r} of task {task!r} is nested too deep, or contains itself") from None
    except PickleFailed as exc:
        if isinstance(exc.__context__, UsageError):  # A handle where none may be.
            raise exc.__context__ from None
        reason = f"{exc.reason}; make it within the task, from something that can be sent"
        raise PickleFailed(f"argument {parameter!r} of task {task!r}", reason) from None
    return wired
