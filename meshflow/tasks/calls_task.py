"""Many calls of one function as a dag: what `Client.map_durable` submits.

A task makes some of the calls, one after the other, and hands on what came of each. A call that raises is a result like
any other. So a task fails only if its process dies, and then its calls are made again, those before the last one too.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack

from meshflow.errors import UsageError
from meshflow.models.action import Action
from meshflow.models.calls import dump_arguments, flat_results, pack_flat
from meshflow.models.dag import Dag
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks.options import TaskOptions

DAG_NAME = "calls"

_MAX_TASKS = 1024
"""More tasks than this are not made of short lists of arguments: it is enough for them to spread well."""

_MAX_CALLS = 256
"""In a task: as much is made again when its process dies."""

_MAX_BYTES = 256 * 1024
"""Of arguments in a task of more than one call."""


class CallsTask(BaseTask):
    """Makes calls of one function."""

    def __init__(
        self, name: str, function: Callable[..., object], calls: bytes, **options: Unpack[TaskOptions]
    ) -> None:
        """`calls` are the arguments of each, as `calls.pack_flat` packs them."""
        super().__init__(name, **options)
        self._function = function
        self._calls = calls

    def run(
        self,
        data: MultiTaskData,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        **kwargs: object,
    ) -> Action:
        """Make the calls; what is returned is for `calls.unpack_flat`."""
        return Action.of(flat_results(self._function, self._calls))


def calls_dag(
    function: Callable[..., object],
    rows: Iterable[tuple[Any, ...]],
    calls_per_task: int | None = None,
    **options: Unpack[TaskOptions],
) -> Dag:
    """A dag whose tasks call the function with each row of arguments, in order, and have the first and the last of
    their calls in their names.

    Raises:
        PickleFailed: an argument cannot be pickled.
        UsageError: `calls_per_task` is not positive.
    """
    calls = [dump_arguments(row) for row in rows]
    if calls_per_task is not None and calls_per_task < 1:
        raise UsageError(f"calls_per_task is {calls_per_task}; a task makes 1 call or more")
    most = calls_per_task or min(_MAX_CALLS, -(-len(calls) // _MAX_TASKS))
    tasks: list[BaseTask] = []
    first = 0
    while first < len(calls):
        count = _count(calls[first : first + most])
        name = f"{first}-{first + count - 1}"
        tasks.append(CallsTask(name, function, pack_flat(calls[first : first + count]), **options))
        first += count
    dag = Dag(DAG_NAME)
    dag.define(dict.fromkeys(tasks), validate=False)
    return dag


def _count(calls: Sequence[Any]) -> int:
    """How many of these calls a task makes."""
    size_bytes = 0
    for count, call in enumerate(calls):
        size_bytes += len(call)
        if count and size_bytes > _MAX_BYTES:
            return count
    return len(calls)


def calls_of(name: str) -> range:
    """The calls that the task of this name makes."""
    first, _, last = name.partition("-")
    return range(int(first), int(last) + 1)
