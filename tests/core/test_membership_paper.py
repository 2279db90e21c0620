"""What the papers ask for, one test per rule; each says in our words what the section demands.

SWIM: Das, Gupta, Motivala, "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership Protocol",
DSN 2002.
Lifeguard: Dadgar, Phillips, Currey, "Lifeguard: Local Health Awareness for More Accurate Failure Detection",
arXiv 1707.00788.
"""

import math
import statistics

import pytest

from meshflow.core.effects import Send
from meshflow.core.events import MemberDied, MemberSuspected
from meshflow.core.gossip import transmit_limit
from meshflow.core.member import Status
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.messages import Gossip, News, Probe, ProbeAck, ProbeNack, ProbeRequest
from meshflow.core.suspicion import suspicion_s
from meshflow.core.view import is_newer
from meshflow.ids import NodeId
from meshflow.sim.membership import Setup, silence
from tests.core.membership_builders import (
    ANN,
    BOB,
    CAT,
    DAN,
    EVE,
    ME,
    SETTINGS,
    dead,
    events,
    gossip,
    machine,
    member,
    next_probe,
    sent,
    status_of,
    suspect,
)

Sent = tuple[float, NodeId, Probe]
"""When a probe was sent, to whom, and the probe."""


def fail_probe(me: Membership, at: float, target: NodeId, probe: Probe, nacks: bool = True) -> Sent:
    """Let a probe go without an answer, with nacks from all who are asked or from none; the next is sent as it ends."""
    scale = 1 + health(me)
    for helper, request in sent(me.tick(at + SETTINGS.probe_timeout_s * scale), ProbeRequest):
        assert (request.seq, request.target) == (probe.seq, target)
        if nacks:
            me.handle(helper, ProbeNack(request.seq), at)
    ends_at = at + SETTINGS.probe_interval_s * scale
    before = health(me)
    [(next_target, following)] = sent(me.tick(ends_at), Probe)
    assert health(me) >= before
    return ends_at, next_target, following


def pass_probe(me: Membership, at: float, target: NodeId, probe: Probe) -> Sent:
    """Answer a probe in time: the next one."""
    me.handle(target, ProbeAck(probe.seq), at)
    return next_probe(me)


def health(me: Membership) -> int:
    return me._beliefs.health.score


# --- SWIM ---


def test_swim_3_1_one_member_is_probed_per_period_and_an_ack_in_time_ends_it() -> None:
    """In each protocol period a member pings one other and waits for its ack."""
    me = machine(ANN, BOB)
    probe = next_probe(me)
    began_at = probe[0]
    for period in range(1, 6):
        probe = pass_probe(me, *probe)
        assert probe[0] == pytest.approx(began_at + period)
    assert {status_of(me, ANN), status_of(me, BOB)} == {Status.ALIVE}


def test_swim_3_1_without_an_ack_k_others_are_asked_to_ping_the_target() -> None:
    """After a timeout k members at random get a ping-req with the target's name."""
    me = machine(ANN, BOB, CAT, DAN, EVE, indirect_count=2)
    at, target, probe = next_probe(me)
    assert sent(me.tick(at + 0.39), ProbeRequest) == []
    requests = sent(me.tick(at + 0.4), ProbeRequest)
    assert len({helper for helper, _ in requests}) == 2
    assert target not in [helper for helper, _ in requests]
    assert {(request.seq, request.target) for _, request in requests} == {(probe.seq, target)}


def test_swim_3_1_a_helper_pings_and_passes_the_ack_back() -> None:
    me = machine(ANN, BOB)
    [(to, probe)] = sent(me.handle(ANN, ProbeRequest(7, BOB, 0.6), 0.1), Probe)
    assert to == BOB
    assert me.handle(BOB, ProbeAck(probe.seq), 0.2) == [Send(ANN, ProbeAck(7))]


