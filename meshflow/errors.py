"""Every error that MeshFlow raises, in one tree.

    MeshflowError
    ├── UsageError        fix your call, your configuration or your key; nothing was changed
    ├── WorkflowError     the user's code or graph cannot be run as it is
    ├── PeerError         what a peer sent makes no sense; never leaves the node
    ├── StoreError        the store refused or cannot be reached; the shell retries what may be retried
    ├── StopTask          not an error: raised by a task to end itself early
    └── AbortWorkflow     not an error: raised by a task to end its workflow

A message says what happened, with the values, what was expected, and what to do.
Lightflow's names are importable from `meshflow.models.exceptions`.
"""


class MeshflowError(RuntimeError):
    """The root of the tree; `str()` is the message, never empty."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return str(self.message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} - {self.message}>"


class UsageError(MeshflowError):
    """The call cannot be served as it was made; nothing was changed."""


class NotRetryable(UsageError):
    """A run that cannot be retried: it goes on, has completed, lacks what a retry needs, or would run again what may
    run at most once. There is no new run."""


class WorkflowError(MeshflowError):
    """The user's workflow is at fault."""


class PeerError(MeshflowError):
    """A peer sent what cannot be understood; it is dropped and counted, and never raises out of a node."""


class StoreError(MeshflowError):
    """The store said no."""


class StoreRefusal(StoreError):
    """The store said no to this request, and always will: it cannot hold what it is to keep, or what it is to read is
    damaged. Other requests may well be performed."""


# --- control: what a task raises to end early ---


class StopTask(MeshflowError):
    """Raised by a task, or a callback of one, to end the task early; it then counts as stopped, not as failed."""

    def __init__(self, message: str = "", *, skip_successors: bool = True) -> None:
        super().__init__(message)
        self.skip_successors = skip_successors


class AbortWorkflow(MeshflowError):
    """Raised by a task, or a callback of one, to end the whole workflow: nothing new starts, running tasks end."""


# --- workflows and graphs ---


class InvalidGraph(WorkflowError):
    """A dag that is not a directed acyclic graph of uniquely named tasks.

    Lightflow's name: `DirectedAcyclicGraphInvalid`.
    """

    def __init__(self, graph_name: str, reason: str = "it is not a directed acyclic graph") -> None:
        super().__init__(f"dag {graph_name!r} cannot be run: {reason}")
        self.graph_name = graph_name
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.graph_name, self.reason))


class WorkflowDefinitionError(InvalidGraph):
    """A workflow has a dag that cannot be run."""

    def __init__(self, workflow_name: str, graph_name: str, reason: str = "it is not a directed acyclic graph") -> None:
        super().__init__(graph_name, reason)
        self.message = f"dag {graph_name!r} of workflow {workflow_name!r} cannot be run: {reason}"
        self.workflow_name = workflow_name

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.workflow_name, self.graph_name, self.reason))


class DirectedAcyclicGraphUndefined(WorkflowError):
    """A dag has no schema: `define` was not called, or was given None."""


class WorkflowArgumentError(UsageError):
    """An argument of a workflow is missing, or is not of the type its option asks for."""


class WorkflowImportError(WorkflowError):
    """A workflow script cannot be imported; the message names file, line and reason."""


class WorkflowNotFound(WorkflowImportError):
    """There is no script of that name."""


class PickleFailed(WorkflowError):
    """A task or a value cannot be pickled, or its pickle is too large, so it cannot be sent to a node."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what} cannot be pickled: {reason}")
        self.what = what
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.what, self.reason))


# --- inside a running task ---


class DataInvalidIndex(UsageError):
    """A MultiTaskData has no dataset at that index."""


class DataInvalidAlias(UsageError):
    """A MultiTaskData has no dataset of that alias."""


class DataMergeConflict(WorkflowError, TypeError):
    """Two datasets cannot become one: a dictionary would have to be merged into something else."""


class TaskReturnActionInvalid(WorkflowError):
    """A task returned something that is neither None nor an Action."""


class RequestFailed(UsageError):
    """What a task asked of its run was refused."""


class RequestActionUnknown(RequestFailed):
    """The run does not know the action that was asked of it."""


class DagNameUnknown(RequestFailed):
    """A task asked to start a dag that its workflow does not have."""


# --- the store ---


class StoreUnavailable(StoreError):
    """The store did not answer, so whether it applied the batch is unknown. Batches are built to be sent again.

    Lightflow's name: `DataStoreNotConnected`.
    """


class DataStoreKeyError(StoreError):
    """A key of the workflow document cannot be used as asked: its path leads through a list or a scalar, what is
    there is not a list, or the document is gone. Nothing was changed."""


class DataStoreValueError(StoreError):
    """A value cannot be stored because it cannot be pickled. Nothing was changed."""


class DataStoreDecodeUnknownType(StoreError):
    """A stored value cannot be read: its pickle does not load here, or another program wrote a type unknown to us."""


# --- configuration, and what is reported to users ---


class ConfigLoadError(UsageError):
    """The configuration cannot be read: no such file, or it names a folder that does not exist."""


class ConfigFieldError(UsageError):
    """The configuration has no such section or field."""


class EventTypeUnknown(UsageError):
    """An event is of no known kind."""


class JobEventTypeUnsupported(UsageError):
    """An event about a job is of no known type."""


class WorkerEventTypeUnsupported(UsageError):
    """Events about workers have no event model."""
