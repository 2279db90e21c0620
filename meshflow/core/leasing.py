"""From the calls that wait at a client to the leases that make them, and back if a lease ends before its time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from meshflow.core.calling import Call, Function, Line
from meshflow.core.leases import PACKET_S, Leases, TakeBack
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
    """Feeds leases from `lines`; `again` is given the calls that are to wait once more, first of all. `door` is where
    processes call."""

    def __init__(
        self,
        lines: Mapping[Function, Line],
        door: str,
        take_back: TakeBack,
        again: Callable[[Sequence[Call]], None],
    ) -> None:
        self.door = door
        self.leases = Leases(take_back)
        self._lines = lines
        self._again = again
        self._near: dict[NodeId, None] = {}
        self._noted: dict[Function, None] = {}
        """Functions of which calls may wait that a lease could make."""

    def note(self, function: Function) -> None:
        """Calls of this function wait."""
        if not function.is_alone:
            self._noted[function] = None

    def is_near(self, node: NodeId) -> bool:
        """Whether processes of that node can call at the door."""
        return node in self._near

    def set_near(self, nodes: Sequence[NodeId]) -> None:
        """Processes of these nodes can call at the door."""
        self._near = dict.fromkeys(nodes)

    def may_serve(self, node: NodeId, function: Function) -> bool:
        """Whether a process of that node may make calls of the function for us."""
        return node in self._near and not function.is_alone

    def answered(self, lease: int, packet: int, seconds: float, now: float) -> tuple[Call, ...]:
        """A process has made the calls of a packet, which took so long: which these are."""
        calls = self.leases.answered(lease, packet, now)
        if calls:
            line = self._lines[calls[0].function]
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
            self._lines[calls[0].function].out_count -= 1
            self._again(calls)

    def ended(self, lease: int) -> list[Call]:
        """A lease is over: what its process had begun and not answered."""
        self.take_back(lease)
        begun = self.leases.ended(lease)
        for calls in begun:
            self._lines[calls[0].function].out_count -= 1
        return [call for calls in begun for call in calls]

    def cannot_call(self, node: NodeId) -> None:
        """A process of that node has not found the door."""
        self._near.pop(node, None)

    def flush(self, slots: Mapping[str, int], now: float) -> list[Feed | HangUp]:
        """Feed who has room, and end or relieve who has to be. `slots` of the mesh, by queue."""
        effects: list[Feed | HangUp] = []
        for lease in self.leases.over(now):
            self.take_back(lease)
            effects.append(HangUp(lease))
        waiting = self._waiting()
        for lease in self.leases.stuck(now, has_waiting=bool(waiting)):
            self.take_back(lease)
            waiting = self._waiting()
        while waiting and (hungry := self.leases.hungriest(waiting)) is not None:
            lease, queue = hungry
            line = waiting[queue].pop(0)
            calls = tuple(line.take(slots.get(queue, 0), PACKET_S))
            if line.waiting:
                waiting[queue].append(line)  # Functions take turns.
            elif not waiting[queue]:
                del waiting[queue]
            if calls:
                effects.append(self._feed(lease, line, calls, now))
        return effects

    def _waiting(self) -> dict[str, list[Line]]:
        """The lines with calls that a lease may make, by queue; those that go first come first."""
        waiting: dict[str, list[Line]] = {}
        for function in list(self._noted):
            line = self._lines[function]
            if line.waiting:
                waiting.setdefault(function.queue, []).append(line)
            else:
                del self._noted[function]
        for queue, lines in waiting.items():
            first = max(line.function.priority for line in lines)
            waiting[queue] = [line for line in lines if line.function.priority == first]
        return waiting

    def _feed(self, lease: int, line: Line, calls: tuple[Call, ...], now: float) -> Feed:
        for call in calls:
            call.batch, call.has_begun = lease, True
        line.out_count += 1
        packet = self.leases.feed(lease, calls, line.work_s(len(calls)), now)
        return Feed(lease, packet, calls, line.code)