def test_swim_3_1_an_ack_through_a_helper_is_as_good_as_a_direct_one() -> None:
    me = machine(ANN, BOB, CAT)
    at, target, probe = next_probe(me)
    [helper, *_] = [to for to, _ in sent(me.tick(at + 0.4), ProbeRequest)]
    me.handle(helper, ProbeAck(probe.seq), at + 0.9)
    assert events(me.tick(at + 1.0)) == []
    assert status_of(me, target) is Status.ALIVE


def test_swim_3_1_every_ping_is_answered() -> None:
    assert machine(ANN).handle(ANN, Probe(9), 1.0) == [Send(ANN, ProbeAck(9))]


def test_swim_3_1_the_time_to_first_detection_does_not_depend_on_the_size() -> None:
    """The expected number of periods in which a failed member is not pinged by anyone is the same in any group: whole
    periods up to the one that detects it are e/(e-1), 1.58, in the mean. Members that are not in step ping it after 1
    period in the mean, and our ping takes one more to fail. Means over 30 deaths have a standard error of 0.2."""
    interval_s = MembershipSettings().probe_interval_s
    for nodes in (16, 64):
        periods = [silence(Setup(nodes, seed=seed)).first_suspected_s / interval_s for seed in range(30)]
        assert 1.4 < statistics.mean(periods) < 2.6, nodes


def test_swim_4_1_news_ride_on_pings_acks_and_requests() -> None:
    """Membership updates need no messages of their own: they are piggybacked on those of the failure detector."""
    me = machine(ANN, BOB, CAT, gossip_interval_s=1e6, transmit_mult=50.0)
    me.handle(ANN, gossip(member(DAN)), 0.0)
    assert len(sent(me.tick(0.0), Gossip)) == 3, "the one round of gossip"
    told = News(members=(member(DAN),))
    assert me.handle(ANN, Probe(1), 0.0) == [Send(ANN, ProbeAck(1, told))]
    at, _, probe = next_probe(me)
    assert probe.news == told
    assert {request.news for _, request in sent(me.tick(at + 0.4), ProbeRequest)} == {told}


def test_swim_4_1_news_that_were_sent_less_often_go_first_and_each_a_number_of_times_that_grows_with_log_n() -> None:
    """An element is piggybacked at most lambda log n times, and the younger ones are preferred."""
    assert transmit_limit(4.0, 9) == 8
    assert transmit_limit(4.0, 99) == 12
    me = machine(ANN, BOB, max_updates=1, gossip_interval_s=1e6)
    me.handle(ANN, gossip(member(DAN)), 0.0)
    first = [me.handle(ANN, Probe(1), 0.0)[0].message.news.members[0].id for _ in range(1)]  # type: ignore[union-attr]
    me.handle(ANN, gossip(member(EVE)), 0.0)
    then = [me.handle(ANN, Probe(1), 0.0)[0].message.news.members[0].id for _ in range(2)]  # type: ignore[union-attr]
    assert (first, then) == ([DAN], [EVE, DAN])


def test_swim_4_2_a_member_that_does_not_answer_is_suspected_before_it_is_declared_failed() -> None:
    """The suspicion is spread; a suspect that was not cleared in time is declared faulty, and that is spread."""
    me = machine(ANN, BOB, CAT)
    at, target, _ = next_probe(me)
    me.tick(at + 0.4)
    effects = me.tick(at + 1.0)
    assert status_of(me, target) is Status.SUSPECT
    assert gossip(suspect(target, ME)) in [message for to, message in sent(effects, Gossip) if to != target]
    assert target in [each.id for each in me.alive()]
    for later in range(1, 14):
        for peer in {ANN, BOB, CAT} - {target}:
            me.heard_from(peer, at + later)
        effects = me.tick(at + later + 0.001)
    assert [event.member.id for event in events(effects) if isinstance(event, MemberDied)] == [target]
    assert gossip(dead(target)) in [message for _, message in sent(effects, Gossip)]


