"""Lightflow's exception names, for scripts that import them from here.

All are part of the tree in `meshflow.errors`. A few name situations that cannot arise any more; they are kept so
that an `except` clause which mentions them still imports, and nothing raises them.
"""

from meshflow.errors import (
    AbortWorkflow,
    ConfigFieldError,
    ConfigLoadError,
    DagNameUnknown,
    DataInvalidAlias,
    DataInvalidIndex,
    DataStoreDecodeUnknownType,
    DirectedAcyclicGraphUndefined,
    EventTypeUnknown,
    JobEventTypeUnsupported,
    MeshflowError,
    RequestActionUnknown,
    RequestFailed,
    StopTask,
    StoreError,
    TaskReturnActionInvalid,
    UsageError,
    WorkerEventTypeUnsupported,
    WorkflowArgumentError,
    WorkflowDefinitionError,
    WorkflowImportError,
)
from meshflow.errors import InvalidGraph as DirectedAcyclicGraphInvalid
from meshflow.errors import StoreUnavailable as DataStoreNotConnected

LightflowException = MeshflowError
"""Lightflow's name for the root of the tree. There it was the base of two exceptions only; here it is that of all."""


class ConfigNotDefinedError(UsageError):
    """Never raised: a dag no longer needs a configuration to run."""


class ConfigOverwriteError(UsageError):
    """Never raised: there is no Celery setting left that could be overwritten."""


class DataStoreGridfsIdInvalid(StoreError):
    """Never raised: where large values live is the store's own business."""


class DataStoreIDExists(StoreError):
    """Never raised, as in Lightflow."""


class DataStoreIDInvalid(StoreError):
    """Never raised, as in Lightflow."""


class JobStatInvalid(UsageError):
    """Never raised: what describes a job always has its id."""


__all__ = [
    "AbortWorkflow",
    "ConfigFieldError",
    "ConfigLoadError",
    "ConfigNotDefinedError",
    "ConfigOverwriteError",
    "DagNameUnknown",
    "DataInvalidAlias",
    "DataInvalidIndex",
    "DataStoreDecodeUnknownType",
    "DataStoreGridfsIdInvalid",
    "DataStoreIDExists",
    "DataStoreIDInvalid",
    "DataStoreNotConnected",
    "DirectedAcyclicGraphInvalid",
    "DirectedAcyclicGraphUndefined",
    "EventTypeUnknown",
    "JobEventTypeUnsupported",
    "JobStatInvalid",
    "LightflowException",
    "RequestActionUnknown",
    "RequestFailed",
    "StopTask",
    "TaskReturnActionInvalid",
    "WorkerEventTypeUnsupported",
    "WorkflowArgumentError",
    "WorkflowDefinitionError",
    "WorkflowImportError",
]
