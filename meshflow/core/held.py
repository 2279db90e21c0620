"""A job in the hands of the node that is to run it, or runs it."""

from collections.abc import Iterable
from dataclasses import dataclass

from meshflow.core.messages import Job
from meshflow.ids import NodeId

NOBODY = NodeId("")
"""The owner of what a client that is gone had asked for."""


@dataclass(slots=True)
class Held:
    """One attempt, from its arrival until it has ended or goes back."""

    job: Job
    codes: dict[str, bytes]
    owner: NodeId
    since: float
    """When it arrived, then when it was handed to the task processes."""
    is_started: bool = False
    """Whether it was handed to the task processes."""
    turn: float = 1.0
    """How many tasks a slot runs until this one has ended, itself included."""
    is_cancelled: bool = False


def stuck_count(held: Iterable[Held], since: float) -> int:
    """How many jobs, in the order in which they were handed on, have been with the task processes since `since`."""
    count = 0
    for item in held:
        if not item.is_started or item.since > since:
            break
        count += 1
    return count
