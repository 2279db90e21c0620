"""Who is here: failure detection, dissemination and joining, as one state machine without a socket or a clock.

Each node probes one peer per interval, in turn; a peer that answers neither directly nor through others becomes
suspect, and dead if it does not refute in time. Records and verdicts ride on probes and answers, and on gossip while
there is news. Now and then two nodes compare digests of their views, and the dead are contacted, so that whatever was
missed or split grows together again.

What the shell does:
1. It calls `handle` for every membership message, `heard_from` for everything else from an authenticated peer, and
   `tick` when `deadline()` has come, after it has handled what had arrived. It may call `tick` earlier or later.
2. It performs the effects in order. A `Send` to a member that cannot be reached is dropped; `Forget` closes what is
   open to a member, and a later `Send` or `SendTo` may open it again.
3. It calls `disconnected` when the peer's end of a connection is gone (closed, reset, or refused when opening it
   again), and not when it took the connection down itself, as for a heartbeat of the transport that was missed: a
   process that is stopped or slow has to get the longer time.
4. It calls `loop_was_late` before `tick` when its loop could not run for a while.

Invariants beside those of `beliefs.py` and `probing.py`:
1. A node that is alone, or whose seeds are not among the living, goes on contacting its seeds.
2. Time in which this node did not run does not count against others: all instants inside are on a clock that stands
   still meanwhile.
3. Messages per node and second do not grow with the mesh, except in the moments when views differ.

Source: SWIM (DSN 2002), Lifeguard (arXiv 1707.00788). Sync by digests, hints and contacting the dead are ours.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypedDict, Unpack, assert_never

from meshflow.core.beliefs import Beliefs
from meshflow.core.effects import Effect, Send, SendTo
from meshflow.core.member import Member, Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import (
    Gossip,
    MembershipMessage,
    News,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Sync,
    Verdict,
)
from meshflow.core.probing import PendingProbe, Probes
from meshflow.core.seeds import Seeds
from meshflow.core.view import MAX_RECORD_LENGTH, record_length
from meshflow.errors import UsageError
from meshflow.ids import NodeId

_NACK_SHARE = 0.8
"""Part of the asker's patience after which a helper gives up, so that its nack arrives in time (Lifeguard)."""

_REVIVE_FACTOR = 3.0
"""Contacts per dead member and interval by the whole mesh: with three, at least one happens in 19 of 20 intervals."""

_OPENING, _ANSWER, _CLOSING = 1, 2, 3
"""Steps of a sync."""

_SYNC_AGAIN_SHARE = 0.2
"""Part of the sync interval after which views are compared again if they differed: where something was missed, more
may have been, as when many nodes start at once."""


class MemberFields(TypedDict, total=False):
    """What a node may change about itself while it runs."""

    name: str
    queues: tuple[str, ...]
    slots: int
    store: str
    has_store: bool
    is_draining: bool