def test_swim_4_2_only_the_suspect_itself_raises_its_incarnation_and_so_clears_itself() -> None:
    suspected, other = machine(ANN, me=BOB), machine(BOB, CAT, me=ANN)
    other.handle(CAT, gossip(suspect(BOB, CAT)), 1.0)
    assert other.members[BOB].incarnation == 0
    suspected.handle(ANN, gossip(suspect(BOB, CAT)), 1.0)
    assert suspected.me.incarnation == 1
    other.handle(BOB, gossip(suspected.me), 1.0)
    assert other.members[BOB] == suspected.me


ALIVE, SUSPECT, CONFIRM = Status.ALIVE, Status.SUSPECT, Status.DEAD


@pytest.mark.parametrize(
    ("claim", "i", "known", "j", "overrides"),
    [
        (ALIVE, 2, SUSPECT, 1, True),
        (ALIVE, 1, SUSPECT, 1, False),
        (ALIVE, 2, ALIVE, 1, True),
        (ALIVE, 1, ALIVE, 1, False),
        (SUSPECT, 2, SUSPECT, 1, True),
        (SUSPECT, 1, SUSPECT, 1, False),
        (SUSPECT, 1, ALIVE, 1, True),
        (SUSPECT, 0, ALIVE, 1, False),
        (CONFIRM, 1, ALIVE, 1, True),
        (CONFIRM, 1, SUSPECT, 1, True),
    ],
)
def test_swim_4_2_order_of_precedence(claim: Status, i: int, known: Status, j: int, overrides: bool) -> None:
    """Alive overrides alive and suspect at higher numbers; suspect overrides alive at equal and higher ones and suspect
    at higher ones; confirm overrides both. Ours differs where the paper's dead never return: a confirm at an older
    incarnation loses, and alive at a newer one wins."""
    assert is_newer(i, claim, member(ANN, incarnation=j, status=known)) is overrides


def test_swim_4_3_every_member_is_probed_once_per_round_so_detection_is_bounded() -> None:
    """Two probes of one target are at most 2n - 1 periods apart: it is first in one round and last in the next."""
    peers = [NodeId(f"n{number}") for number in range(8)]
    me = machine(*peers)
    targets = []
    for _ in range(80):
        at, target, probe = next_probe(me)
        me.handle(target, ProbeAck(probe.seq), at)
        targets.append(target)
    rounds = [targets[start : start + 8] for start in range(0, 80, 8)]
    assert all(sorted(each) == sorted(peers) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 10, "in an order drawn anew"


# --- Lifeguard: local health aware probe ---


def test_lha_probe_interval_and_timeout_grow_with_the_local_health_multiplier() -> None:
    """Both are the base value times the score plus one, and the score has a limit."""
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(suspect(ME, ANN)), 0.0)
    me.handle(ANN, gossip(suspect(ME, ANN, incarnation=1)), 0.0)
    assert health(me) == 2
    at, _, _ = next_probe(me)
    assert sent(me.tick(at + 1.19), ProbeRequest) == []
    requests = sent(me.tick(at + 1.2), ProbeRequest)
    assert {round(request.timeout_s, 9) for _, request in requests} == {1.8}
    assert sent(me.tick(at + 2.9), Probe) == []
    assert len(sent(me.tick(at + 3.0), Probe)) == 1
    for incarnation in range(2, 30):
        me.handle(ANN, gossip(suspect(ME, ANN, incarnation=incarnation)), 0.0)
    assert health(me) == SETTINGS.max_health_score


def test_lha_probe_a_helper_says_that_it_got_no_answer_before_the_asker_gives_up() -> None:
    """The nack is sent at 80 % of the timeout."""
    me = machine(ANN, BOB)
    me.handle(ANN, ProbeRequest(7, BOB, 0.5), 0.0)
    assert sent(me.tick(0.39), ProbeNack) == []
    assert sent(me.tick(0.4), ProbeNack) == [(ANN, ProbeNack(7))]


