"""A mesh that speaks membership and nothing else: nodes of `core/membership.py` on one heap of events, from one seed.

The machines are the real ones; only the network and the clock are made up. A message takes a random delay or is lost,
and may be cut off by a partition. Nodes can be killed, *blocked* (their clock runs, but messages to and from them wait:
the slow node of the Lifeguard paper), or *stalled* (they do not run at all for a while, and know it afterwards).

Invariants:
1. The same arguments give the same `digest()`, under any hash seed.
2. A killed node neither receives nor sends; what it sent before may still arrive.
"""

import hashlib
import heapq
import math
import random
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from meshflow.core.effects import Effect, Emit, Send, SendTo
from meshflow.core.events import MemberDied, MemberSuspected
from meshflow.core.member import Member
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import MembershipMessage
from meshflow.ids import NodeId, new_node_id
from meshflow.sim.message_bytes import message_bytes

_TICK, _DELIVER, _HINT, _WAKE = range(4)


class MakeMembership(Protocol):
    """Makes the machine of one node; tests pass broken ones."""

    def __call__(
        self, me: Member, settings: MembershipSettings, rng: random.Random, known: Iterable[Member]
    ) -> Membership:
        """A machine for `me` that knows `known`."""


@dataclass(frozen=True, slots=True)
class Link:
    """What every message goes through."""

    min_delay_s: float = 0.0005
    max_delay_s: float = 0.003
    loss: float = 0.0
    """Share of messages that never arrive, 0 to 1."""


@dataclass(slots=True)
class _Node:
    machine: Membership
    is_up: bool = True
    group: int = 0
    """Nodes of different groups cannot reach each other."""
    tick_at: float = math.inf
    blocked_until: float = -math.inf
    stalled_until: float = -math.inf
    held: list[Effect] = field(default_factory=list)
    """What a blocked node wants to send."""


@dataclass(frozen=True, slots=True)
class Death:
    """At `at`, node number `observer` declared node number `subject` dead."""

    at: float
    observer: int
    subject: int
    is_false: bool
    """The subject was up, and in the same part of the network."""


