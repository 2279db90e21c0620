"""How a dag comes from a function: what its calls of tasks record while it runs.

Invariants:
1. A task is recorded after all whose values it is given, so there is no way to make a cycle.
2. A handle means something in the one wiring that made it. What is pickled with a task is a `ValueOf`, never a handle.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from meshflow.errors import UsageError
from meshflow.models.dag import Dag
from meshflow.models.task import BaseTask

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class ValueOf:
    """Stands in the arguments of a task for what another one returns."""

    task: str


@dataclass(frozen=True, slots=True)
class Cell:
    """Stands in the arguments of a mapped task for what an instance gets of that one of the lists."""

    column: int


class Handle(Generic[T_co]):
    """A task that was called in a workflow function; as an argument of others it stands for what it will return."""

    def __init__(self, name: str, wiring: "Wiring") -> None:
        self._name = name
        self._wiring = wiring

    @property
    def name(self) -> str:
        """The name of the task in its dag: for `run.result`, and for the `limit` of an Action."""
        return self._name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    # What would else be true, or fail without a word of why.
    def __bool__(self) -> bool:
        self._refuse("asked whether it is true")

    def __iter__(self) -> Iterator[Any]:
        self._refuse("iterated over")

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            f"the handle of task {self._name!r} is inside an object that is an argument of another task; "
            "pass it as an argument itself, or in a list, a tuple or the values of a dictionary"
        )

    def _refuse(self, what: str) -> NoReturn:
        raise UsageError(
            f"what task {self._name!r} returns cannot be {what} while the workflow is built, as the task has not run; "
            "pass it to a task that does this, and let that one choose its successors by Action.of(value, limit=[...])"
        )


class Wiring:
    """The tasks that one workflow function has called so far, and which follows which."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: dict[str, BaseTask] = {}
        self._children: dict[str, list[BaseTask]] = {}
        self._counts: dict[str, int] = {}

    def free_name(self, name: str) -> str:
        """`name`, or, where a task has it, that with the next number."""
        free = name
        while free in self._tasks:
            self._counts[name] = self._counts.get(name, 1) + 1
            free = f"{name}_{self._counts[name]}"
        return free

    def value_of(self, handle: Handle[Any], user: str) -> ValueOf:
        """What stands for the value of `handle` in the arguments of the task `user`.

        Raises:
            UsageError: the handle is of another dag.
        """
        if handle._wiring is not self:
            raise UsageError(
                f"task {user!r} of dag {self._name!r} is given {handle!r} of dag {handle._wiring._name!r}; call that "
                f"task in the function of {self._name!r} too: values go from task to task within one dag only"
            )
        return ValueOf(handle.name)

    def add(self, task: BaseTask, parents: Iterable[str]) -> Handle[Any]:
        """Record a task that is given the values of `parents`."""
        self._tasks[task.name] = task
        self._children[task.name] = []
        for parent in parents:
            self._children[parent].append(task)
        return Handle(task.name, self)

    def dag(self, queue: str) -> Dag:
        """The dag of all tasks."""
        dag = Dag(self._name, queue=queue)
        dag.define({self._tasks[name]: children for name, children in self._children.items()})
        return dag


_current: ContextVar[Wiring | None] = ContextVar("meshflow_wiring", default=None)


def current() -> Wiring | None:
    """The wiring of the workflow function that runs here; None if none does."""
    return _current.get()


@contextmanager
def recording(name: str) -> Iterator[Wiring]:
    """A wiring for the dag `name` that is the current one within the block."""
    wiring = Wiring(name)
    token = _current.set(wiring)
    try:
        yield wiring
    finally:
        _current.reset(token)


def replaced(value: Any, replace: Callable[[Any], Any]) -> Any:
    """A copy of `value` in which `replace` was applied to all that is not a list, a tuple or a dictionary, at any
    depth. The keys of dictionaries stay. Named tuples and the like are not looked into."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([replaced(each, replace) for each in value])
    if kind is dict:
        return {key: replaced(each, replace) for key, each in value.items()}
    return replace(value)