def test_lha_probe_score_rises_when_helpers_are_silent_too_and_falls_with_each_answered_probe() -> None:
    """A missed nack speaks against ourselves. (We add one per failed probe, however many nacks are missing: it loses
    nothing against slow nodes, and a node on one side of a partition finds the other side dead sooner.)"""
    me = machine(ANN, BOB, CAT, DAN)
    probe = fail_probe(me, *next_probe(me), nacks=False)
    assert health(me) == 1
    probe = fail_probe(me, *probe, nacks=True)
    assert health(me) == 1, "the helpers are there, so the target is to blame"
    pass_probe(me, *pass_probe(me, *probe))
    assert health(me) == 0


def test_lha_probe_without_anyone_to_ask_a_failed_probe_counts() -> None:
    me = machine(ANN)
    fail_probe(me, *next_probe(me))
    assert health(me) == 1


def test_lha_probe_having_to_refute_and_running_late_speak_against_ourselves() -> None:
    me = machine(ANN)
    me.handle(ANN, gossip(suspect(ME, ANN)), 0.0)
    me.loop_was_late(1.0, 1.0)
    assert health(me) == 2


def test_lha_probe_without_lifeguard_the_score_stays_at_its_best() -> None:
    me = machine(ANN, has_lifeguard=False)
    fail_probe(me, *next_probe(me))
    me.handle(ANN, gossip(suspect(ME, ANN)), 0.0)
    assert health(me) == 0


# --- Lifeguard: local health aware suspicion ---


@pytest.mark.parametrize("confirmations", [0, 1, 2, 3])
def test_lha_suspicion_the_timeout_falls_with_the_logarithm_of_independent_confirmations(confirmations: int) -> None:
    """max(Min, Max - (Max - Min) log(C + 1) / log(K + 1)), with Max = beta Min and Min = alpha log10(n) intervals."""
    shortest, longest = 2.0, 12.0
    formula = longest - (longest - shortest) * math.log(confirmations + 1) / math.log(3 + 1)
    me = machine(*[NodeId(f"n{number}") for number in range(8)], BOB)
    for number in range(confirmations + 1):
        me.handle(NodeId("n7"), gossip(suspect(BOB, NodeId(f"n{number}"))), 0.0)
    assert suspicion_s(confirmations, 3, shortest, longest) == pytest.approx(formula)
    assert me._beliefs.suspicions.next_at() == pytest.approx(formula)


def test_lha_suspicion_the_first_k_confirmations_are_passed_on() -> None:
    """So that everyone has them; further ones would only cost messages."""
    me = machine(ANN, BOB, CAT, DAN, EVE, transmit_mult=0.1, confirmations=2, probe_interval_s=1000.0)
    told = []
    for accuser in (ANN, CAT, DAN, EVE):
        me.handle(accuser, gossip(suspect(BOB, accuser)), 0.0)
        told.append(len(sent(me.tick(me.deadline()), Gossip)))
    assert told == [1, 1, 1, 0]


# --- Lifeguard: buddy system ---


def test_buddy_a_suspect_is_told_by_the_very_ping_that_asks_whether_it_lives() -> None:
    """First of all news, and even when the news was spread often enough."""
    me = machine(BOB, ANN, CAT)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 0.0)
    told = suspect(BOB, ANN)
    for _ in range(30):
        assert told in me.handle(BOB, Probe(1), 0.0)[0].message.news.verdicts  # type: ignore[union-attr]
    for _ in range(3):
        at, target, probe = next_probe(me)
        me.handle(target, ProbeAck(probe.seq), at)
        assert (told in probe.news.verdicts) is (target == BOB)


def test_buddy_the_accuser_tells_the_accused_at_once() -> None:
    me = machine(ANN, BOB, CAT)
    at, target, _ = next_probe(me)
    me.tick(at + 0.4)
    effects = me.tick(at + 1.0)
    assert events(effects) == [MemberSuspected(member(target, status=Status.SUSPECT))]
    assert (target, gossip(suspect(target, ME))) in sent(effects, Gossip)
