"""What workflows are written with, under Lightflow's names.

Names are imported on first use, so that importing this package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshflow.errors import AbortWorkflow, StopTask
    from meshflow.models.action import Action
    from meshflow.models.dag import Dag
    from meshflow.models.datastore import DataStoreDocument, DataStoreDocumentSection
    from meshflow.models.parameters import Option, Parameters
    from meshflow.models.signal import DagSignal, TaskSignal
    from meshflow.models.task import BaseTask, TaskStatus
    from meshflow.models.task_context import TaskContext
    from meshflow.models.task_data import MultiTaskData, TaskData
    from meshflow.models.task_parameters import TaskParameters
    from meshflow.models.workflow import Workflow

_HOMES = {
    "AbortWorkflow": "meshflow.errors",
    "Action": "meshflow.models.action",
    "BaseTask": "meshflow.models.task",
    "Dag": "meshflow.models.dag",
    "DagSignal": "meshflow.models.signal",
    "DataStore": "meshflow.store.datastore",
    "DataStoreDocument": "meshflow.models.datastore",
    "DataStoreDocumentSection": "meshflow.models.datastore",
    "MultiTaskData": "meshflow.models.task_data",
    "Option": "meshflow.models.parameters",
    "Parameters": "meshflow.models.parameters",
    "StopTask": "meshflow.errors",
    "TaskContext": "meshflow.models.task_context",
    "TaskData": "meshflow.models.task_data",
    "TaskParameters": "meshflow.models.task_parameters",
    "TaskSignal": "meshflow.models.signal",
    "TaskStatus": "meshflow.models.task",
    "Workflow": "meshflow.models.workflow",
}

_GONE = ("Client", "Server", "SignalConnection")

__all__ = [
    "AbortWorkflow",
    "Action",
    "BaseTask",
    "Dag",
    "DagSignal",
    "DataStoreDocument",
    "DataStoreDocumentSection",
    "MultiTaskData",
    "Option",
    "Parameters",
    "StopTask",
    "TaskContext",
    "TaskData",
    "TaskParameters",
    "TaskSignal",
    "TaskStatus",
    "Workflow",
]


def __getattr__(name: str) -> Any:
    if name in _GONE:
        # Not AttributeError: `from ... import` would replace its message by a useless one.
        raise ImportError(
            f"meshflow.models has no {name!r}: signals no longer go through a server of their own, nodes talk to each "
            "other; see docs/migration.md"
        )
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
