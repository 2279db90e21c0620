"""The owner's end of pulling: which jobs wait here, who has credit, who must be told that there is work.

A node that wants work grants credit, a running total of jobs it will take from this owner. An owner with a waiting job
and credit hands out at once; without credit it offers to nodes that serve the queue and have not been told.

Invariants:
1. No node is handed more than it granted, and nothing of a queue it does not serve.
2. Messages per job stay bounded, in a mesh of any size: `fanout` offers for each, and so many again after pauses that
   double, as long as jobs wait. The nodes take turns, and each owner begins elsewhere.
3. An offer that got lost is repeated after `reoffer_s`.
4. What is done for a job does not grow with the number of nodes.

Source: credit-based flow control (zguide, chapter 7); a few probes per job, and late binding (Sparrow, SOSP 2013), by
nodes that pull when free.
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


_MIN_LOOKS = 16
"""Nodes that are looked at for an offer even if one is wanted only."""


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How an owner looks for takers."""

    reoffer_s: float = 1.0
    """Seconds after which an unanswered offer is repeated. Lower finds lost offers sooner and costs a message each."""
    fanout: int = 8
    """Nodes that are offered to for each job that comes and waits. In a mesh that is 85 % busy, with four slots to a
    node, one of eight has a free slot in 99.5 % of cases."""
    max_offers: int = 256
    """Nodes that are offered to at once."""
    spread_s: float = 0.002
    """Seconds after which the next nodes are told, about one round trip; twice as long after each round for which no
    job came, but not longer than `reoffer_s`."""
    resync_s: float = 2.0
    """Seconds after which jobs sent but not counted by their receiver are taken to have been lost on the way."""


@dataclass(slots=True)
class _Peer:
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

    pause_s: float
    jobs: JobQueue = field(default_factory=JobQueue)
    new_count: int = 0
    """Jobs that came since the last round of offers."""
    offered_at: float = -math.inf
    """When that was."""
    told_at: dict[NodeId, float] = field(default_factory=dict)
    """Who was told, and has not granted anything since: it will when it can."""
    owed: dict[NodeId, None] = field(default_factory=dict)
    """Who must be told now: it is new, or believes that nothing waits here."""

    def due_at(self, spread_s: float) -> float:
        """When the next offers are."""
        return -math.inf if self.owed else self.offered_at + (spread_s if self.new_count else self.pause_s)


@dataclass(frozen=True, slots=True)
class Handout:
    """Jobs that go to one node in one message, and how many more wait here for each that could serve them."""

    to: NodeId
    jobs: tuple[Waiting, ...]
    backlog: int


