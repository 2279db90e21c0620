"""What a node believes of the members, and how it changes its mind.

Three things change it: records that members spread about themselves, verdicts of others, and what this node finds out
by itself. Every change is queued to be spread, and told to the rest of the node as an event.

Invariants:
1. A claim changes a belief only if it is newer (`view.is_newer`); so doubled, late and reordered news do nothing.
2. Nobody is declared dead without having been suspect for a time, here or at a living peer that says so; except a
   member whose address now answers under another id.
3. A claim that this node is suspect or dead is refuted at once, towards all and towards the one who said it.
4. Whoever is accused by us, or is dead to us and still talks, is told so, and can refute (Lifeguard's buddy).
5. Nobody is buried on hearsay while it talks to us: such a verdict counts as an accusation.
6. What a stranger says counts only about itself, and makes it a member only if it is its own record; so a client,
   which sends other messages, never becomes one.

Source: SWIM, section 4.2; Lifeguard (arXiv 1707.00788); invariant 5 is ours.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from meshflow.core.effects import Effect, Emit, Forget, Send
from meshflow.core.events import MemberDied, MemberJoined, MemberLeft, MemberSuspected, MemberUpdated, Refuted
from meshflow.core.gossip import GossipQueue, transmit_limit
from meshflow.core.health import LocalHealth
from meshflow.core.member import Member, Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Gossip, News, Verdict
from meshflow.core.rotation import Rotation
from meshflow.core.suspicion import CUT_OFF_QUORUM, MAX_CONFIRMATIONS, Suspicions
from meshflow.core.view import MAX_INCARNATION, View, is_acceptable, is_living, is_newer
from meshflow.ids import NodeId

_MAX_HEARD = MAX_CONFIRMATIONS + 1 + CUT_OFF_QUORUM
"""No case has more accusers than this, so no verdict needs to be read any further."""


class Beliefs:
    """The view of one node, with all that belongs to changing it."""

    def __init__(self, me: Member, settings: MembershipSettings, rng: random.Random, known: Iterable[Member]) -> None:
        self.view = View(me, settings, known)
        self.suspicions = Suspicions(settings)
        self.queue = GossipQueue()
        self.rotation = Rotation(rng, [member.id for member in self.view.living() if member.id != me.id])
        self.health = LocalHealth(settings.max_health_score if settings.has_lifeguard else 0)
        self.cut_off: dict[NodeId, None] = {}
        """Living members to whom our connection broke, and who have not answered a probe since."""
        self._heard_at: dict[NodeId, float] = {}
        self._settings = settings
        self._my_id = me.id

    # --- what is known ---

    def is_living(self, member: NodeId) -> bool:
        """Whether `member` is known and neither dead nor gone."""
        record = self.view.members.get(member)
        return record is not None and is_living(record)

    def heard_from(self, sender: NodeId, now: float) -> None:
        """`sender` has said something, whatever it was."""
        if sender in self.view.members:
            self._heard_at[sender] = now

    def has_heard_since(self, member: NodeId, at: float) -> bool:
        """Whether `member` has said anything after `at`."""
        return self._heard_at.get(member, -math.inf) > at

    def news_for(self, peer: NodeId) -> News:
        """What to tell `peer` now: first of all what is said about itself, then what was spread least so far."""
        limit = transmit_limit(self._settings.transmit_mult, self.view.living_count)
        subjects = self.queue.take(self._settings.max_updates, limit) if self.queue else []
        if self._must_be_told(peer):
            subjects = [peer, *(subject for subject in subjects if subject != peer)]
        if not subjects:
            return _NO_NEWS
        records = [self.view.members[subject] for subject in subjects]
        return News(
            tuple([record for record in records if record.status is Status.ALIVE]),
            tuple([self.verdict(record) for record in records if record.status is not Status.ALIVE]),
        )

    def _must_be_told(self, peer: NodeId) -> bool:
        record = self.view.members.get(peer)
        if record is None or record.status is Status.ALIVE:
            return False
        return record.status is not Status.SUSPECT or self._settings.has_lifeguard

    def verdict(self, record: Member) -> Verdict:
        """What we say of a member that is not alive."""
        case = self.suspicions.get(record.id)
        if case is None:
            return Verdict(record.id, record.incarnation, record.status)
        cut_off = tuple([accuser for accuser, is_cut_off in case.accusers.items() if is_cut_off])
        return Verdict(record.id, record.incarnation, record.status, tuple(case.accusers), cut_off)

    # --- what others say ---

    def hear(self, news: News, sender: NodeId, now: float) -> list[Effect]:
        """Learn what `sender` passes on."""
        effects: list[Effect] = []
        for record in news.members:
            effects += self.hear_record(record, sender, now)
        if sender in self.view.members:
            for verdict in news.verdicts:
                effects += self._hear_verdict(verdict, sender, now)
        return effects

    def hear_record(self, record: Member, sender: NodeId, now: float) -> list[Effect]:
        """Learn a member's record, as it spread it or as it stands in the view of `sender`."""
        # Suspicion travels as verdicts, which name the accusers; a suspect in a view is a living member.
        status = Status.ALIVE if is_living(record) else record.status
        known = self.view.members.get(record.id)
        if known is not None and not is_newer(record.incarnation, status, known) and record.id != self._my_id:
            return []  # first, since it is what is found for nearly every record of a sync
        if not is_acceptable(record) or (sender != record.id and sender not in self.view.members):
            return []
        if status is Status.DEAD:
            return self._hear_rumour(record, sender, now)
        if status is Status.LEFT:
            return self._hear_verdict(Verdict(record.id, record.incarnation, status), sender, now)
        if record.id == self._my_id:
            is_forged = self.view.me.incarnation < record.incarnation < MAX_INCARNATION
            return self._refute(record.incarnation, record.status, sender, now) if is_forged else []
        return self._become_known(record, sender, now) if known is None else self._become_alive(record, now)

    def _hear_verdict(self, verdict: Verdict, sender: NodeId, now: float) -> list[Effect]:
        known = self.view.members.get(verdict.id)
        if known is None or verdict.status is Status.ALIVE or not 0 <= verdict.incarnation < MAX_INCARNATION:
            return []
        if verdict.id == self._my_id:
            return self._refute(verdict.incarnation, verdict.status, sender, now)
        if verdict.status is Status.SUSPECT:
            return self._hear_accusation(verdict, now)
        if not is_newer(verdict.incarnation, verdict.status, known):
            return []
        if verdict.status is Status.DEAD and not self.is_living(sender):
            return []  # whoever was cut off itself cannot tell who is dead
        if verdict.status is Status.DEAD and is_living(known) and self._talks(verdict.id, now):
            return self.accuse(verdict.id, [(sender, False)], now)
        return self._become_gone(verdict.id, verdict.incarnation, verdict.status, now)

    def _talks(self, member: NodeId, now: float) -> bool:
        is_fresh = self.has_heard_since(member, now - self._settings.probe_interval_s)
        return is_fresh and member not in self.cut_off

    def _hear_accusation(self, verdict: Verdict, now: float) -> list[Effect]:
        case = self.suspicions.get(verdict.id)
        if case is not None and case.incarnation == verdict.incarnation and not case.can_learn(bool(verdict.cut_off)):
            return []  # what is found for nearly every accusation in a storm of them
        return self._suspect(verdict.id, verdict.incarnation, self._accusers_in(verdict), now)

    def _accusers_in(self, verdict: Verdict) -> list[tuple[NodeId, bool]]:
        # Only living members count: nobody can make accusers up, and the dead were cut off themselves.
        cut_off = verdict.cut_off[:_MAX_HEARD]
        return [(accuser, accuser in cut_off) for accuser in verdict.accusers[:_MAX_HEARD] if self.is_living(accuser)]

    def _hear_rumour(self, record: Member, sender: NodeId, now: float) -> list[Effect]:
        """A view says that a member is dead. After a partition each side's view says it of the whole other side, so it
        must not be believed at once; but if it is true and the news never got here, it must be found out."""
        if record.id == self._my_id:
            return self._refute(record.incarnation, record.status, sender, now)
        known = self.view.members.get(record.id)
        if known is None or not is_living(known) or not is_newer(record.incarnation, Status.DEAD, known):
            return []
        effects: list[Effect] = []
        if self.is_living(sender):
            effects = self._suspect(record.id, record.incarnation, [(sender, False)], now)
        told = Verdict(record.id, record.incarnation, Status.DEAD)
        return [*effects, Send(record.id, Gossip(News(verdicts=(told,))))]

    # --- what we find out ---

    def accuse(self, suspect: NodeId, accusers: Sequence[tuple[NodeId, bool]], now: float) -> list[Effect]:
        """These accuse `suspect`, each with whether its connection to it broke as well; and it is told."""
        record = self.view.members.get(suspect)
        if record is None or not is_living(record):
            return []
        effects = self._suspect(suspect, record.incarnation, accusers, now)
        return [*effects, *self._tell_accused(suspect)]

    def judge(self, now: float) -> list[Effect]:
        """Declare suspects dead whose time to refute is over."""
        effects: list[Effect] = []
        for suspect in self.suspicions.due(now):
            case = self.suspicions.get(suspect)
            assert case is not None, f"a deadline without a case: {suspect!r}"
            if self.has_heard_since(suspect, case.started_at):
                self.cut_off.pop(suspect, None)
                self.suspicions.prolong(suspect, now)
                effects += self._tell_accused(suspect)
            else:
                effects += self._become_gone(suspect, case.incarnation, Status.DEAD, now)
        return effects

    def answered(self, member: NodeId) -> None:
        """A probe sent to `member` was answered."""
        self.cut_off.pop(member, None)

    def forget_outdated(self, now: float) -> None:
        """Forget who has been gone for long."""
        for member in self.view.outdated(now):
            self._forget(member)

    def change_me(self, changed: Member, now: float) -> None:
        """Put the own record in place and spread it."""
        self.view.put(changed, now)
        self.queue.add(changed.id)

    # --- changes of mind, each named for the new belief ---

    def _become_known(self, record: Member, sender: NodeId, now: float) -> list[Effect]:
        if not self._make_room():
            return []
        effects: list[Effect] = []
        if sender == record.id:
            # It speaks from there now, so whoever had this address before is gone. Hearsay would not do: it might be
            # the old member of whom we hear late.
            for old in self.view.at_address(record.address):
                if old.id != self._my_id:
                    effects += self._become_gone(old.id, old.incarnation, Status.DEAD, now)
        return [*effects, *self._become_alive(record, now)]

    def _become_alive(self, record: Member, now: float) -> list[Effect]:
        was_living = self.is_living(record.id)
        alive = record if record.status is Status.ALIVE else replace(record, status=Status.ALIVE)
        self.view.put(alive, now)
        self.suspicions.drop(alive.id)
        self.queue.add(alive.id)
        if was_living:
            return [Emit(MemberUpdated(alive))]
        self.rotation.add(alive.id)
        return [Emit(MemberJoined(alive))]

    def _suspect(
        self, member: NodeId, incarnation: int, accusers: Sequence[tuple[NodeId, bool]], now: float
    ) -> list[Effect]:
        record = self.view.members[member]
        if not accusers or not is_living(record) or incarnation < record.incarnation:
            return []
        effects: list[Effect] = []
        if is_newer(incarnation, Status.SUSPECT, record):
            record = replace(record, incarnation=incarnation, status=Status.SUSPECT)
            self.view.put(record, now)
            self.suspicions.start(member, incarnation, self.view.living_count, now)
            effects = [Emit(MemberSuspected(record))]
        if self.suspicions.accuse(member, accusers, self._quorum(), now):
            self.queue.add(member)
        return effects

    def _quorum(self) -> int:
        # Where every other connection of ours broke, too, nobody is left to say the same.
        others = self.view.living_count - 1
        return CUT_OFF_QUORUM if others > max(1, len(self.cut_off)) else 1

    def _become_gone(self, member: NodeId, incarnation: int, status: Status, now: float) -> list[Effect]:
        record = self.view.members[member]
        was_living = is_living(record)
        gone = replace(record, incarnation=incarnation, status=status)
        self.view.put(gone, now)
        self.queue.add(member)
        if not was_living:
            return []  # one that died and left, or died twice: told once
        self.suspicions.drop(member)
        self.rotation.remove(member)
        self.cut_off.pop(member, None)
        self._heard_at.pop(member, None)
        return [Emit(MemberDied(gone) if status is Status.DEAD else MemberLeft(gone)), Forget(member)]

    def _refute(self, claimed: int, status: Status, sender: NodeId, now: float) -> list[Effect]:
        me = self.view.me
        if claimed < me.incarnation:
            # It has been refuted already, and the sender has not heard it.
            return [Send(sender, Gossip(News(members=(me,))))]
        self.health.worsen()
        if status is Status.DEAD:
            self._doubt_myself(now)
        me = replace(me, incarnation=claimed + 1)
        self.change_me(me, now)
        return [Emit(Refuted(me.incarnation)), Send(sender, Gossip(News(members=(me,))))]

    def _doubt_myself(self, now: float) -> None:
        """Others took this node for dead, so it was cut off: whom it took for dead or suspect was out of reach only."""
        for member in self.view.dead():
            self.queue.drop(member)
        for suspect in self.suspicions.suspects():
            self.suspicions.prolong(suspect, now)

    def _tell_accused(self, member: NodeId) -> list[Effect]:
        if not self._settings.has_lifeguard:
            return []
        return [Send(member, Gossip(News(verdicts=(self.verdict(self.view.members[member]),))))]

    def _make_room(self) -> bool:
        members, limit = self.view.members, self._settings.max_members
        while len(members) >= limit and (oldest := self.view.oldest_tombstone()) is not None:
            self._forget(oldest)
        return len(members) < limit

    def _forget(self, member: NodeId) -> None:
        self.view.forget(member)
        self.queue.drop(member)
        self._heard_at.pop(member, None)


_NO_NEWS = News()
