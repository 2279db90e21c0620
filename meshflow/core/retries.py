"""What the end of an attempt means for its task: whether it is tried again, and after how long."""

import math

from meshflow.core.dagrun import DagRun
from meshflow.core.graph import TaskSpec
from meshflow.core.messages import Finished
from meshflow.core.outcome import is_outcome
from meshflow.core.records import State, Stop, TaskEnded


def ended_as(report: Finished, fold: DagRun, node: str) -> TaskEnded:
    """The entry for an attempt that ended on the node of that name, as it is to be logged."""
    task, attempt = report.attempt.task, report.attempt.attempt
    state, retry, rows = report.state if is_outcome(report.state) else State.FAILED, False, None
    if state is State.FAILED and fold.stop is Stop.CANCEL:
        state = State.CANCELLED
    elif state is State.FAILED and fold.stop is Stop.NONE:
        retry = fold.failures[task] < fold.tasks[task].retries
    elif state is State.COMPLETED and fold.stop is Stop.NONE and fold.tasks[task].splits is not None:
        rows = report.rows  # Of a run that is to stop nothing new starts.
    times = (report.started_at, report.ended_at)
    return TaskEnded(task, attempt, state, report.value, report.limit, report.reason, *times, node, retry, rows)


def retry_wait_s(spec: TaskSpec, failures: int) -> float:
    """Seconds to wait after so many failures, at least one, before a task is tried again."""
    try:
        return spec.retry_delay_s * spec.backoff ** (failures - 1)
    except OverflowError:
        return math.inf if spec.retry_delay_s else 0.0
