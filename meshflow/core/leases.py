"""Task processes of the own host that serve this client directly for a while.

To its node a *lease* is a job like any other: it takes a slot, is supervised, can be killed, and ends. What the job
does is to make the calls that the client feeds it through a socket between the two, without the node.

Invariants:
1. A lease ends soon after it has nothing to do, and after `LEASE_S` in any case: then the node decides who is next.
2. No more than about `AHEAD_S` of work is fed ahead of what runs. What has not begun can be taken back, and is: when
   the call that runs turns out long, when another lease has nothing to do, and when a process ends.
3. A call that turns out long holds up none that was fed with it, in the same packet or behind.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshflow.core.calling import Call
from meshflow.ids import NodeId

LEASE_S = 0.5
"""For so long a lease is fed. More spreads what it costs to get one; less lets others have their turn sooner."""

LINGER_S = 0.02
"""A lease waits so long for the next call: a program that makes one call after the other keeps it."""

PACKET_S = 0.0005
"""Work in one packet, whose calls end together."""

AHEAD_S = 0.003
"""Work fed ahead: more than is done until the client has heard of results and feeds more."""

STALE_S = 0.02
"""What is behind a packet that runs for longer than this is taken back, and what has not begun of the packet."""

_MIN_AHEAD = 2
"""Packets, the one that runs included."""

HALT_S = 0.002
"""So long after a lease was told to begin no more of a packet, all that it has begun is seen."""


class Reach(Protocol):
    """What the shell can do about what leases were fed."""

    def take_back(self, lease: int) -> Sequence[int]:
        """Take back all packets of a lease that have not begun; which they were."""

    def halt(self, lease: int, packet: int) -> None:
        """Have a lease begin no more calls of a packet but for the first."""

    def begun(self, lease: int, packet: int) -> int:
        """How many calls of a packet a lease has begun."""


class NoReach:
    """That of a client without leases."""

    def take_back(self, lease: int) -> Sequence[int]:
        """Nothing was fed."""
        return ()

    def halt(self, lease: int, packet: int) -> None:
        """The same."""

    def begun(self, lease: int, packet: int) -> int:
        """The same."""
        return 0


@dataclass(slots=True)
class _Packet:
    number: int
    calls: tuple[Call, ...]
    work_s: float
    is_halted: bool = False
    """No more of its calls are begun."""
    split_at: float = math.inf
    """When those that were not begun can be known; infinity: it is not halted, or they are known."""


@dataclass(slots=True)
class _Lease:
    number: int
    node: NodeId
    queue: str
    opened_at: float = math.inf
    """When its process called; infinity: it has not."""
    packets: deque[_Packet] = field(default_factory=deque)
    """What it was fed and has not answered, in order; the first runs."""
    work_s: float = 0.0
    """What they hold."""
    since: float = 0.0
    """When it was fed the first of them, or has answered what came before."""
    is_ending: bool = False
    """It is fed no more."""

    @property
    def is_open(self) -> bool:
        return self.opened_at < math.inf and not self.is_ending

    @property
    def shared(self) -> _Packet | None:
        """The packet that runs, if it has more than one call."""
        return self.packets[0] if self.packets and len(self.packets[0].calls) > 1 else None

    def is_stale(self, now: float) -> bool:
        """Whether the call that runs has turned out long."""
        return bool(self.packets) and now - self.since >= STALE_S

    def has_room(self, now: float) -> bool:
        return self.is_open and not self.is_stale(now) and (len(self.packets) < _MIN_AHEAD or self.work_s < AHEAD_S)


class Leases:
    """The leases of one client."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._leases: dict[int, _Lease] = {}
        self._last_packet = 0

    def __len__(self) -> int:
        return len(self._leases)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._leases))

    def __contains__(self, lease: int) -> bool:
        return lease in self._leases

    def idle_counts(self) -> dict[str, int]:
        """How many leases of each queue have nothing to do, or were asked for and are not there yet."""
        counts: dict[str, int] = {}
        for lease in self._leases.values():
            if not lease.is_ending and not lease.packets:
                counts[lease.queue] = counts.get(lease.queue, 0) + 1
        return counts

    def ask(self, number: int, node: NodeId, queue: str) -> None:
        """The job of a lease is on its way to a node."""
        self._leases[number] = _Lease(number, node, queue)

    def opened(self, number: int, now: float) -> bool:
        """The process of a lease calls. False: that lease is not waited for (any more)."""
        lease = self._leases.get(number)
        if lease is None or lease.opened_at < math.inf:
            return False
        lease.opened_at = lease.since = now
        return True

    def hungriest(self, queues: Mapping[str, object], now: float) -> tuple[int, str] | None:
        """The lease of one of the queues that is to be fed next, and its queue; None if none has room."""
        found = [each for each in self._leases.values() if each.queue in queues and each.has_room(now)]
        if not found:
            return None
        lease = min(found, key=lambda each: (len(each.packets), each.work_s))
        return lease.number, lease.queue

    def feed(self, number: int, calls: tuple[Call, ...], work_s: float, now: float) -> int:
        """Feed calls, about so much work, to a lease that has room; the number of the packet."""
        lease = self._leases[number]
        self._last_packet += 1
        if not lease.packets:
            lease.since = now
        lease.packets.append(_Packet(self._last_packet, calls, work_s))
        lease.work_s += work_s
        return self._last_packet

    def answered(self, number: int, packet: int, now: float) -> tuple[Call, ...]:
        """The process has made the calls of a packet: which these are; none if that makes no sense."""
        lease = self._leases.get(number)
        if lease is None or not lease.packets or lease.packets[0].number != packet:
            return ()
        lease.since = now
        done = lease.packets.popleft()
        lease.work_s = lease.work_s - done.work_s if lease.packets else 0.0
        return done.calls

    def take_back(self, number: int) -> list[tuple[Call, ...]]:
        """The packets that a lease has not begun; it does not have them any more."""
        lease = self._leases[number]
        taken = dict.fromkeys(self._reach.take_back(number))
        calls = [packet.calls for packet in lease.packets if packet.number in taken]
        lease.packets = deque(packet for packet in lease.packets if packet.number not in taken)
        lease.work_s = sum(packet.work_s for packet in lease.packets)
        return calls

    def close(self, number: int) -> None:
        """A lease is fed no more."""
        if number in self._leases:
            self._leases[number].is_ending = True

    def ended(self, number: int) -> list[tuple[Call, ...]]:
        """A lease is over, as its node says, or because that is gone: the packets that its process had begun and not
        answered. To be called after `take_back`."""
        return [packet.calls for packet in self._leases.pop(number).packets]

    def has_only(self, number: int, call: Call) -> bool:
        """Whether a lease was fed this call and has not answered, and all else that it was fed is cancelled."""
        fed = [each for packet in self._leases[number].packets for each in packet.calls]
        return call in fed and all(each is call or each.is_cancelled for each in fed)

    def over(self, now: float) -> list[int]:
        """The leases that have been fed for long enough, or had nothing to do for too long; each told of once."""
        over = [
            lease
            for lease in self._leases.values()
            if lease.is_open
            and (now - lease.opened_at >= LEASE_S or (not lease.packets and now - lease.since >= LINGER_S))
        ]
        for lease in over:
            lease.is_ending = True
        return [lease.number for lease in over]

    def end_idle(self) -> list[int]:
        """The leases that have nothing to do; each is over from here on."""
        idle = [lease for lease in self._leases.values() if lease.is_open and not lease.packets]
        for lease in idle:
            lease.is_ending = True
        return [lease.number for lease in idle]

    @property
    def are_ending(self) -> bool:
        """Whether some have nothing to do any more, and are about to end."""
        return any(lease.is_ending and not lease.packets for lease in self._leases.values())

    def stuck(self, now: float, *, has_waiting: bool) -> list[int]:
        """The leases from which to take back what they have not begun."""
        behind = [lease for lease in self._leases.values() if len(lease.packets) > 1]
        stale = [lease.number for lease in behind if lease.is_ending or lease.is_stale(now)]
        if stale or has_waiting or not behind:
            return stale
        if any(lease.is_open and not lease.packets for lease in self._leases.values()):
            return [max(behind, key=lambda each: each.work_s).number]
        return []

    def relieved(self, now: float) -> list[tuple[Call, ...]]:
        """Calls that were fed in one packet with one that has turned out long, and have not begun: their leases do not
        have them any more."""
        relieved: list[tuple[Call, ...]] = []
        for lease in self._leases.values():
            packet = lease.shared
            if packet is None:
                continue
            if not packet.is_halted and lease.is_stale(now):
                self._reach.halt(lease.number, packet.number)
                packet.is_halted, packet.split_at = True, now + HALT_S
            elif now >= packet.split_at:
                packet.split_at = math.inf
                count = max(1, self._reach.begun(lease.number, packet.number))
                relieved.append(packet.calls[count:])
                packet.calls = packet.calls[:count]
        return relieved

    def deadline(self) -> float:
        """When `over`, `stuck` or `relieved` may find something without any input."""
        due = math.inf
        for lease in self._leases.values():
            if lease.is_open:
                due = min(due, lease.opened_at + LEASE_S, math.inf if lease.packets else lease.since + LINGER_S)
                if len(lease.packets) > 1:
                    due = min(due, lease.since + STALE_S)
            packet = lease.shared
            if packet is not None:
                due = min(due, packet.split_at if packet.is_halted else lease.since + STALE_S)
        return due
