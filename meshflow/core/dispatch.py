"""The owner's end of pulling: which jobs wait here, who has credit, who must be told that there is work.

A node that wants work grants credit, a running total of jobs it will take from this owner. An owner with a waiting job
and credit hands out at once; without credit it offers, once, to nodes that serve the queue and have not been told.

Invariants:
1. No node is handed more than it granted, and nothing of a queue it does not serve.
2. Messages per job stay bounded: one offer per node while a queue stays non-empty, however many jobs pass through it.
3. An offer that got lost is repeated after `reoffer_s`.
4. What is done for a job does not grow with the number of nodes: all of them are looked at only when an offer is due.

Source: credit-based flow control (zguide, chapter 7); late binding (Sparrow, SOSP 2013) by nodes that pull when free.
"""

import math
from collections import deque
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
    is_met: bool = False
    """Whether it has told its totals since it became a member."""
    codes: dict[str, None] = field(default_factory=dict)

    @property
    def credit(self) -> int:
        return self.granted - self.sent


@dataclass(slots=True)
class _Line:
    """A queue that has jobs, and when it was offered to whom."""

    jobs: JobQueue = field(default_factory=JobQueue)
    told_at: dict[NodeId, float] = field(default_factory=dict)


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
        self._lines: dict[str, _Line] = {}
        self._peers: dict[NodeId, _Peer] = {}
        self._with_credit: dict[NodeId, None] = {}
        self._next_offer_at = math.inf

    @property
    def waiting(self) -> dict[str, int]:
        """How many jobs wait, by queue; queues without any are left out."""
        return {name: len(line.jobs) for name, line in self._lines.items()}

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive and what each serves; peers that are gone lose their credit."""
        present = {member.id: member for member in members}
        for gone in [peer for peer in self._peers if peer not in present]:
            del self._peers[gone]
            self._with_credit.pop(gone, None)
            for line in self._lines.values():
                line.told_at.pop(gone, None)
        for member in members:
            peer = self._peers.setdefault(member.id, _Peer())
            peer.queues = () if member.is_draining else member.queues
        self._next_offer_at = -math.inf

    def push(self, job: Waiting, queue: str, priority: int) -> None:
        """A job waits for a slot."""
        if queue not in self._lines:
            self._lines[queue] = _Line()
            self._next_offer_at = -math.inf
        self._lines[queue].jobs.push(job, priority)

    def remove(self, job: Waiting) -> None:
        """The job waits no more."""
        for name, line in self._lines.items():
            if job in line.jobs:
                line.jobs.remove(job)
                if not len(line.jobs):
                    del self._lines[name]
                return

    def demand(self, sender: NodeId, granted: int, received: int, now: float) -> None:
        """The node's running totals. Jobs long sent that it never received no longer count against its credit."""
        peer = self._peers.get(sender)
        if peer is None:
            return
        if granted < peer.granted:
            # It took back what was not used in time, and thinks that there is nothing here.
            for line in self._lines.values():
                line.told_at.pop(sender, None)
        peer.granted = granted
        # One that was taken for gone has its totals from before, and all that was sent to it then was given up.
        if not peer.is_met or (peer.sent > received and now - peer.sent_at > self.settings.resync_s):
            peer.sent, peer.is_met = received, True
        self._note_credit(sender, peer)
        if peer.credit <= 0:
            self._next_offer_at = -math.inf

    def refund(self, peer: NodeId) -> None:
        """A job that `pump` gave the peer was not sent after all."""
        if peer in self._peers:
            self._peers[peer].sent -= 1
            self._note_credit(peer, self._peers[peer])

    def _note_credit(self, peer: NodeId, state: _Peer) -> None:
        if state.credit > 0:
            self._with_credit[peer] = None
        else:
            self._with_credit.pop(peer, None)

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
        for name, line in list(self._lines.items()):
            takers = [peer for peer in self._with_credit if name in self._peers[peer].queues]
            takers.sort(key=lambda peer: -self._peers[peer].credit)
            self._deal(line.jobs, takers, jobs, now)
            if not len(line.jobs):
                del self._lines[name]
        return [Handout(to, tuple(given), self._backlog_for(to)) for to, given in jobs.items()]

    def _deal(self, queue: JobQueue, takers: list[NodeId], jobs: dict[NodeId, list[Waiting]], now: float) -> None:
        turns = deque(takers)
        while turns and (job := queue.pop()) is not None:
            taker = turns.popleft()
            state = self._peers[taker]
            state.sent += 1
            state.sent_at = now
            jobs.setdefault(taker, []).append(job)
            if state.credit > 0:
                turns.append(taker)
            else:
                # It is told with the jobs that more wait. Should that not be so, an offer follows.
                del self._with_credit[taker]
                self._next_offer_at = min(self._next_offer_at, now + self.settings.spread_s)

    def _backlog_for(self, peer: NodeId) -> int:
        return sum(len(self._lines[name].jobs) for name in self._peers[peer].queues if name in self._lines)

    def offers(self, now: float) -> list[tuple[NodeId, dict[str, int]]]:
        """Who must be told about which backlog now. To be called after `pump`."""
        if now < self._next_offer_at:
            return []
        self._next_offer_at = math.inf
        offers: dict[NodeId, dict[str, int]] = {}
        for name, line in self._lines.items():
            self._offer_line(name, line, offers, now)
        return list(offers.items())

    def _offer_line(self, name: str, line: _Line, offers: dict[NodeId, dict[str, int]], now: float) -> None:
        told = 0
        for peer, state in self._peers.items():
            if name not in state.queues or state.credit > 0:
                continue
            due_at = line.told_at.get(peer, -math.inf) + self.settings.reoffer_s
            if due_at > now:
                self._next_offer_at = min(self._next_offer_at, due_at)
            elif told < self.settings.fanout:
                told += 1
                line.told_at[peer] = now
                offers.setdefault(peer, {})[name] = len(line.jobs)
                self._next_offer_at = min(self._next_offer_at, now + self.settings.reoffer_s)
            else:
                self._next_offer_at = min(self._next_offer_at, now + self.settings.spread_s)

    def deadline(self) -> float:
        """When `offers` is next due."""
        return self._next_offer_at if self._lines else math.inf
