"""From the calls that wait at a client to the leases that make them, and back if a lease ends before its time."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.calling import Call, Function, Line
from meshflow.core.leases import PACKET_S, Leases, Reach
from meshflow.core.member import Member
from meshflow.core.waiting_calls import WaitingCalls
from meshflow.ids import NodeId


@dataclass(frozen=True, slots=True)
class Feed:
    """Have a lease make these calls, which are all of one function with this code."""

    lease: int
    packet: int
    calls: tuple[Call, ...]
    code: bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """Let a lease end when it has done what it was fed."""

    lease: int


class Leasing:
    """Feeds leases with what waits in `calls`. `door` is where processes call."""

    def __init__(self, calls: WaitingCalls, door: str, reach: Reach) -> None:
        self.door = door
        self.leases = Leases(reach)
        self._calls = calls
        self._near: dict[NodeId, None] = {}
        self._far: dict[NodeId, None] = {}
        """Nodes of this host whose processes have not found the door."""

    def is_near(self, member: Member) -> bool:
        """Whether processes of that node can call at the door."""
        return member.id in self._near

    def set_near(self, nodes: Sequence[NodeId]) -> None:
        """Processes of these nodes can call at the door, unless one has tried in vain."""
        self._far = {node: None for node in nodes if node in self._far}
        self._near = {node: None for node in nodes if node not in self._far}

    def may_serve(self, node: NodeId, function: Function) -> bool:
        """Whether a process of that node may make calls of the function for us."""
        return node in self._near and not function.is_alone

    def answered(self, lease: int, packet: int, seconds: float, now: float) -> tuple[Call, ...]:
        """A process has made the calls of a packet, which took so long: which these are."""
        calls = self.leases.answered(lease, packet, now)
        if calls:
            line = self._calls.line(calls[0].function)
            line.out_count -= 1
            line.took(seconds, len(calls))
        return calls

    def broke(self, lease: int) -> None:
        """A process has hung up. Its node tells why, and when it is gone."""
        if lease in self.leases:
            self.leases.close(lease)
            self.take_back(lease)

    def take_back(self, lease: int) -> None:
        """What a lease has not begun is for others."""
        for calls in reversed(self.leases.take_back(lease)):
            self._calls.line(calls[0].function).out_count -= 1
            self._calls.again(calls)

    def ended(self, lease: int) -> list[Call]:
        """A lease is over: what its process had begun and not answered."""
        self.take_back(lease)
        begun = self.leases.ended(lease)
        for calls in begun:
            self._calls.line(calls[0].function).out_count -= 1
        return [call for calls in begun for call in calls]

    def cannot_call(self, node: NodeId) -> None:
        """A process of that node has not found the door."""
        self._near.pop(node, None)
        self._far[node] = None

    def let_go(self) -> list[HangUp]:
        """The client is about to leave: leases that have nothing to do end now, and their nodes report the last of what
        was printed."""
        return [HangUp(lease) for lease in self.leases.end_idle()]

    def flush(self, now: float) -> list[Feed | HangUp]:
        """Feed who has room, and end or relieve who has to be."""
        effects: list[Feed | HangUp] = []
        for lease in self.leases.over(now):
            self.take_back(lease)
            effects.append(HangUp(lease))
        for lease in self.leases.stuck(now, has_waiting=bool(self._calls.queues())):
            self.take_back(lease)
        for calls in self.leases.relieved(now):
            self._calls.again(calls)
        while (hungry := self.leases.hungriest(self._calls.queues(), now)) is not None:
            lease, queue = hungry
            line = self._calls.next_line(queue)
            assert line is not None, queue
            calls = tuple(line.take(self._calls.slots.get(queue, 0), PACKET_S))
            self._calls.took_some(line.function)
            if calls:
                effects.append(self._feed(lease, line, calls, now))
        return effects

    def _feed(self, lease: int, line: Line, calls: tuple[Call, ...], now: float) -> Feed:
        for call in calls:
            call.batch, call.has_begun = lease, True
        line.out_count += 1
        packet = self.leases.feed(lease, calls, line.work_s(len(calls)), now)
        return Feed(lease, packet, calls, line.code)
