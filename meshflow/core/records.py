"""What must survive a crash: run records and the entries of a run's log.

What stands in a log before its first Claimed was taken over from the run that this one retries (`retrying.py`).

The truth about a run is the fold of its log (`dagrun.py`, `workflowrun.py`); the record is an index over runs, kept for
those who list them, and may lag behind. Log entries are appended in batches, one batch per `(run, seq)`.
"""

from dataclasses import dataclass, field
from enum import Enum

from meshflow.ids import NodeId, RunId


class State(Enum):
    """The state of a run, or of a job within it.

    WAITING: parents are not done; the run moves it on. QUEUED: waits for a slot; the dispatcher moves it on.
    RUNNING: an attempt was handed out (a task), or an owner drives it (a run). All others are final.
    """

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    STOPPED = "stopped"
    ABORTED = "aborted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Of an attempt: its node died or does not know of it. The job itself is queued again, or failed."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can follow."""
        return self not in _OPEN


_OPEN = (State.WAITING, State.QUEUED, State.RUNNING)


class Stop(Enum):
    """How a run is asked to end early. STOP: start nothing new, let running tasks end. CANCEL: end those too."""

    NONE = "none"
    STOP = "stop"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Value:
    """Opaque pickled bytes: here (`inline`), or under `blob` in the run's blobs when they are large."""

    inline: bytes = b""
    blob: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The index entry of a run. Instants are wall-clock seconds since the epoch, None while they have not come."""

    run: RunId
    name: str
    """Workflow name, or dag run name such as `main_dag:1`."""
    workflow: str
    queue: str
    parent: RunId | None = None
    """The workflow run of a dag run; None for a workflow run."""
    state: State = State.QUEUED
    reason: str = ""
    stop: Stop = Stop.NONE
    stop_reason: str = ""
    owner: NodeId | None = None
    """The last claimer; None before the first claim."""
    epoch: int = 0
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    arguments: dict[str, object] = field(default_factory=dict)
    total: int = 0
    """Tasks of a dag run, or of all dag runs so far of a workflow run."""
    done: int = 0
    """How many of these have ended."""
    data: Value | None = None
    """The MultiTaskData given to the root tasks of a dag run; None: each starts with an empty one."""
    retry_of: RunId | None = None
    """The workflow run that this one is a retry of; None: it is none."""
    reused: int = 0
    """Tasks that keep the end they had in that run."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """`node` drives this run from here on; every later entry until the next claim is its own."""

    node: NodeId
    epoch: int


@dataclass(frozen=True, slots=True)
class TasksQueued:
    """These tasks may run now and wait for a slot."""

    tasks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TaskStarted:
    """An attempt was handed to `node`. Logged ahead for `at_most_once` tasks, behind for all others."""

    task: int
    attempt: int
    epoch: int
    node: NodeId


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """An attempt's outcome, or the end of a task that never ran (`attempt` 0: skipped or stopped before its start)."""

    task: int
    attempt: int
    state: State
    value: Value = Value()
    limit: tuple[str, ...] | None = None
    """Names of the successors the task chose; None: no restriction."""
    reason: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    """Wall clock of the executing host."""
    node: str = ""
    """Name of the node that ran it."""
    retry: bool = False
    """Whether a further attempt follows; the task itself has not ended then."""
    rows: tuple[Value, ...] | None = None
    """Of a mapped task: what each of its instances gets. These are tasks of the run from this entry on, in this order
    behind all others. None: none are added."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The run was asked to end early."""

    stop: Stop
    state: State
    """The state the run is to end in: stopped, aborted, failed or cancelled."""
    reason: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class DagStarted:
    """A dag run was called into being; logged before anyone is told. `key` names the request, so that asking again
    (a re-run task, a lost answer) finds this dag run instead of starting another."""

    name: str
    """Dag run name, for example `sub_dag:3`."""
    dag: str
    key: str
    data: Value | None = None
    """The MultiTaskData for its root tasks; None: each starts with an empty one."""


@dataclass(frozen=True, slots=True)
class DagRefused:
    """A task asked for a dag run when the run was stopping, so none was started. The task may have completed all the
    same, but has not done all it had to do: a retry runs it again."""

    dag: str
    key: str


@dataclass(frozen=True, slots=True)
class DagEnded:
    """A dag run of this workflow run reached its final state."""

    name: str
    state: State
    reason: str = ""
    total: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The last entry of a log."""

    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth telling the user that changes nothing (a warning, for example an unknown name in `limit`)."""

    text: str
    task: int | None = None


Entry = (
    Claimed | TasksQueued | TaskStarted | TaskEnded | StopAsked | DagStarted | DagRefused | DagEnded | RunEnded | Noted
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one append writes at `(run, seq)`. `token` is unique to the writer and append, so that a writer can tell
    its own entry after a lost answer; `at` is the writer's wall clock, stamped by the shell."""

    run: RunId
    seq: int
    token: str
    entries: tuple[Entry, ...]
    at: float = 0.0
