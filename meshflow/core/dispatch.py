"""The owner's end of pulling: which jobs wait here, who has credit, who must be told that there is work.

A node that wants work grants credit, a running total of jobs it will take from this owner. An owner with a waiting job
and credit hands out at once; without credit it offers, once, to nodes that serve the queue and have not been told.

Invariants:
1. No node is handed more than it granted, and nothing of a queue it does not serve.
2. Messages per job stay bounded: one offer per node while a queue stays non-empty, however many jobs pass through it.
3. An offer that got lost is repeated after `reoffer_s`.

Source: credit-based flow control (zguide, chapter 7); late binding (Sparrow, SOSP 2013) by nodes that pull when free.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshflow.core.member import Member
from meshflow.core.queue import JobQueue, Waiting
from meshflow.ids import NodeId

_MAX_CODES_KNOWN = 4096
"""Digests remembered per node; after that all are forgotten and sent again, which costs bytes, not correctness."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How an owner looks for takers."""

    reoffer_s: float = 1.0
    """Seconds after which an unanswered offer is repeated. Lower finds lost offers sooner and costs a message each."""
    fanout: int = 16
    """Nodes that are offered to at once; the rest follow after `spread_s`, so that one job does not wake a large
    mesh."""
    spread_s: float = 0.002
    """Seconds between such rounds, about one round trip."""
    resync_s: float = 2.0
    """Seconds after which jobs sent but not counted by their receiver are taken to have been lost on the way."""


@dataclass(slots=True)
class _Peer:
    queues: tuple[str, ...] = ()
    granted: int = 0
    sent: int = 0
    sent_at: float = -math.inf
    told_at: dict[str, float] = field(default_factory=dict)
    codes: dict[str, None] = field(default_factory=dict)

    @property
    def credit(self) -> int:
        return self.granted - self.sent


@dataclass(frozen=True, slots=True)
class Handout:
    """Jobs that go to one node in one message, and how many more wait here that it could serve."""

    to: NodeId
    jobs: tuple[Waiting, ...]
    backlog: int


class Dispatcher:
    """All jobs that wait at this node, as owner, for any of its dag runs."""

    def __init__(self, settings: DispatchSettings) -> None:
        self.settings = settings
        self._queues: dict[str, JobQueue] = {}
        self._queue_of: dict[Waiting, str] = {}
        self._peers: dict[NodeId, _Peer] = {}
        self._next_offer_at = math.inf

    @property
    def waiting(self) -> dict[str, int]:
        """How many jobs wait, by queue; queues without any are left out."""
        return {name: len(queue) for name, queue in self._queues.items() if len(queue)}

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive and what each serves; peers that are gone lose their credit."""
        present = {member.id: member for member in members}
        for gone in [peer for peer in self._peers if peer not in present]:
            del self._peers[gone]
        for member in members:
            peer = self._peers.setdefault(member.id, _Peer())
            peer.queues = () if member.is_draining else member.queues

    def push(self, job: Waiting, queue: str, priority: int) -> None:
        """A job waits for a slot."""
        self._queues.setdefault(queue, JobQueue()).push(job, priority)
        self._queue_of[job] = queue

    def remove(self, job: Waiting) -> None:
        """The job waits no more."""
        queue = self._queue_of.pop(job, None)
        if queue is not None:
            self._queues[queue].remove(job)

    def demand(self, sender: NodeId, granted: int, received: int, now: float) -> None:
        """The node's running totals. Jobs long sent that it never received no longer count against its credit."""
        peer = self._peers.get(sender)
        if peer is None:
            return
        peer.granted = granted
        if peer.sent > received and now - peer.sent_at > self.settings.resync_s:
            peer.sent = received

    def refund(self, peer: NodeId) -> None:
        """A job that `pump` gave the peer was not sent after all."""
        if peer in self._peers:
            self._peers[peer].sent -= 1

    def forget_codes(self, peer: NodeId) -> None:
        """The node lacks code that was sent to it; all of it is sent again when needed."""
        if peer in self._peers:
            self._peers[peer].codes.clear()

    def codes_to_send(self, peer: NodeId, digests: Sequence[str]) -> list[str]:
        """Which of `digests` this owner has not sent to the node yet; they count as sent from now on."""
        known = self._peers[peer].codes
        if len(known) > _MAX_CODES_KNOWN:
            known.clear()
        missing = [digest for digest in dict.fromkeys(digests) if digest not in known]
        known.update(dict.fromkeys(missing))
        return missing

    def pump(self, now: float) -> list[Handout]:
        """Match waiting jobs with credit; those with most credit first, in turns, so that work spreads out."""
        jobs: dict[NodeId, list[Waiting]] = {}
        for name, queue in self._queues.items():
            if not len(queue):
                continue
            takers = [peer for peer, state in self._peers.items() if state.credit > 0 and name in state.queues]
            takers.sort(key=lambda peer: -self._peers[peer].credit)
            self._deal(queue, takers, jobs, now)
        return [Handout(to, tuple(given), self._backlog_for(to)) for to, given in jobs.items()]

    def _deal(self, queue: JobQueue, takers: list[NodeId], jobs: dict[NodeId, list[Waiting]], now: float) -> None:
        while takers and len(queue):
            still: list[NodeId] = []
            for taker in takers:
                job = queue.pop()
                if job is None:
                    return
                del self._queue_of[job]
                state = self._peers[taker]
                state.sent += 1
                state.sent_at = now
                jobs.setdefault(taker, []).append(job)
                if state.credit > 0:
                    still.append(taker)
            takers = still

    def _backlog_for(self, peer: NodeId) -> int:
        return sum(len(self._queues[name]) for name in self._peers[peer].queues if name in self._queues)

    def offers(self, now: float) -> list[tuple[NodeId, dict[str, int]]]:
        """Who must be told about which backlog now. To be called after `pump`."""
        self._next_offer_at = math.inf
        offers: dict[NodeId, dict[str, int]] = {}
        for name, queue in self._queues.items():
            if not len(queue):
                for peer in self._peers.values():
                    peer.told_at.pop(name, None)
                continue
            self._offer_queue(name, len(queue), offers, now)
        return list(offers.items())

    def _offer_queue(self, name: str, count: int, offers: dict[NodeId, dict[str, int]], now: float) -> None:
        told = 0
        for peer, state in self._peers.items():
            if name not in state.queues or state.credit > 0:
                continue
            due_at = state.told_at.get(name, -math.inf) + self.settings.reoffer_s
            if due_at > now:
                self._next_offer_at = min(self._next_offer_at, due_at)
            elif told < self.settings.fanout:
                told += 1
                state.told_at[name] = now
                offers.setdefault(peer, {})[name] = count
                self._next_offer_at = min(self._next_offer_at, now + self.settings.reoffer_s)
            else:
                self._next_offer_at = min(self._next_offer_at, now + self.settings.spread_s)

    def deadline(self) -> float:
        """When `offers` is next due."""
        return self._next_offer_at
