"""In a task process: results that are kept beyond their run, and taken instead of running a task (`cache=True`).

Whatever goes wrong with it, the task runs as if there were nothing of the kind.
"""

from contextlib import suppress
from typing import NamedTuple

from meshflow import wire
from meshflow.core.caching import MAX_RESULT_BYTES
from meshflow.core.messages import Finished, Job
from meshflow.core.records import State, Value
from meshflow.errors import MeshflowError
from meshflow.ids import workflow_of
from meshflow.models.cache_keys import attempt_key, task_key
from meshflow.models.task import BaseTask
from meshflow.runtime.link import TaskClient

CACHED = "cached"
"""How the reason of a task begins that was not run, for its result was there."""


class Outcome(NamedTuple):
    """How an attempt has ended."""

    state: State
    reason: str
    value: bytes
    limit: tuple[str, ...] | None


class KeptResults:
    """Names results, and remembers what names the code of which task."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], str] = {}

    def clear(self) -> None:
        """Forget all."""
        self._keys.clear()

    def key(self, task: BaseTask, job: Job) -> str:
        """What names the result of this attempt, whose task has not run; empty if it is not to be kept."""
        if not task.job_options.cache:
            return ""
        code = job.payload, job.mapped or job.name
        try:
            if code not in self._keys:
                self._keys[code] = task_key(task)
            return attempt_key(self._keys[code], job)
        except Exception:  # A user's __reduce__ may raise anything.
            return ""


def find(client: TaskClient, key: str) -> Outcome | None:
    """What is kept under the key; None if nothing is, or it cannot be had now."""
    try:
        data = client.cached(key)
        kept = None if data is None else wire.decode(Finished, data)
    except (MeshflowError, OSError):
        return None
    if kept is None:
        return None
    return Outcome(kept.state, f"{CACHED}: from run {workflow_of(kept.attempt.run)}", kept.value.inline, kept.limit)


def keep(client: TaskClient, key: str, job: Job, outcome: Outcome) -> None:
    """Have the result of an attempt kept, unless the task failed, was stopped, or heard what is no part of the key;
    or the result is too large."""
    if outcome.state is not State.COMPLETED or client.has_heard or len(outcome.value) > MAX_RESULT_BYTES:
        return
    finished = Finished(job.attempt, outcome.state, Value(outcome.value), outcome.limit, "", 0.0, 0.0)
    with suppress(MeshflowError, OSError):
        client.keep(key, wire.encode(finished))
