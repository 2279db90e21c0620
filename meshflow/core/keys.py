"""How signals are named, for all time: what is asked again under its key is answered again and done once.

A key is `<dag run>/<task>/<which attempt>/<which call>`; the name of a dag may hold slashes itself. What the owner of a
dag run asks by itself is of no task.
"""

from meshflow.core.attempts import Attempt
from meshflow.ids import RunId


def call_key(attempt: Attempt, call: int) -> str:
    """The key of a signal that an attempt sends."""
    return f"{attempt_key(attempt)}/{call}"


def attempt_key(attempt: Attempt) -> str:
    """What the keys of an attempt have before their last slash."""
    return f"{attempt.run}/{attempt.task}/{attempt.attempt}.{attempt.epoch}"


def start_key(attempt: Attempt, number: int) -> str:
    """The key of a task's `start_dag` of that number: the same for all its attempts, so that one that is run again
    finds the dag run that an earlier one started."""
    return f"{attempt.run}/{attempt.task}/start/{number}"


def own_key(run: RunId, what: str) -> str:
    """The key of what the owner of the dag run asks."""
    return f"{run}///{what}"


def run_of(key: str) -> RunId:
    """The dag run that a key belongs to."""
    return RunId(key.rsplit("/", 3)[0])


def task_of(key: str) -> int | None:
    """The task that a key belongs to; None if it is of no task."""
    task = key.rsplit("/", 3)[1:2]
    return int(task[0]) if task and task[0].isdecimal() else None


def caller_of(key: str) -> str:
    """The `attempt_key` of the attempt that asked."""
    return key.rpartition("/")[0]
