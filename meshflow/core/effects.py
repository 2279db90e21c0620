"""All that the core may ask of the world. The shell (and the simulator) performs effects in the order of the list."""

from dataclasses import dataclass

from meshflow.core.attempts import Attempt
from meshflow.core.events import Event
from meshflow.core.messages import Job, Message
from meshflow.core.requests import Request
from meshflow.ids import NodeId


@dataclass(frozen=True, slots=True)
class Send:
    """Hand `message` to the peer or client `to`, at most once, without waiting."""

    to: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class SendTo:
    """The same to an address whose node is not known yet (a seed)."""

    address: str
    message: Message


@dataclass(frozen=True, slots=True)
class Ask:
    """Have the store perform `requests`; the answers come back as `Node.answered(token, answers, now)`. Asks are
    performed in order, several in one group commit; the shell repeats them until the store answers."""

    token: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Run the job in a task process, as soon as one of the slots is free; its story comes back as `Node.task_output`,
    `task_signal` and `task_finished`."""

    job: Job
    codes: dict[str, bytes]
    """`{digest: bytes}` of the job's payload."""


@dataclass(frozen=True, slots=True)
class Resize:
    """Run so many jobs at a time from now on; those that run go on."""

    slots: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Take back those of the attempts that have not begun; they come back as `Node.task_returned`."""

    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Kill:
    """End the attempt's process tree (SIGTERM, then SIGKILL after `grace_s`); it then finishes FAILED with `reason`."""

    attempt: Attempt
    reason: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class TellStopping:
    """Tell the task process of this attempt that its dag run was asked to stop."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """Answer the task's signal number `call` with a native value, or with an error text."""

    attempt: Attempt
    call: int
    result: object
    error: str = ""


@dataclass(frozen=True, slots=True)
class Emit:
    """Log and count this."""

    event: Event


@dataclass(frozen=True, slots=True)
class Forget:
    """This peer is gone for good: close what is open to it."""

    peer: NodeId


Effect = Send | SendTo | Ask | Start | Resize | Recall | Kill | TellStopping | AnswerTask | Emit | Forget
