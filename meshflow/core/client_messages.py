"""What clients ask of nodes, and are told; some of it nodes ask of each other, too. Part of `messages.py`."""

from dataclasses import dataclass, field

from meshflow.core.attempts import Attempt
from meshflow.core.member import Member
from meshflow.core.records import Batch
from meshflow.core.requests import Answer, Request, WriteOutput
from meshflow.ids import RunId


@dataclass(frozen=True, slots=True)
class StoreAsk:
    """Perform these in your store for me (a client, or a node without a store of its own)."""

    number: int
    requests: tuple[Request, ...]
    is_borrowed: bool = False
    """A node asks that has no store of its own: another such node refuses, lest they ask each other in circles."""


@dataclass(frozen=True, slots=True)
class StoreAnswers:
    """The answers, in order; `error` is not empty if the store did not answer."""

    number: int
    answers: tuple[Answer, ...]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """Send me what is logged and printed of this workflow run (empty: of all) for the next `seconds`. A node that is
    asked by a client asks the whole mesh."""

    run: RunId
    seconds: float
    with_tasks: bool = True
    """Whether the logs of dag runs and what tasks print are wanted too; without them, a large run costs its watchers
    no more than a small one."""


@dataclass(frozen=True, slots=True)
class Watched:
    """News for who watches: a batch as it was logged, or output as it was captured. Gaps are read from the store."""

    batch: Batch | None
    output: tuple[WriteOutput, ...] = ()


@dataclass(frozen=True, slots=True)
class AskStatus:
    """What are you doing? Answered by NodeStatus."""

    number: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node is doing now, for people and tools."""

    number: int
    member: Member
    version: str
    running: tuple[tuple[Attempt, str, float], ...]
    """Attempts in task processes: which, task name, seconds so far."""
    waiting: dict[str, int]
    """Jobs that wait at this owner, by queue."""
    owned: tuple[RunId, ...]
    members: tuple[Member, ...]
    done_count: int
    uptime_s: float
    refused_append_count: int = 0
    store_error: str = ""
    children: tuple[int, ...] = ()
    """Process ids of its task processes."""
    names: dict[str, str] = field(default_factory=dict)
    """What nodes were called that are gone, by id."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish or give back what you have, then leave (`meshflow stop NODE`). Answered by Draining."""

    number: int


@dataclass(frozen=True, slots=True)
class Draining:
    """Understood."""

    number: int
