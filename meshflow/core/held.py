"""A job in the hands of the node that is to run it, or runs it."""

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
