"""Who there is in `calling_world`: nodes with their task processes, and clients."""

from dataclasses import dataclass, field

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.calling import Call
from meshflow.core.leasing import Feed
from meshflow.core.messages import Job
from meshflow.core.node import Node
from meshflow.ids import NodeId


@dataclass(eq=False)
class Process:
    """A task process that serves a client, and what goes through the sockets between the two."""

    attempt: Attempt
    fed: list[Feed] = field(default_factory=list)
    """Not begun."""
    running: Feed | None = None
    answers: list[tuple[int, float, list[bytes]]] = field(default_factory=list)
    """Not read by the client."""
    is_hung_up: bool = False
    """The client feeds it no more."""
    is_gone: bool = False
    """Its sockets are closed."""


@dataclass(eq=False)
class Host:
    """A node and its task processes."""

    node: Node
    slots: int
    waiting: list[Job] = field(default_factory=list)
    running: dict[Attempt, Job] = field(default_factory=dict)
    begun_at: dict[Attempt, float] = field(default_factory=dict)
    processes: dict[Attempt, Process] = field(default_factory=dict)
    """Those of leases."""
    wake_at: float = -1.0


@dataclass(eq=False)
class Client:
    """A program that calls; `results` has what came of each call, by its arguments."""

    id: NodeId
    caller: Caller
    results: dict[bytes, list[bytes | str]] = field(default_factory=dict)
    calls: dict[bytes, Call] = field(default_factory=dict)
    knows: list[NodeId] = field(default_factory=list)
    near: tuple[str, ...] = ()
    """How the names of nodes of its host begin."""
    lines: dict[int, Process] = field(default_factory=dict)
    """The processes that have called, by lease."""
    wake_at: float = -1.0
