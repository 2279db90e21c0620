"""What a run looks like to those who watch it: a fold of its logs, and the events that the fold tells.

The workflow run's log names its dag runs; each dag run has a log of its own, whose entries name tasks by their place in
the dag. The logs are read by different requests, so they advance independently of each other.

Invariants:
1. The view of a log depends on its batches alone, applied in order of seq, each once.
2. An event is told exactly once: when the entry that proves it is applied.
3. What stands in a log before its first claim was taken over from the run that this one retries. It is not told as an
   event: it happened there.
4. A dag run ends by the last entry of its own log. Only one that nobody ever drove ends by its `DagEnded` in the log of
   the workflow run (`RunView.conclude`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import assert_never

from meshflow.core.graph import DagSpec, WorkflowSpec, instance_name
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagRefused,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    RunRecord,
    State,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
)
from meshflow.ids import NodeId, RunId, dag_run_id, dag_run_name
from meshflow.queue.const import JobType
from meshflow.queue.models import (
    JobAbortedEvent,
    JobCancelledEvent,
    JobEvent,
    JobFailedEvent,
    JobLostEvent,
    JobNotedEvent,
    JobQueuedEvent,
    JobSkippedEvent,
    JobStartedEvent,
    JobStoppedEvent,
    JobSucceededEvent,
)

_END_EVENTS: dict[State, type[JobEvent]] = {
    State.COMPLETED: JobSucceededEvent,
    State.SKIPPED: JobSkippedEvent,
    State.STOPPED: JobStoppedEvent,
    State.ABORTED: JobAbortedEvent,
    State.FAILED: JobFailedEvent,
    State.CANCELLED: JobCancelledEvent,
    State.LOST: JobLostEvent,
}


@dataclass(slots=True)
class TaskView:
    """A task of a dag run: its present state, and the attempt that brought it there."""

    name: str
    queue: str = ""
    state: State = State.WAITING
    attempt: int = 0
    """Of the latest attempt that was started; 0 before the first."""
    node: str = ""
    """What users call the node of that attempt."""
    reason: str = ""
    started_at: float | None = None
    """Wall clock of that attempt; None until started."""
    ended_at: float | None = None
    instances: range | None = None
    """Where the instances of a mapped task are among the tasks; None: it is no mapped task, or was not split yet."""
    is_reused: bool = False
    """Whether it ended in the run that this one retries."""


@dataclass(slots=True)
class DagView:
    """A dag run. Its tasks are there once `define` was called."""

    run: RunId
    name: str
    dag: str
    queue: str = ""
    state: State = State.QUEUED
    reason: str = ""
    owner: str = ""
    """What users call the node that drives it; empty before the first claim."""
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    tasks: list[TaskView] = field(default_factory=list)

    def define(self, spec: DagSpec) -> None:
        """Name the tasks and their queues; to be called before any batch of this dag run is applied."""
        self.queue = spec.queue
        self.tasks = [TaskView(task.name, task.queue) for task in spec.tasks]


class RunView:
    """A workflow run as far as its logs were applied. `node_name` turns a node id into what users call that node."""

    def __init__(self, run: RunId, node_name: Callable[[NodeId], str] = str) -> None:
        self.run = run
        self.name = ""
        self.queue = ""
        self.state = State.QUEUED
        self.reason = ""
        self.owner = ""
        self.created_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.arguments: dict[str, object] = {}
        self.retry_of: RunId | None = None
        """The run that this one retries; None: none."""
        self.reused = 0
        """Tasks that ended there."""
        self.dags: dict[str, DagView] = {}
        """`{dag run name: its view}`, in order of their start."""
        self._dag_queues: dict[str, str] = {}
        self._ended_dags: dict[str, DagEnded] = {}
        self._node_name = node_name

    def describe(self, record: RunRecord) -> list[JobEvent]:
        """Take over what the record says that no log does; the first call tells that the run was queued."""
        is_new = self.created_at is None
        self.name, self.queue, self.arguments = record.name, record.queue, record.arguments
        self.created_at, self.retry_of, self.reused = record.created_at, record.retry_of, record.reused
        if not is_new:
            return []
        reason = "" if self.retry_of is None else f"a retry of {self.retry_of}; tasks reused: {self.reused}"
        return [replace(self._of_run(JobQueuedEvent, record.created_at), reason=reason)]

    def define(self, spec: WorkflowSpec) -> None:
        """Learn the queues of the dags."""
        self._dag_queues = dict(zip(spec.dags, spec.dag_queues, strict=True))

    @property
    def is_ended(self) -> bool:
        """Whether the run and every dag run of it has come to its end, as far as the logs were applied."""
        return self.state.is_final and all(dag.state.is_final for dag in self.dags.values())

    @property
    def task_count(self) -> int:
        """How many tasks all dag runs have."""
        return sum(len(dag.tasks) for dag in self.dags.values())

    @property
    def tasks(self) -> list[TaskView]:
        """Every task of every dag run, in order of definition."""
        return [task for dag in self.dags.values() for task in dag.tasks]

    def awaits_end(self, name: str) -> bool:
        """Whether the workflow run's log says that this dag run ended while its own log, so far, does not."""
        return name in self._ended_dags and not self.dags[name].state.is_final

    def conclude(self, name: str) -> list[JobEvent]:
        """The dag run's log has no more to come: take its end from the workflow run's log, if that has it."""
        if not self.awaits_end(name):
            return []
        entry, dag = self._ended_dags[name], self.dags[name]
        return self._end_dag(dag, RunEnded(entry.state, entry.reason), self.ended_at or dag.created_at)

    def apply(self, batch: Batch) -> list[JobEvent]:
        """Apply the next batch of the workflow run's log, or of the log of a dag run that it named before."""
        if batch.run == self.run:
            return [event for entry in batch.entries for event in self._apply_to_run(entry, batch.at)]
        dag, events = self.dags[dag_run_name(batch.run)], list[JobEvent]()
        for entry in batch.entries:
            told = self._apply_to_dag(dag, entry, batch.at)
            events += told if dag.started_at is not None else []
        return events

    def _apply_to_run(self, entry: Entry, at: float) -> list[JobEvent]:
        match entry:
            case Claimed(node=node):
                return self._claim_run(self._node_name(node), at)
            case DagStarted(name=name, dag=dag):
                view = DagView(dag_run_id(self.run, name), name, dag, self._dag_queues.get(dag, ""), created_at=at)
                self.dags[name] = view
                return [] if self.started_at is None else [_of_dag(JobQueuedEvent, view, at, self.run)]
            case DagEnded(name=name):
                self._ended_dags[name] = entry
                return []
            case RunEnded(state=state, reason=reason):
                self.state, self.reason, self.ended_at = state, reason, at
                event = self._of_run(_END_EVENTS[state], at, self.owner)
                return [replace(event, reason=reason, duration=_elapsed(self.started_at, at))]
            case Noted(text=text):
                return [replace(self._of_run(JobNotedEvent, at), reason=text)]
            case DagRefused() | StopAsked() | TasksQueued() | TaskStarted() | TaskEnded():
                return []
            case _:
                assert_never(entry)

    def _claim_run(self, node: str, at: float) -> list[JobEvent]:
        before, self.owner, self.state = self.owner, node, State.RUNNING
        if self.started_at is None:
            self.started_at = at
            retried = [dag for name, dag in self.dags.items() if name not in self._ended_dags]
            queued = [_of_dag(JobQueuedEvent, dag, at, self.run) for dag in retried]
            return [self._of_run(JobStartedEvent, at, node), *queued]
        return [replace(self._of_run(JobLostEvent, at, before), reason=_takeover(node))]

    def _apply_to_dag(self, dag: DagView, entry: Entry, at: float) -> list[JobEvent]:
        match entry:
            case Claimed(node=node):
                return self._claim_dag(dag, self._node_name(node), at)
            case TasksQueued(tasks=tasks):
                return [self._queue_task(dag, dag.tasks[index], at) for index in tasks]
            case TaskStarted():
                return [self._start_task(dag, entry, at)]
            case TaskEnded(state=State.QUEUED):
                self._give_back(dag.tasks[entry.task])
                return []
            case TaskEnded():
                return [self._end_task(dag, entry, at)]
            case RunEnded():
                return self._end_dag(dag, entry, at)
            case Noted(text=text, task=index):
                if index is None:
                    return [replace(_of_dag(JobNotedEvent, dag, at, self.run), reason=text)]
                return [self._of_task(JobNotedEvent, dag, dag.tasks[index], at, reason=text)]
            case StopAsked() | DagStarted() | DagRefused() | DagEnded():
                return []
            case _:
                assert_never(entry)

    def _claim_dag(self, dag: DagView, node: str, at: float) -> list[JobEvent]:
        before, dag.owner = dag.owner, node
        if dag.started_at is not None:
            return [replace(_of_dag(JobLostEvent, dag, at, self.run), hostname=before, reason=_takeover(node))]
        dag.started_at, dag.state = at, State.RUNNING
        return [_of_dag(JobStartedEvent, dag, at, self.run)]

    def _queue_task(self, dag: DagView, task: TaskView, at: float) -> JobEvent:
        task.state = State.QUEUED
        event = self._of_task(JobQueuedEvent, dag, task, at)
        return replace(event, hostname="") if task.node else event

    def _start_task(self, dag: DagView, entry: TaskStarted, at: float) -> JobEvent:
        task = dag.tasks[entry.task]
        task.state, task.attempt, task.node = State.RUNNING, entry.attempt, self._node_name(entry.node)
        task.started_at, task.ended_at, task.reason = at, None, ""
        return self._of_task(JobStartedEvent, dag, task, at)

    def _give_back(self, task: TaskView) -> None:
        """A node gave the attempt back before it started. The entry that queues the task again follows, and is told."""
        task.state, task.node, task.started_at = State.QUEUED, "", None

    def _end_task(self, dag: DagView, entry: TaskEnded, at: float) -> JobEvent:
        task = dag.tasks[entry.task]
        task.attempt, task.node = entry.attempt or task.attempt, entry.node or task.node
        task.started_at = entry.started_at or task.started_at
        task.ended_at = entry.ended_at or at
        task.reason = entry.reason
        task.state = State.QUEUED if entry.retry else entry.state
        if entry.rows is not None:
            first, count = len(dag.tasks), len(entry.rows)
            task.instances = range(first, first + count)
            dag.tasks += [TaskView(instance_name(task.name, each), task.queue) for each in range(count)]
        task.is_reused = dag.started_at is None
        return self._of_task(
            _END_EVENTS[entry.state],
            dag,
            task,
            task.ended_at,
            duration=_elapsed(task.started_at, task.ended_at) if entry.attempt else None,
            reason=entry.reason,
            retry=entry.retry,
        )

    def _end_dag(self, dag: DagView, entry: RunEnded, at: float) -> list[JobEvent]:
        dag.state, dag.reason, dag.ended_at = entry.state, entry.reason, at
        event = _of_dag(_END_EVENTS[entry.state], dag, at, self.run)
        return [replace(event, reason=entry.reason, duration=_elapsed(dag.started_at, at))]

    def _of_run(self, event: type[JobEvent], at: float, node: str = "") -> JobEvent:
        return event(
            uuid=self.run,
            type=JobType.Workflow,
            queue=self.queue,
            hostname=node,
            pid=None,
            name=self.name,
            workflow_id=self.run,
            event_time=_utc(at),
            duration=None,
        )

    def _of_task(
        self,
        event: type[JobEvent],
        dag: DagView,
        task: TaskView,
        at: float,
        *,
        duration: float | None = None,
        reason: str = "",
        retry: bool = False,
    ) -> JobEvent:
        return event(
            uuid=f"{dag.run}/{task.name}#{task.attempt}",
            type=JobType.Task,
            queue=task.queue,
            hostname=task.node,
            pid=None,
            name=task.name,
            workflow_id=self.run,
            event_time=_utc(at),
            duration=duration,
            dag=dag.name,
            attempt=task.attempt,
            reason=reason,
            retry=retry,
        )


def _of_dag(event: type[JobEvent], dag: DagView, at: float, workflow_run: RunId) -> JobEvent:
    return event(
        uuid=dag.run,
        type=JobType.Dag,
        queue=dag.queue,
        hostname=dag.owner,
        pid=None,
        name=dag.name,
        workflow_id=workflow_run,
        event_time=_utc(at),
        duration=None,
        dag=dag.name,
    )


def _takeover(node: str) -> str:
    return f"node {node} drives it from here on"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _elapsed(started_at: float | None, ended_at: float) -> float | None:
    """Seconds between, never negative although wall clocks of two hosts may disagree; None if it never started."""
    return None if started_at is None else max(0.0, ended_at - started_at)
