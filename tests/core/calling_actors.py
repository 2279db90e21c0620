"""Who there is in `calling_world`: nodes with their task processes, and clients."""

from dataclasses import dataclass, field

from meshflow.core.attempts import Attempt
from meshflow.core.caller import Caller
from meshflow.core.calling import Arguments, Call, Function
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
    made: list[bytes] = field(default_factory=list)
    """What came of the calls of the packet that runs, as far as they were made."""
    ends_after: int = 0
    """How many of them it makes; then it has enough."""
    begun_count: int = 0
    halted: int = 0
    """The packet of which it is to begin no more."""
    is_hung_up: bool = False
    """The client feeds it no more."""
    is_gone: bool = False
    """Its sockets are closed."""

    @property
    def current(self) -> list[Arguments]:
        """The call that runs, if one does."""
        return [self.running.calls[self.begun_count - 1].data] if self.running else []


@dataclass
class Lines:
    """What a client can do about what processes were fed, by lease."""

    lines: dict[int, Process]

    def take_back(self, lease: int) -> list[int]:
        process = self.lines.get(lease)
        if process is None:
            return []
        taken = [feed.packet for feed in process.fed]
        process.fed.clear()
        return taken

    def halt(self, lease: int, packet: int) -> None:
        if lease in self.lines:
            self.lines[lease].halted = packet

    def begun(self, lease: int, packet: int) -> int:
        process = self.lines.get(lease)
        if process is None:
            return 2**63
        return process.begun_count if process.running and process.running.packet == packet else 0


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


def code_of(function: Function) -> bytes:
    return f"code of {function.name}".encode()


def bytes_of(data: Arguments) -> bytes:
    assert isinstance(data, bytes)
    return data
