"""The types of what tasks are given."""

from collections.abc import Callable
from typing import TypeAlias, TypedDict, TypeVar

from meshflow.models.action import Action
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import FinallyCallback, InitCallback
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData

T = TypeVar("T")

Given: TypeAlias = T | Callable[[MultiTaskData, DataStoreDocument], T]
"""A value, or a function of `(data, store)` that is called for it, once, when the task runs."""

TaskCallback: TypeAlias = Callable[[MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], Action | None]


class TaskOptions(TypedDict, total=False):
    """The keyword options of `BaseTask`, which has their defaults and says what they do."""

    queue: str
    callback_init: InitCallback | None
    callback_finally: FinallyCallback | None
    force_run: bool
    propagate_skip: bool
    retries: int
    retry_delay: float
    backoff: float
    timeout: float | None
    priority: int
    at_most_once: bool
    cache: bool
