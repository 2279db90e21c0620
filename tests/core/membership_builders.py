"""Small machines and effects for the tests of membership, with round settings so that tests can name instants."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from meshflow.core.effects import Effect, Emit, Send, SendTo
from meshflow.core.events import Event
from meshflow.core.member import Member, Status
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Gossip, MembershipMessage, News, Probe, Verdict
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, member

CAT, DAN, EVE = NodeId("cat"), NodeId("dan"), NodeId("eve")
"""Further nodes."""

SETTINGS = MembershipSettings(
    probe_interval_s=1.0, probe_timeout_s=0.4, suspicion_mult=2.0, sync_interval_s=1000.0, revive_interval_s=1000.0
)
"""Suspicions of a few members last from 2 s to 12 s; syncs and contacts to the dead are out of the way."""

Message = TypeVar("Message", bound=MembershipMessage)


def machine(*known: NodeId, me: NodeId = ME, **settings: Any) -> Membership:
    """A machine of `me` that knows `known` and has been started at 0; keywords replace settings."""
    members = [member(node) for node in known]
    started = Membership(member(me), replace(SETTINGS, **settings), random.Random(1), members)
    started.tick(0.0)
    return started


def sent(effects: Sequence[Effect], kind: type[Message]) -> list[tuple[NodeId, Message]]:
    """The messages of one kind among `effects`, with their receivers."""
    return [
        (effect.to, effect.message)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, kind)
    ]


def contacted(effects: Sequence[Effect]) -> list[str]:
    """The addresses that are contacted without knowing who is there."""
    return [effect.address for effect in effects if isinstance(effect, SendTo)]


def events(effects: Sequence[Effect]) -> list[Event]:
    """What has happened, in order."""
    return [effect.event for effect in effects if isinstance(effect, Emit)]


def gossip(*updates: Member | Verdict) -> Gossip:
    """News made of records and verdicts."""
    members = tuple(update for update in updates if isinstance(update, Member))
    return Gossip(News(members, tuple(update for update in updates if isinstance(update, Verdict))))


def suspect(node: NodeId, *accusers: NodeId, incarnation: int = 0, cut_off: tuple[NodeId, ...] = ()) -> Verdict:
    """An accusation."""
    return Verdict(node, incarnation, Status.SUSPECT, accusers, cut_off)


def dead(node: NodeId, incarnation: int = 0) -> Verdict:
    """A verdict of death."""
    return Verdict(node, incarnation, Status.DEAD)


def left(node: NodeId, incarnation: int = 0) -> Verdict:
    """A goodbye."""
    return Verdict(node, incarnation, Status.LEFT)


def status_of(of: Membership, node: NodeId) -> Status:
    """What a machine believes of a node."""
    return of.members[node].status


def next_probe(of: Membership) -> tuple[float, NodeId, Probe]:
    """Tick at deadlines until a probe is sent: when, to whom, what."""
    for _ in range(1000):
        at = of.deadline()
        for to, probe in sent(of.tick(at), Probe):
            return at, to, probe
    raise AssertionError("no probe in 1000 ticks")


def live(of: Membership, seconds: range, *talking: NodeId) -> list[tuple[int, list[Effect]]]:
    """Tick every second while these peers talk all the time: the seconds, and what was done at each."""
    lived = []
    for at in seconds:
        for peer in talking:
            of.heard_from(peer, at - 0.01)
        lived.append((at, of.tick(float(at))))
    return lived


def converse(*machines: Membership, effects: Sequence[tuple[Membership, Sequence[Effect]]], now: float) -> None:
    """Deliver messages between machines, and what they answer, until all is said."""
    by_id = {each.me.id: each for each in machines}
    by_address = {each.me.address: each for each in machines}
    waiting = [(sender.me.id, effect) for sender, many in effects for effect in many]
    for _ in range(10_000):
        if not waiting:
            return
        sender, effect = waiting.pop(0)
        if isinstance(effect, Send | SendTo):
            to = by_id.get(effect.to) if isinstance(effect, Send) else by_address.get(effect.address)
            if to is not None:
                answers = to.handle(sender, effect.message, now)  # type: ignore[arg-type]
                waiting += [(to.me.id, answer) for answer in answers]
    raise AssertionError("they never stop talking")


__all__ = ["ANN", "BOB", "CAT", "DAN", "EVE", "ME", "member"]