class Membership:
    """One node's part in the membership protocol. Peer input never raises."""

    def __init__(
        self, me: Member, settings: MembershipSettings, rng: random.Random, known: Iterable[Member] = ()
    ) -> None:
        """Start with `me` and, if others are known already, with `known`.

        Raises:
            UsageError: the record of `me` is longer than peers accept.
        """
        _check_length(me)
        self._settings = settings
        self._rng = rng
        self._beliefs = Beliefs(me, settings, rng, known)
        self._probes = Probes(settings.max_pending_probes)
        self._seeds = Seeds(settings.join_retry_s, settings.join_retry_max_s)
        self.members = self._beliefs.view.members
        """Everyone known, this node and the dead and gone of late included: `{NodeId: Member}`. Not to be changed."""
        self._has_started = False
        self._has_left = False
        self._lost_s = 0.0
        """Time in which this node did not run."""
        self._probe_at = self._gossip_at = self._sync_at = self._revive_at = 0.0

    @property
    def me(self) -> Member:
        """This node's own record."""
        return self._beliefs.view.me

    def alive(self) -> list[Member]:
        """Members that are alive or suspect, this node included, in the order in which they became known. The list is
        shared until the view changes; not to be changed by the caller."""
        return self._beliefs.view.living()

    # --- commands ---

    def join(self, addresses: Sequence[str], now: float) -> list[Effect]:
        """Make contact with the nodes at these addresses, now and until they are members; one is enough."""
        self._seeds.add([address for address in addresses if address != self.me.address], self._own_time(now))
        return self.tick(now)

    def contact(self, addresses: Iterable[str]) -> list[Effect]:
        """Make contact, once, with the nodes at those addresses that are unknown here. The dead of late are known, and
        contacted one by one (`_revive`)."""
        known = {member.address: None for member in self.members.values()}
        strange = [address for address in dict.fromkeys(addresses) if address not in known]
        return [] if self._has_left else [SendTo(address, self._opening()) for address in strange]

    def change_me(self, now: float, **fields: Unpack[MemberFields]) -> list[Effect]:
        """Change what this node says of itself, and spread it.

        Raises:
            UsageError: the record would be longer than peers accept; nothing was changed.
        """
        changed = replace(self.me, incarnation=self.me.incarnation + 1, **fields)
        _check_length(changed)
        self._beliefs.change_me(changed, self._own_time(now))
        return self.tick(now)

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to several peers at once; they tell the others. From then on this node is silent."""
        self._has_left = True
        self._beliefs.change_me(replace(self.me, status=Status.LEFT), self._own_time(now))
        goodbye = Gossip(News(verdicts=(Verdict(self.me.id, self.me.incarnation, Status.LEFT),)))
        return [Send(peer, goodbye) for peer in self._beliefs.rotation.sample(self._settings.leave_fanout)]

    def loop_was_late(self, seconds: float, now: float) -> None:
        """This node could not run for `seconds`: it trusts itself less, and others have not been silent meanwhile."""
        if self._settings.has_lifeguard and seconds >= self._settings.late_s:
            self._lost_s += seconds
            self._beliefs.health.worsen()

    # --- input ---

    def heard_from(self, sender: NodeId, now: float) -> None:
        """An authenticated message of another kind has come from `sender`, so it lives."""
        self._beliefs.heard_from(sender, self._own_time(now))

    def disconnected(self, peer: NodeId, now: float) -> list[Effect]:
        """The connection to `peer` broke: probe it at once, directly and through others, with little patience."""
        now = self._own_time(now)
        if self._has_left or peer == self.me.id or not self._beliefs.is_living(peer):
            return []
        self._beliefs.cut_off[peer] = None
        if self._probes.is_hint_pending(peer):
            return []
        lasts_s = self._settings.hint_timeout_s * self._beliefs.health.multiplier
        probe = self._probes.open(peer, now, lasts_s, is_hint=True)
        return [] if probe is None else [self._probe(probe), *self._ask_others(probe, now)]

    def handle(self, sender: NodeId, message: MembershipMessage, now: float) -> list[Effect]:
        """Take in a message from `sender`, which may be no member. It counts as life, like any other message."""
        now = self._own_time(now)
        if self._has_left or sender == self.me.id:
            return []
        self._beliefs.heard_from(sender, now)
        match message:
            case Probe(seq=seq, news=news):
                effects = self._beliefs.hear(news, sender, now)
                effects.append(Send(sender, ProbeAck(seq, self._beliefs.news_for(sender))))
            case ProbeAck(seq=seq, news=news):
                effects = self._beliefs.hear(news, sender, now)
                probe = self._probes.acked(seq, sender)
                effects += [] if probe is None else self._succeed(probe)
            case ProbeRequest(news=news):
                effects = [*self._beliefs.hear(news, sender, now), *self._help(sender, message, now)]
            case ProbeNack(seq=seq, is_cut_off=is_cut_off):
                effects = []
                self._probes.nacked(seq, sender, is_cut_off)
            case Gossip(news=news):
                effects = self._beliefs.hear(news, sender, now)
            case Sync():
                effects = self._hear_sync(sender, message, now)
            case _:
                assert_never(message)
        if sender not in self.members and not isinstance(message, Sync):
            effects.append(Send(sender, self._opening()))  # if it is a member, its answer will introduce it
        return effects

    # --- time ---

    def deadline(self) -> float:
        """When `tick` is due next; infinity: never."""
        if self._has_left:
            return math.inf
        beliefs = self._beliefs
        own_at = min(
            self._probe_at,
            self._probes.next_at(),
            beliefs.suspicions.next_at(),
            self._gossip_at if beliefs.queue else math.inf,
            self._sync_at,
            self._revive_at,
            self._seeds.next_at(),
        )
        at = own_at + self._lost_s
        # Rounding must not make it an instant at which `tick` finds nothing due: the shell would call it for ever.
        return at if self._own_time(at) >= own_at else math.nextafter(at, math.inf)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        now = self._own_time(now)
        if self._has_left:
            return []
        if not self._has_started:
            self._start(now)
        effects: list[Effect] = []
        for probe in self._probes.due(now):
            effects += self._fail(probe, now) if probe.has_asked else self._ask_others(probe, now)
        effects += self._beliefs.judge(now)
        if now >= self._probe_at:
            effects += self._open_round(now)
        if now >= self._sync_at:
            self._sync_at = now + self._settings.sync_interval_s
            effects += [Send(peer, self._opening()) for peer in self._beliefs.rotation.sample(1)]
        if now >= self._revive_at:
            effects += self._revive(now)
        if now >= self._seeds.next_at():
            effects += self._contact_seeds(now)
        if now >= self._gossip_at and self._beliefs.queue:
            effects += self._spread(now)
        return effects

    def _own_time(self, now: float) -> float:
        return now - self._lost_s

    def _start(self, now: float) -> None:
        # At random within their intervals, so that nodes started together do not act together ever after.
        self._has_started = True
        self._probe_at = now + self._rng.random() * self._settings.probe_interval_s
        self._sync_at = now + self._rng.random() * self._settings.sync_interval_s
        self._revive_at = now + self._rng.random() * self._settings.revive_interval_s

    # --- probing ---

    def _open_round(self, now: float) -> list[Effect]:
        settings, multiplier = self._settings, self._beliefs.health.multiplier
        lasts_s = settings.probe_interval_s * multiplier
        self._probe_at = now + lasts_s
        target = self._beliefs.rotation.next()
        if target is None:
            return []
        probe = self._probes.open(target, now, lasts_s, asks_after_s=settings.probe_timeout_s * multiplier)
        return [] if probe is None else [self._probe(probe)]

    def _probe(self, probe: PendingProbe) -> Effect:
        return Send(probe.target, Probe(probe.seq, self._beliefs.news_for(probe.target)))

    def _ask_others(self, probe: PendingProbe, now: float) -> list[Effect]:
        helpers = self._helpers(probe.target)
        left_s = self._probes.ask(probe, helpers, now)
        return [
            Send(helper, ProbeRequest(probe.seq, probe.target, left_s, self._beliefs.news_for(helper)))
            for helper in helpers
        ]

    def _helpers(self, target: NodeId) -> list[NodeId]:
        # Suspects would hardly answer, and their missing nacks would count against our own health.
        count = self._settings.indirect_count
        drawn = self._beliefs.rotation.sample(2 * count, without=target)
        return [peer for peer in drawn if self.members[peer].status is Status.ALIVE][:count]

    def _help(self, asker: NodeId, request: ProbeRequest, now: float) -> list[Effect]:
        """Probe for another, and answer at once if that is pointless."""
        if request.target == self.me.id:
            return [Send(asker, ProbeAck(request.seq, self._beliefs.news_for(asker)))]
        probe = None
        if self._beliefs.is_living(request.target):
            lasts_s = _NACK_SHARE * min(max(request.timeout_s, 0.0), self._longest_probe_s())
            probe = self._probes.open(request.target, now, lasts_s, asker=(asker, request.seq))
        return [Send(asker, ProbeNack(request.seq))] if probe is None else [self._probe(probe)]

    def _longest_probe_s(self) -> float:
        return self._settings.probe_interval_s * (1 + self._settings.max_health_score)

    def _succeed(self, probe: PendingProbe) -> list[Effect]:
        self._beliefs.answered(probe.target)
        if probe.asker is not None:
            asker, seq = probe.asker
            return [Send(asker, ProbeAck(seq, self._beliefs.news_for(asker)))]
        if not probe.is_hint:
            self._beliefs.health.improve()
        return []

    def _fail(self, probe: PendingProbe, now: float) -> list[Effect]:
        self._probes.close(probe)
        # After a hint only an answer counts: what else arrives may have been under way when the connection broke.
        if not probe.is_hint and self._beliefs.has_heard_since(probe.target, probe.sent_at):
            return self._succeed(probe)
        is_cut_off = probe.target in self._beliefs.cut_off
        if probe.asker is not None:
            asker, seq = probe.asker
            return [Send(asker, ProbeNack(seq, is_cut_off))]
        # Without helpers nobody can tell whose fault it is; with helpers, one that said nothing points at us.
        if not probe.is_hint and (probe.has_missed_nack or not probe.nacks):
            self._beliefs.health.worsen()
        cut_off_helpers = [(helper, True) for helper, answer in probe.nacks.items() if answer]
        return self._beliefs.accuse(probe.target, [(self.me.id, is_cut_off), *cut_off_helpers], now)

    # --- spreading, comparing, finding again ---

    def _spread(self, now: float) -> list[Effect]:
        self._gossip_at = now + self._settings.gossip_interval_s
        peers = self._beliefs.rotation.sample(self._settings.gossip_fanout)
        return [Send(peer, Gossip(self._beliefs.news_for(peer))) for peer in peers if self._beliefs.queue]

    def _opening(self) -> Sync:
        return Sync(_OPENING, (self.me,), self._beliefs.view.digests())

    def _hear_sync(self, sender: NodeId, message: Sync, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for record in message.members:
            effects += self._beliefs.hear_record(record, sender, now)
        if message.step == _ANSWER:
            self._sync_at = min(self._sync_at, now + _SYNC_AGAIN_SHARE * self._settings.sync_interval_s)
        if message.digests and message.step in (_OPENING, _ANSWER):
            effects += self._answer_sync(sender, message)
        return effects

    def _answer_sync(self, sender: NodeId, message: Sync) -> list[Effect]:
        """Send what differs, in messages of bounded size. Each begins with our own record: the sender may not know us,
        and what a stranger says counts only about itself."""
        view, size = self._beliefs.view, self._settings.max_sync_members
        parts = view.differing(message.digests)
        if not parts:
            return []
        members = view.in_parts(parts)
        pages = [(self.me, *members[start : start + size]) for start in range(0, len(members), size)] or [(self.me,)]
        if message.step == _ANSWER:
            return [Send(sender, Sync(_CLOSING, page)) for page in pages]
        *others, last = pages
        return [
            *(Send(sender, Sync(_ANSWER, page)) for page in others),
            Send(sender, Sync(_ANSWER, last, view.digests())),
        ]

    def _revive(self, now: float) -> list[Effect]:
        """Contact a dead member in case it is back; by chance, so that the mesh as a whole does so a few times each."""
        self._revive_at = now + self._settings.revive_interval_s
        view = self._beliefs.view
        self._beliefs.forget_outdated(now)
        dead = view.dead()
        if not dead or self._rng.random() * view.living_count >= _REVIVE_FACTOR * len(dead):
            return []
        return [SendTo(self.members[self._rng.choice(dead)].address, self._opening())]

    def _contact_seeds(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for address in self._seeds.due(now):
            if self._beliefs.view.at_address(address):
                self._seeds.rest(address, now)
            else:
                self._seeds.wait(address, now)
                effects.append(SendTo(address, self._opening()))
        return effects


def _check_length(me: Member) -> None:
    if record_length(me) > MAX_RECORD_LENGTH:
        raise UsageError(
            f"the texts in this node's record are {record_length(me)} characters long; expected at most"
            f" {MAX_RECORD_LENGTH}; serve fewer queues or give them shorter names"
        )