class MembershipMesh:
    """A mesh of `count` nodes that speak membership and nothing else. Nodes are named by their numbers."""

    def __init__(
        self,
        count: int,
        *,
        seed: int = 0,
        settings: MembershipSettings | None = None,
        link: Link | None = None,
        has_joined: bool = True,
        make: MakeMembership = Membership,
    ) -> None:
        """Start `count` nodes that know each other, or, if not `has_joined`, nobody."""
        self.now = 0.0
        self.settings = settings or MembershipSettings.lan()
        self.link = link or Link()
        self.message_count = 0
        self.sent_bytes = 0
        """Estimated; see `message_bytes`."""
        self.node_count = count
        self.deaths: list[Death] = []
        self.suspected_at: dict[int, float] = {}
        """When each node was first suspected by anyone."""
        self._told_at: dict[int, dict[int, float]] = {}
        """When each node was first declared dead by each other."""
        self._rng = random.Random(seed)
        self._hash = hashlib.blake2b(digest_size=16)
        self._events: list[tuple[float, int, int, int, object]] = []
        self._event_count = 0
        members = [_member(number, self._rng) for number in range(count)]
        self._number_of = {member.id: number for number, member in enumerate(members)}
        self._number_at = {member.address: number for number, member in enumerate(members)}
        known = members if has_joined else []
        self._nodes = [
            _Node(make(member, self.settings, random.Random(self._rng.getrandbits(64)), known)) for member in members
        ]
        for number in range(count):
            self._wake(number)

    # --- what may be done to the mesh ---

    def machine(self, number: int) -> Membership:
        """The machine of a node."""
        return self._nodes[number].machine

    def id_of(self, number: int) -> NodeId:
        """The id of a node."""
        return self._nodes[number].machine.me.id

    def numbers_up(self) -> list[int]:
        """Nodes that were not killed."""
        return [number for number, node in enumerate(self._nodes) if node.is_up]

    def join(self, number: int, seeds: Sequence[int]) -> None:
        """Have a node join by the addresses of others."""
        machine = self._nodes[number].machine
        addresses = [self._nodes[seed].machine.me.address for seed in seeds]
        self._perform(number, machine.join(addresses, self.now))

    def change(self, number: int) -> None:
        """Have a node change something about itself."""
        machine = self._nodes[number].machine
        self._perform(number, machine.change_me(self.now, slots=machine.me.slots + 1))

    def leave(self, number: int) -> None:
        """Have a node say goodbye and end."""
        node = self._nodes[number]
        self._perform(number, node.machine.leave(self.now))
        node.is_up = False

    def kill(self, number: int, hinted: Iterable[int] = ()) -> None:
        """End a node without a word; the connections that `hinted` have to it break."""
        self._nodes[number].is_up = False
        for peer in hinted:
            self._push(self.now + self._delay_s(), _HINT, peer, number)

    def split(self, groups: Sequence[Iterable[int]]) -> None:
        """Cut the network into these groups; whoever is in none of them is in a further one."""
        for node in self._nodes:
            node.group = -1
        for group, numbers in enumerate(groups):
            for number in numbers:
                self._nodes[number].group = group

    def heal(self) -> None:
        """End all partitions."""
        for node in self._nodes:
            node.group = 0

    def block(self, number: int, for_s: float) -> None:
        """Let messages to and from a node wait for a while; its clock runs."""
        self._nodes[number].blocked_until = self.now + for_s
        self._push(self.now + for_s, _WAKE, number, None)

    def stall(self, number: int, for_s: float) -> None:
        """Let a node not run at all for a while."""
        self._nodes[number].stalled_until = self.now + for_s

    # --- running it ---

    def run(self, until: float, is_done: Callable[[], bool] | None = None, every_s: float = 0.1) -> None:
        """Go on until this instant, or until `is_done`, which is asked every so often."""
        while self.now < until:
            stop_at = until if is_done is None else min(until, self.now + every_s)
            while self._events and self._events[0][0] <= stop_at:
                at, _, kind, number, payload = heapq.heappop(self._events)
                self.now = at
                self._happen(kind, number, payload)
            self.now = stop_at
            if is_done is not None and is_done():
                return

    def digest(self) -> str:
        """Stands for everything that has happened, in its order."""
        return self._hash.hexdigest()

    # --- what to ask about it ---

    def views_agree(self) -> bool:
        """Whether every node that is up knows exactly those that are up."""
        up = self.numbers_up()
        expected = {self.id_of(number) for number in up}
        first = self._nodes[up[0]].machine
        records = {member.id: member.incarnation for member in first.alive()}
        return records.keys() == expected and all(
            {member.id: member.incarnation for member in self._nodes[number].machine.alive()} == records
            for number in up[1:]
        )

    def all_know(self, number: int) -> bool:
        """Whether every node that is up has the present record of this one."""
        me = self._nodes[number].machine.me
        known = (node.machine.members.get(me.id) for node in self._nodes if node.is_up)
        return all(record is not None and record.incarnation == me.incarnation for record in known)

    def false_deaths(self) -> list[Death]:
        """Verdicts on nodes that were up and could be reached."""
        return [death for death in self.deaths if death.is_false]

    def known_at(self, subject: int, observers: Iterable[int] | None = None) -> float:
        """When the last of `observers` (all that are up) declared `subject` dead; infinity if one has not."""
        told = self._told_at.get(subject, {})
        others = [number for number in (observers or self.numbers_up()) if number != subject]
        return max(told.get(number, math.inf) for number in others)

    # --- inside ---

    def _happen(self, kind: int, number: int, payload: object) -> None:
        node = self._nodes[number]
        if not node.is_up:
            return
        if kind == _TICK and self.now != node.tick_at:
            return  # another one was arranged instead
        if self.now < node.stalled_until:
            self._push(node.stalled_until, kind, number, payload)
            node.tick_at = node.stalled_until if kind == _TICK else node.tick_at
            return
        if kind == _DELIVER and self.now < node.blocked_until:
            self._push(node.blocked_until, kind, number, payload)
            return
        self._hash.update(struct.pack("<dBI", self.now, kind, number))
        if kind == _TICK:
            self._tick(number, node)
        elif kind == _DELIVER:
            assert isinstance(payload, tuple)
            sender, message = payload
            self._perform(number, node.machine.handle(sender, message, self.now))
        elif kind == _HINT:
            assert isinstance(payload, int)
            self._perform(number, node.machine.disconnected(self.id_of(payload), self.now))
        else:
            held, node.held = node.held, []
            self._perform(number, held)

    def _tick(self, number: int, node: _Node) -> None:
        node.tick_at = math.inf
        late_s = self.now - node.machine.deadline()
        if node.stalled_until > -math.inf and 0 < late_s < math.inf:
            node.machine.loop_was_late(late_s, self.now)
            node.stalled_until = -math.inf
        if late_s >= 0:
            self._perform(number, node.machine.tick(self.now))
        else:
            self._wake(number)  # what it was to do has become unnecessary meanwhile

    def _perform(self, number: int, effects: Iterable[Effect]) -> None:
        node = self._nodes[number]
        is_blocked = self.now < node.blocked_until
        for effect in effects:
            match effect:
                case Send() | SendTo() if is_blocked:
                    node.held.append(effect)
                case Send(to=to, message=message):
                    self._transmit(number, self._number_of.get(to), message)
                case SendTo(address=address, message=message):
                    self._transmit(number, self._number_at.get(address), message)
                case Emit(event=MemberDied(member=member)):
                    self._note_death(number, self._number_of[member.id])
                case Emit(event=MemberSuspected(member=member)):
                    self.suspected_at.setdefault(self._number_of[member.id], self.now)
                case _:
                    pass
        self._wake(number)

    def _note_death(self, observer: int, subject: int) -> None:
        seen, victim = self._nodes[observer], self._nodes[subject]
        self._told_at.setdefault(subject, {}).setdefault(observer, self.now)
        self.deaths.append(Death(self.now, observer, subject, victim.is_up and victim.group == seen.group))

    def _transmit(self, sender: int, to: int | None, message: object) -> None:
        assert isinstance(message, MembershipMessage)
        self.message_count += 1
        self.sent_bytes += message_bytes(message)
        if to is None or self._nodes[to].group != self._nodes[sender].group:
            return
        if self.link.loss and self._rng.random() < self.link.loss:
            return
        self._push(self.now + self._delay_s(), _DELIVER, to, (self.id_of(sender), message))

    def _delay_s(self) -> float:
        return self.link.min_delay_s + self._rng.random() * (self.link.max_delay_s - self.link.min_delay_s)

    def _wake(self, number: int) -> None:
        """Have the node tick at its deadline."""
        node = self._nodes[number]
        at = max(node.machine.deadline(), self.now)
        if at < node.tick_at:
            node.tick_at = at
            self._push(at, _TICK, number, None)

    def _push(self, at: float, kind: int, number: int, payload: object) -> None:
        self._event_count += 1
        heapq.heappush(self._events, (at, self._event_count, kind, number, payload))


def _member(number: int, rng: random.Random) -> Member:
    high, low = divmod(number, 250)
    return Member(
        id=new_node_id(rng),
        address=f"tcp://10.0.{high}.{low + 1}:40000",
        name=f"beamline-{number}",
        host=f"host-{number}",
        pid=1000 + number,
        queues=("workflow", "dag", "task"),
        slots=8,
        store="mongodb://db.example/meshflow",
    )
