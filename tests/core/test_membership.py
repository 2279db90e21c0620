"""What the membership machine sends, and when: joining, syncs, probes for others, hints, lateness, leaving."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.effects import Send, SendTo
from meshflow.core.events import MemberDied, MemberSuspected
from meshflow.core.member import Status
from meshflow.core.membership import Membership
from meshflow.core.messages import Gossip, Probe, ProbeAck, ProbeNack, ProbeRequest, Sync
from meshflow.core.view import DIGEST_PARTS, MAX_RECORD_LENGTH
from meshflow.errors import UsageError
from meshflow.ids import NodeId
from tests.core.membership_builders import (
    ANN,
    BOB,
    CAT,
    DAN,
    ME,
    SETTINGS,
    contacted,
    converse,
    dead,
    events,
    gossip,
    left,
    live,
    machine,
    member,
    next_probe,
    sent,
    status_of,
    suspect,
)

# --- joining and comparing ---


def opening(of: Membership) -> Sync:
    """What a machine would open a sync with now."""
    [message] = [effect.message for effect in of.join(["sim://nowhere"], 1.0) if isinstance(effect, SendTo)]
    assert isinstance(message, Sync)
    return message


def test_joining_contacts_every_address_but_the_own_one() -> None:
    me = machine()
    assert contacted(me.join(["sim://ann", me.me.address, "sim://bob"], 1.0)) == ["sim://ann", "sim://bob"]


def test_a_seed_is_contacted_again_and_again_less_and_less_often_until_it_is_a_member() -> None:
    me = machine(join_retry_s=1.0, join_retry_max_s=5.0)
    me.join(["sim://ann"], 0.0)
    tried_at = [at for at in range(1, 30) if contacted(me.tick(float(at)))]
    assert tried_at == [1, 3, 7, 12, 17, 22, 27]
    me.handle(ANN, Sync(2, (member(ANN),)), 29.5)
    assert [at for at, effects in live(me, range(30, 60), ANN) if contacted(effects)] == []


def test_a_seed_that_dies_is_contacted_again() -> None:
    """So a partition heals even if it outlasts all tombstones."""
    me = machine(ANN, BOB, join_retry_s=1.0, join_retry_max_s=5.0)
    assert contacted(me.join(["sim://ann"], 1.0)) == [], "it is a member already"
    me.handle(BOB, gossip(dead(ANN)), 2.0)
    assert contacted(me.tick(6.0)) == ["sim://ann"]


def test_one_sync_makes_joiner_and_seed_know_all_that_both_know() -> None:
    joiner, seed = machine(DAN, me=ANN), machine(CAT, me=BOB)
    converse(joiner, seed, effects=[(joiner, joiner.join(["sim://bob"], 1.0))], now=1.0)
    assert sorted(joiner.members) == sorted(seed.members) == [ANN, BOB, CAT, DAN]


def test_equal_views_are_compared_and_not_sent() -> None:
    ann, bob = machine(BOB, me=ANN), machine(ANN, me=BOB)
    assert bob.handle(ANN, opening(ann), 1.0) == []


def test_only_what_may_differ_is_sent_in_messages_of_bounded_size() -> None:
    peers = [NodeId(f"n{number}") for number in range(100)]
    seed = machine(*peers, me=BOB, max_sync_members=30)
    answers = [
        message for _, message in sent(seed.handle(ANN, Sync(1, (member(ANN),), (0,) * DIGEST_PARTS), 1.0), Sync)
    ]
    assert all(len(answer.members) <= 31 and answer.members[0].id == BOB for answer in answers)
    assert len(answers) == 4
    assert {each.id for answer in answers for each in answer.members} == {*peers, ANN, BOB}
    assert [bool(answer.digests) for answer in answers] == [False, False, False, True]
    assert all(answer.step == 2 for answer in answers)


def test_whoever_knows_less_is_answered_so_that_it_can_be_told() -> None:
    """Here ANN knows CAT, and BOB has nobody in that part of the view."""
    ann, bob = machine(BOB, CAT, me=ANN), machine(ANN, me=BOB)
    converse(ann, bob, effects=[(ann, [Send(BOB, opening(ann))])], now=1.0)
    assert CAT in bob.members


def test_a_sync_ends_after_three_messages_even_between_views_that_cannot_agree() -> None:
    ann, bob = machine(BOB, me=ANN), machine(ANN, me=BOB)
    ann.handle(BOB, gossip(member(CAT)), 1.0)
    bob.handle(ANN, gossip(member(CAT)), 1.0)
    bob.handle(ANN, gossip(dead(CAT)), 1.0)
    converse(ann, bob, effects=[(ann, [Send(BOB, opening(ann))])], now=1.0)


def test_a_sync_step_nobody_knows_is_not_answered() -> None:
    assert machine(ANN).handle(ANN, Sync(9, (), (0,) * DIGEST_PARTS), 1.0) == []


def test_views_are_compared_with_a_random_member_now_and_then() -> None:
    me = machine(ANN, BOB, sync_interval_s=10.0)
    asked = [to for _, effects in live(me, range(1, 101), ANN, BOB) for to, _ in sent(effects, Sync)]
    assert len(asked) in (10, 11)
    assert set(asked) == {ANN, BOB}


def test_a_dead_member_is_contacted_now_and_then_and_one_that_left_is_not() -> None:
    me = machine(ANN, BOB, CAT, revive_interval_s=10.0)
    me.handle(ANN, gossip(dead(BOB), left(CAT)), 1.0)
    addresses = [address for _, effects in live(me, range(1, 101), ANN) for address in contacted(effects)]
    assert set(addresses) == {"sim://bob"}
    assert 8 <= len(addresses) <= 11


def test_the_dead_of_late_are_not_contacted_each_time_that_a_list_names_them() -> None:
    """A node that was killed stays in the list of the store for a while; each contact is a connection to nobody."""
    me = machine(ANN, BOB)
    me.handle(ANN, gossip(dead(BOB)), 1.0)
    assert contacted(me.contact([member(ANN).address, member(BOB).address, "sim://who"])) == ["sim://who"]


def test_tombstones_are_forgotten() -> None:
    me = machine(ANN, BOB, CAT, revive_interval_s=10.0, tombstone_s=50.0)
    me.handle(ANN, gossip(dead(BOB), left(CAT)), 1.0)
    live(me, range(1, 70), ANN)
    assert list(me.members) == [ANN, ME]


def test_a_stranger_that_probes_is_answered_and_asked_who_it_is() -> None:
    me = machine(ANN)
    effects = me.handle(BOB, Probe(5), 1.0)
    assert sent(effects, ProbeAck) == [(BOB, ProbeAck(5))]
    assert [(to, message.step, message.members) for to, message in sent(effects, Sync)] == [(BOB, 1, (me.me,))]
    assert BOB not in me.members


def test_what_a_client_sends_otherwise_leaves_no_trace() -> None:
    me = machine(ANN)
    me.heard_from(BOB, 1.0)
    assert list(me.members) == [ANN, ME]


# --- probes for others ---


def test_a_probe_for_another_brings_it_an_ack() -> None:
    me = machine(ANN, BOB)
    [(to, probe)] = sent(me.handle(ANN, ProbeRequest(70, BOB, 1.0), 1.0), Probe)
    assert to == BOB
    assert me.handle(BOB, ProbeAck(probe.seq), 1.1) == [Send(ANN, ProbeAck(70))]
    assert sent(me.tick(3.0), ProbeNack) == []


def test_a_target_that_says_anything_at_all_is_as_good_as_an_ack() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, ProbeRequest(70, BOB, 1.0), 1.0)
    me.heard_from(BOB, 1.5)
    assert (ANN, ProbeAck(70)) in sent(me.tick(1.8), ProbeAck)


def test_a_probe_for_another_that_is_pointless_is_answered_at_once() -> None:
    me = machine(ANN, BOB, max_pending_probes=1)
    assert me.handle(ANN, ProbeRequest(70, CAT, 1.0), 1.0) == [Send(ANN, ProbeNack(70))], "unknown"
    assert me.handle(ANN, ProbeRequest(71, ME, 1.0), 1.0) == [Send(ANN, ProbeAck(71))], "it is me"
    me.handle(ANN, ProbeRequest(72, BOB, 1.0), 1.0)
    assert me.handle(ANN, ProbeRequest(73, BOB, 1.0), 1.0) == [Send(ANN, ProbeNack(73))], "too many"


def test_an_asker_that_is_very_patient_does_not_keep_a_probe_for_ever() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, ProbeRequest(70, BOB, 1e300), 1.0)
    me.handle(ANN, ProbeRequest(71, BOB, -5.0), 1.0)
    assert (ANN, ProbeNack(71)) in sent(me.tick(1.0), ProbeNack)
    nacks = [nack for at in range(2, 10) for _, nack in sent(me.tick(float(at)), ProbeNack)]
    assert ProbeNack(70) in nacks


# --- hints ---


def hinted(*known: NodeId, now: float = 0.01) -> Membership:
    """A machine whose connection to BOB has just broken, before any probe of its own."""
    me = machine(*known)
    me.disconnected(BOB, now)
    return me


def test_a_broken_connection_has_its_peer_probed_at_once_directly_and_through_others() -> None:
    me = machine(ANN, BOB, CAT)
    effects = me.disconnected(BOB, 0.01)
    [(target, probe)] = sent(effects, Probe)
    assert target == BOB
    requests = sent(effects, ProbeRequest)
    assert sorted(to for to, _ in requests) == [ANN, CAT]
    assert {request for _, request in requests} == {ProbeRequest(probe.seq, BOB, SETTINGS.hint_timeout_s)}
    assert events(effects) == [], "a hint is no proof"


@pytest.mark.parametrize("answering", [BOB, ANN])
def test_a_peer_that_answers_a_probe_on_a_hint_is_not_suspected(answering: NodeId) -> None:
    me = hinted(ANN, BOB)
    assert me.handle(answering, ProbeAck(1), 0.1) == []
    assert events(me.tick(0.17)) == []


def test_what_was_under_way_when_the_connection_broke_is_no_answer() -> None:
    me = hinted(ANN, BOB)
    me.heard_from(BOB, 0.05)
    assert events(me.tick(0.17)) == [MemberSuspected(member(BOB, status=Status.SUSPECT))]


def test_a_peer_whose_connections_broke_here_and_at_another_dies_soon() -> None:
    me = hinted(ANN, BOB, CAT)
    me.handle(ANN, ProbeNack(1, is_cut_off=True), 0.1)
    effects = me.tick(0.16)
    assert events(effects) == [MemberSuspected(member(BOB, status=Status.SUSPECT))]
    assert (BOB, gossip(suspect(BOB, ME, ANN, cut_off=(ME, ANN)))) in sent(effects, Gossip)
    assert events(me.tick(0.40)) == []
    assert events(me.tick(0.42)) == [MemberDied(member(BOB, status=Status.DEAD))]


def test_a_peer_whose_connection_broke_only_here_gets_the_time_of_any_suspect() -> None:
    me = hinted(ANN, BOB, CAT)
    me.handle(ANN, ProbeNack(1), 0.1)
    me.handle(CAT, ProbeNack(1), 0.1)
    me.tick(0.16)
    assert events(me.tick(12.0)) == []
    assert events(me.tick(12.2)) == [MemberDied(member(BOB, status=Status.DEAD))]


def test_where_nobody_else_is_left_the_own_broken_connection_is_enough() -> None:
    me = machine(ANN, BOB)
    me.disconnected(ANN, 0.01)
    me.disconnected(BOB, 0.01)
    me.tick(0.17)
    assert {type(event) for event in events(me.tick(0.43))} == {MemberDied}
    assert [each.id for each in me.alive()] == [ME]


def test_a_peer_whose_last_witness_dies_a_little_later_does_not_wait_for_it() -> None:
    """Both processes are killed, the second just after it was counted on to confirm the first. Alone that would take
    12 s."""
    me = hinted(ANN, BOB)
    me.tick(0.17)
    me.disconnected(ANN, 0.2)
    while me.deadline() < 8.0:
        me.tick(me.deadline())
    assert [each.id for each in me.alive()] == [ME]


def test_a_nack_says_that_the_connection_of_the_helper_broke_as_well() -> None:
    me = hinted(ANN, BOB)
    me.handle(ANN, ProbeRequest(70, BOB, 0.1), 0.02)
    assert (ANN, ProbeNack(70, is_cut_off=True)) in sent(me.tick(0.11), ProbeNack)


def test_hints_that_tell_nothing_are_ignored() -> None:
    me = hinted(ANN, BOB, CAT)
    me.handle(ANN, gossip(dead(CAT)), 0.02)
    assert me.disconnected(BOB, 0.03) == [], "being looked into"
    assert me.disconnected(CAT, 0.03) == [], "dead already"
    assert me.disconnected(NodeId("client"), 0.03) == []
    assert me.disconnected(ME, 0.03) == []
    assert machine(ANN, BOB, max_pending_probes=1).disconnected(BOB, 0.0) != []


def test_hints_have_a_bound() -> None:
    me = machine(ANN, BOB, max_pending_probes=1)
    me.disconnected(ANN, 0.01)
    assert me.disconnected(BOB, 0.01) == []


# --- time ---


def test_an_early_tick_does_nothing() -> None:
    me = machine(ANN, BOB)
    at, _, _ = next_probe(me)
    assert me.tick(at) == []
    assert me.tick(0.0) == []


def test_a_late_tick_asks_others_before_it_accuses() -> None:
    """The answer may be among what has not been read yet."""
    me = machine(ANN, BOB)
    at, target, _ = next_probe(me)
    effects = me.tick(at + 100.0)
    assert [request.target for _, request in sent(effects, ProbeRequest)] == [target]
    assert status_of(me, target) is Status.ALIVE


def test_time_in_which_this_node_did_not_run_does_not_count_against_others() -> None:
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0)
    me.loop_was_late(1000.0, 1010.0)
    assert events(me.tick(1010.0)) == []
    assert status_of(me, BOB) is Status.SUSPECT
    while status_of(me, BOB) is Status.SUSPECT:
        died_at = me.deadline()
        me.tick(died_at)
    assert died_at == pytest.approx(1013.0)


def test_a_little_lateness_is_normal() -> None:
    me = machine(ANN, BOB)
    before = me.deadline()
    me.loop_was_late(SETTINGS.late_s * 0.99, 1.0)
    assert me.deadline() == before
    me.loop_was_late(SETTINGS.late_s, 1.0)
    assert me.deadline() == before + SETTINGS.late_s


def test_without_lifeguard_lateness_changes_nothing() -> None:
    me = machine(ANN, BOB, has_lifeguard=False)
    before = me.deadline()
    me.loop_was_late(100.0, 1.0)
    assert me.deadline() == before


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.0, 3.0)), max_size=20))
def test_a_tick_at_the_deadline_always_finds_something_to_do(lateness: list[tuple[float, float]]) -> None:
    """Rounding must not make the shell spin on a deadline that never passes."""
    me = machine(ANN, BOB)
    now = 0.0
    for late_s, pause_s in lateness:
        now = max(now + pause_s, me.deadline()) + late_s
        me.loop_was_late(late_s, now)
        now = max(now, me.deadline())
        me.tick(now)
        assert me.deadline() > now


# --- what this node says of itself ---


def test_a_change_is_spread_at_a_higher_incarnation() -> None:
    me = machine(ANN)
    effects = me.change_me(1.0, queues=("gpu",), is_draining=True)
    changed = member(ME, incarnation=1, queues=("gpu",), is_draining=True)
    assert me.me == changed
    assert sent(effects, Gossip) == [(ANN, gossip(changed))]


def test_a_record_that_peers_would_not_accept_is_refused_here() -> None:
    with pytest.raises(UsageError, match=r"record are 5.* expected at most 4096; serve fewer queues"):
        Membership(member(ME, name="x" * 5000), SETTINGS, random.Random(1))
    me = machine()
    with pytest.raises(UsageError, match="expected at most 4096"):
        me.change_me(1.0, queues=("x" * MAX_RECORD_LENGTH,))
    assert me.me == member(ME)


def test_leaving_tells_several_peers_at_once_and_then_nothing_more() -> None:
    me = machine(ANN, BOB, CAT, DAN, leave_fanout=3)
    effects = me.leave(1.0)
    assert len({to for to, _ in sent(effects, Gossip)}) == len(effects) == 3
    assert {message for _, message in sent(effects, Gossip)} == {gossip(left(ME))}
    assert me.me.status is Status.LEFT
    assert me.deadline() == math.inf
    assert me.tick(100.0) == me.handle(ANN, Probe(1), 2.0) == me.disconnected(ANN, 2.0) == []


def test_own_messages_that_come_back_are_ignored() -> None:
    assert machine(ANN).handle(ME, Probe(1), 1.0) == []
