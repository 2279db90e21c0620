"""A task that calls a Python function."""

from typing import Unpack

from meshflow.models.action import Action
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks.options import TaskCallback, TaskOptions


class PythonTask(BaseTask):
    """Calls `callback(data, store, signal, context)` where and when the task runs.

    The function returns None, to pass on the data it was given, changed or not; or an `Action`, to choose the data or
    the successors. It may raise `StopTask` or `AbortWorkflow`; any other exception fails the task.

    Args:
        name: Unique within its dag.
        callback: The function; None: the task does nothing, and passes its data on.
        **options: Those of `BaseTask`.
    """

    def __init__(self, name: str, callback: TaskCallback | None = None, **options: Unpack[TaskOptions]) -> None:
        super().__init__(name, **options)
        self._callback = callback

    def run(
        self,
        data: MultiTaskData,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        **kwargs: object,
    ) -> Action | None:
        """Call the function, and return what it returns."""
        return None if self._callback is None else self._callback(data, store, signal, context)