class Dispatcher:
    """All jobs that wait at the owner `me`, for any of its dag runs."""

    def __init__(self, settings: DispatchSettings, me: NodeId) -> None:
        self.settings = settings
        self._me = me
        self._queues: dict[NodeId, tuple[str, ...]] = {}
        """What each member serves."""
        self._serving: dict[str, list[NodeId]] = {}
        """The same by queue: whose turn for an offer it is comes at `_turns`."""
        self._turns: dict[str, int] = {}
        self._lines: dict[str, _Line] = {}
        self._peers: dict[NodeId, _Peer] = {}
        """Members that have told their totals, or were handed something."""
        self._with_credit: dict[NodeId, None] = {}
        self._emptied: dict[str, _Line] = {}
        """Queues that nothing waits on any more, which those who were offered them do not know."""

    @property
    def waiting(self) -> dict[str, int]:
        """How many jobs wait, by queue; queues without any are left out."""
        return {name: len(line.jobs) for name, line in self._lines.items()}

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive and what each serves; peers that are gone lose their credit."""
        before = self._queues
        self._queues = {member.id: () if member.is_draining else member.queues for member in members}
        self._serving = {}
        for member, queues in self._queues.items():
            for queue in queues:
                self._serving.setdefault(queue, []).append(member)
        for gone in [peer for peer in self._peers if peer not in self._queues]:
            del self._peers[gone]
            self._with_credit.pop(gone, None)
        for name, line in self._lines.items():
            line.told_at = {peer: at for peer, at in line.told_at.items() if peer in self._queues}
            serving = self._serving.get(name, ())
            line.owed = {peer: None for peer in serving if peer in line.owed or name not in before.get(peer, ())}

    def push(self, job: Waiting, queue: str, priority: int) -> None:
        """A job waits for a slot."""
        line = self._lines.get(queue)
        if line is None:
            line = self._emptied.pop(queue, None) or _Line(self.settings.spread_s)
            self._lines[queue] = line
        line.jobs.push(job, priority)
        line.new_count += 1

    def remove(self, job: Waiting) -> None:
        """The job waits no more."""
        for name, line in self._lines.items():
            if job in line.jobs:
                line.jobs.remove(job)
                if not len(line.jobs):
                    self._close(name)
                return

    def _close(self, name: str) -> None:
        line = self._lines.pop(name)
        if line.told_at:
            self._emptied[name] = line

    def demand(self, sender: NodeId, granted: int, received: int, now: float) -> None:
        """The node's running totals. Jobs long sent that it never received no longer count against its credit."""
        queues = self._queues.get(sender)
        if queues is None:
            return
        peer = self._peers.setdefault(sender, _Peer())
        for line in [self._lines[name] for name in queues if name in self._lines]:
            if granted > peer.granted:
                line.told_at.pop(sender, None)
            elif granted < peer.granted:
                # It took back what was not used in time, and thinks that there is nothing here.
                line.owed[sender] = None
        peer.granted = granted
        # One that was taken for gone has its totals from before, and all that was sent to it then was given up.
        if not peer.is_met or (peer.sent > received and now - peer.sent_at > self.settings.resync_s):
            peer.sent, peer.is_met = received, True
        self._note_credit(sender, peer)

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
        known = self._peers.setdefault(peer, _Peer()).codes
        if len(known) > _MAX_CODES_KNOWN:
            known.clear()
        missing = [digest for digest in dict.fromkeys(digests) if digest not in known]
        known.update(dict.fromkeys(missing))
        return missing

    def pump(self, now: float) -> list[Handout]:
        """Match waiting jobs with credit; those with most credit first, in turns, so that work spreads out."""
        jobs: dict[NodeId, list[Waiting]] = {}
        for name, line in list(self._lines.items()):
            takers = [peer for peer in self._with_credit if name in self._queues[peer]]
            takers.sort(key=lambda peer: -self._peers[peer].credit)
            self._deal(line.jobs, takers, jobs, now)
            if not len(line.jobs):
                self._close(name)
        return [Handout(to, tuple(given), self._tell_backlog(to, now)) for to, given in jobs.items()]

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
                del self._with_credit[taker]

    def _tell_backlog(self, peer: NodeId, now: float) -> int:
        """For jobs that go to the peer; to be told of others, it needs no offer then."""
        backlog = 0
        for name in self._queues[peer]:
            line = self._lines.get(name)
            if line is not None:
                line.told_at[peer] = now
                backlog += self._share(name, line)
        return backlog

    def _share(self, name: str, line: _Line) -> int:
        """How many jobs wait for each node that serves the queue, rounded up: what a node may take beyond its free
        slots without leaving another one idle."""
        return -(-len(line.jobs) // max(1, len(self._serving.get(name, ()))))

    def offers(self, now: float) -> list[tuple[NodeId, dict[str, int]]]:
        """Who must be told about which backlog, of each node's share, now. To be called after `pump`."""
        offers: dict[NodeId, dict[str, int]] = {}
        for name, line in self._lines.items():
            if now >= line.due_at(self.settings.spread_s):
                for peer in self._next_told(name, line, now):
                    line.told_at[peer] = now
                    offers.setdefault(peer, {})[name] = self._share(name, line)
        for name, line in self._emptied.items():
            for peer in line.told_at:
                # Lest a slot that becomes free there is kept for jobs that have gone elsewhere.
                offers[peer] = self._backlog_of(peer) | {name: 0}
        self._emptied = {}
        return list(offers.items())

    def _backlog_of(self, peer: NodeId) -> dict[str, int]:
        queues = [name for name in self._queues.get(peer, ()) if name in self._lines]
        return {name: self._share(name, self._lines[name]) for name in queues}

    def _next_told(self, name: str, line: _Line, now: float) -> list[NodeId]:
        told = [peer for peer in line.owed if self._lacks_credit(peer)]
        line.owed = {}
        if now < line.due_at(self.settings.spread_s):
            return told
        count, fanout = len(line.jobs), self.settings.fanout
        if line.new_count:
            count = fanout * min(count, line.new_count)
            line.pause_s = self.settings.spread_s
        else:
            count = max(count, 2 * fanout)
            line.pause_s = min(2 * line.pause_s, self.settings.reoffer_s)
        line.new_count, line.offered_at = 0, now
        return told + self._in_turn(name, line, min(count, self.settings.max_offers), now)

    def _in_turn(self, name: str, line: _Line, count: int, now: float) -> list[NodeId]:
        """Up to `count` that were not told of late. Whose turn it is was told longest ago, so few have to be looked
        at."""
        serving = self._serving.get(name, [])
        turn = self._turns.get(name, int.from_bytes(self._me.encode(), "big"))
        found: list[NodeId] = []
        for _ in range(min(len(serving), 4 * count + _MIN_LOOKS)):
            peer = serving[turn % len(serving)]
            turn = turn % len(serving) + 1
            if self._lacks_credit(peer) and line.told_at.get(peer, -math.inf) + self.settings.reoffer_s <= now:
                found.append(peer)
                if len(found) == count:
                    break
        self._turns[name] = turn
        return found

    def _lacks_credit(self, peer: NodeId) -> bool:
        return peer not in self._with_credit

    def deadline(self) -> float:
        """When `offers` is next due."""
        if self._emptied:
            return -math.inf
        return min((line.due_at(self.settings.spread_s) for line in self._lines.values()), default=math.inf)
