"""What `workers`, `workflows` and the command line tell of nodes, jobs and events, in Lightflow's classes.

Attributes keep Lightflow's names. A broker does not exist here: `BrokerStats` describes the address of the node itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Self

from .const import JobEventName


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """Where a node is reached."""

    hostname: str
    port: int
    transport: str = "tcp"
    virtual_host: str = ""
    """The name of the mesh."""

    def to_dict(self) -> dict[str, object]:
        """The attributes under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class QueueStats:
    """A queue that a node serves; the routing key is its name."""

    name: str
    routing_key: str

    def to_dict(self) -> dict[str, object]:
        """The attributes under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One node. `name` is unique in the mesh and is what `stop_worker` takes."""

    name: str
    broker: BrokerStats
    pid: int
    process_pids: list[int]
    concurrency: int
    """Slots."""
    job_count: int
    """Task attempts that have ended there so far."""
    queues: list[QueueStats]

    def to_dict(self) -> dict[str, object]:
        """The attributes under their names, nested ones as dicts."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JobStats:
    """One job: a workflow run or dag run at the node that drives it, or a task attempt at the node that runs it."""

    name: str
    id: str
    type: str
    workflow_id: str
    queue: str
    start_time: datetime | None = None
    """UTC; None for dags and tasks, as in Lightflow."""
    arguments: dict[str, object] = field(default_factory=dict)
    acknowledged: bool = True
    func_name: str = ""
    hostname: str = ""
    worker_name: str = ""
    """The node; empty while the job waits for one."""
    worker_pid: int = 0
    routing_key: str = ""

    def to_dict(self) -> dict[str, object]:
        """The attributes under their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job. The subclass says what; `event` is its name in `JobEventName`."""

    event: ClassVar[str] = ""

    uuid: str
    """Job id: a run id, or `<dag run id>/<task>#<attempt>`."""
    type: str
    """A `JobType`."""
    queue: str
    hostname: str
    """The node; empty where none is involved."""
    pid: int | None
    name: str
    workflow_id: str
    event_time: datetime
    """UTC, with its time zone."""
    duration: float | None
    """Seconds from start to end; None unless the job ended after it had started."""
    dag: str = ""
    """Dag run name of a dag or task, for example `main_dag:1`."""
    attempt: int = 0
    """Of a task, from 1; 0 where no attempt is involved."""
    reason: str = ""
    """Why, for the user; empty where nothing needs saying."""
    retry: bool = False
    """Whether a further attempt of the task follows."""

    @property
    def word(self) -> str:
        """The event in one word, for example `started`."""
        return self.event.rpartition("-")[2]

    @classmethod
    def from_event(cls, event: Mapping[str, object]) -> Self:
        """The model of an event in the form of `to_event`; Lightflow's keys are required, ours are not."""
        optional = {key: event[key] for key in ("dag", "attempt", "reason", "retry") if key in event}
        return cls(
            uuid=str(event["uuid"]),
            type=str(event["job_type"]),
            queue=str(event["queue"]),
            hostname=str(event["hostname"]),
            pid=event["pid"],  # type: ignore[arg-type]
            name=str(event["name"]),
            workflow_id=str(event["workflow_id"]),
            event_time=_instant(event["time"]),
            duration=event["duration"],  # type: ignore[arg-type]
            **optional,  # type: ignore[arg-type]
        )

    def to_event(self) -> dict[str, object]:
        """The plain form of the event, with the keys of Lightflow's event stream."""
        return {
            "type": self.event,
            "uuid": self.uuid,
            "job_type": self.type,
            "queue": self.queue,
            "hostname": self.hostname,
            "pid": self.pid,
            "name": self.name,
            "workflow_id": self.workflow_id,
            "time": self.event_time,
            "duration": self.duration,
            "dag": self.dag,
            "attempt": self.attempt,
            "reason": self.reason,
            "retry": self.retry,
        }


def _instant(value: object) -> datetime:
    """A datetime from one, or from the ISO 8601 text that Lightflow's events carried; UTC where no zone is named."""
    instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JobStartedEvent(JobEvent):
    """A node began to drive a run for the first time, or was handed an attempt."""

    event: ClassVar[str] = JobEventName.Started


@dataclass(frozen=True, slots=True)
class JobSucceededEvent(JobEvent):
    """The job completed."""

    event: ClassVar[str] = JobEventName.Succeeded


@dataclass(frozen=True, slots=True)
class JobStoppedEvent(JobEvent):
    """The task raised StopTask, or was not started because its run was stopped; or the run was stopped."""

    event: ClassVar[str] = JobEventName.Stopped


@dataclass(frozen=True, slots=True)
class JobAbortedEvent(JobEvent):
    """The task raised AbortWorkflow, or the run ended for that reason."""

    event: ClassVar[str] = JobEventName.Aborted


@dataclass(frozen=True, slots=True)
class JobFailedEvent(JobEvent):
    """The attempt, or the run, failed; `reason` says why."""

    event: ClassVar[str] = JobEventName.Failed


@dataclass(frozen=True, slots=True)
class JobSkippedEvent(JobEvent):
    """No parent selected the task, so it does not run."""

    event: ClassVar[str] = JobEventName.Skipped


@dataclass(frozen=True, slots=True)
class JobQueuedEvent(JobEvent):
    """The job waits for a node."""

    event: ClassVar[str] = JobEventName.Queued


@dataclass(frozen=True, slots=True)
class JobLostEvent(JobEvent):
    """The node in `hostname` is gone: the run goes on elsewhere, the attempt is tried again or fails."""

    event: ClassVar[str] = JobEventName.Lost


@dataclass(frozen=True, slots=True)
class JobCancelledEvent(JobEvent):
    """The job was ended by `cancel`."""

    event: ClassVar[str] = JobEventName.Cancelled


@dataclass(frozen=True, slots=True)
class JobNotedEvent(JobEvent):
    """A warning for the user in `reason`; it changes nothing."""

    event: ClassVar[str] = JobEventName.Noted
