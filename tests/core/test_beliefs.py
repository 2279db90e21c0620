"""How a node changes its mind: records, verdicts, refutation, death and return."""

from dataclasses import replace

import pytest

from meshflow.core.effects import Emit, Forget, Send
from meshflow.core.events import MemberDied, MemberJoined, MemberLeft, MemberSuspected, MemberUpdated, Refuted
from meshflow.core.member import Status
from meshflow.core.messages import Gossip, News, Probe, ProbeAck, Sync
from meshflow.core.view import MAX_INCARNATION, MAX_RECORD_LENGTH
from meshflow.ids import NodeId
from tests.core.membership_builders import (
    ANN,
    BOB,
    CAT,
    DAN,
    EVE,
    ME,
    dead,
    events,
    gossip,
    left,
    machine,
    member,
    sent,
    status_of,
    suspect,
)

# --- records ---


def test_a_record_that_is_passed_on_makes_its_member_known() -> None:
    me = machine(ANN)
    effects = me.handle(ANN, gossip(member(BOB)), 1.0)
    assert effects == [Emit(MemberJoined(member(BOB)))]
    assert [each.id for each in me.alive()] == [ANN, ME, BOB]


def test_a_record_changes_something_only_at_a_higher_incarnation() -> None:
    me = machine(ANN, BOB)
    changed = member(BOB, incarnation=2, is_draining=True)
    assert events(me.handle(ANN, gossip(changed), 1.0)) == [MemberUpdated(changed)]
    assert me.handle(ANN, gossip(changed, member(BOB, slots=9), member(BOB, incarnation=2)), 1.0) == []
    assert me.members[BOB] == changed


def test_news_of_an_earlier_life_do_not_bring_back_the_dead() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, gossip(dead(BOB, 3)), 1.0)
    assert me.handle(ANN, gossip(member(BOB, incarnation=3), suspect(BOB, ANN, incarnation=3)), 1.0) == []
    assert status_of(me, BOB) is Status.DEAD


def test_the_dead_return_at_a_higher_incarnation() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, gossip(dead(BOB, 3)), 1.0)
    assert events(me.handle(ANN, gossip(member(BOB, incarnation=4)), 1.0)) == [MemberJoined(member(BOB, incarnation=4))]
    assert [each.id for each in me.alive()] == [ANN, BOB, ME]


def test_a_stranger_is_believed_only_about_itself() -> None:
    """Clients are strangers: they may speak to us, and still make nobody a member and nobody dead."""
    me = machine(ANN)
    me.handle(BOB, gossip(member(CAT), dead(ANN)), 1.0)
    assert list(me.members) == [ANN, ME]
    me.handle(BOB, gossip(member(BOB)), 1.0)
    assert list(me.members) == [ANN, ME, BOB]


def test_records_that_would_do_harm_are_ignored() -> None:
    me = machine(ANN)
    for bad in (
        member(BOB, incarnation=-1),
        member(BOB, incarnation=MAX_INCARNATION + 1),
        member(BOB, address=""),
        member(BOB, name="x" * MAX_RECORD_LENGTH),
    ):
        assert me.handle(ANN, gossip(bad), 1.0) == []
    assert BOB not in me.members


def test_a_new_id_at_an_old_address_replaces_the_old_one_when_it_speaks_itself() -> None:
    me = machine(ANN, BOB)
    new = member(CAT, address=member(BOB).address)
    effects = me.handle(CAT, Sync(1, (new,)), 1.0)
    assert effects == [
        Emit(MemberDied(member(BOB, status=Status.DEAD))),
        Forget(BOB),
        Emit(MemberJoined(new)),
    ]


def test_a_new_id_at_an_old_address_by_hearsay_replaces_nobody() -> None:
    """It may be the older of the two, of whom we hear late."""
    me = machine(ANN, BOB)
    assert events(me.handle(ANN, gossip(member(CAT, address=member(BOB).address)), 1.0)) == [
        MemberJoined(member(CAT, address=member(BOB).address))
    ]
    assert status_of(me, BOB) is Status.ALIVE


def test_nobody_takes_the_place_of_this_node() -> None:
    me = machine(ANN)
    me.handle(CAT, Sync(1, (member(CAT, address=me.me.address),)), 1.0)
    assert me.me.status is Status.ALIVE


def test_more_members_than_allowed_are_not_let_in_unless_a_tombstone_can_make_room() -> None:
    me = machine(ANN, BOB, CAT, max_members=4)
    assert me.handle(ANN, gossip(member(DAN)), 1.0) == []
    me.handle(ANN, gossip(left(BOB)), 2.0)
    me.handle(ANN, gossip(dead(CAT)), 3.0)
    me.handle(ANN, gossip(member(DAN)), 4.0)
    assert sorted(me.members) == [ANN, CAT, DAN, ME], "BOB went first and is forgotten first"


# --- what others say about this node ---


@pytest.mark.parametrize("claim", [suspect(ME, ANN, incarnation=4), dead(ME, 4), left(ME, 4)])
def test_a_claim_about_this_node_is_refuted_at_once_above_its_incarnation(claim: object) -> None:
    me = machine(ANN, BOB)
    effects = me.handle(ANN, gossip(claim), 1.0)  # type: ignore[arg-type]
    refuted = member(ME, incarnation=5)
    assert effects == [Emit(Refuted(5)), Send(ANN, gossip(refuted))]
    assert me.me == me.members[ME] == refuted
    assert {message for _, message in sent(me.tick(1.0), Gossip)} == {gossip(refuted)}, "and spread"


def test_a_claim_that_was_refuted_already_is_answered_with_the_present_record() -> None:
    me = machine(ANN)
    me.handle(ANN, gossip(dead(ME, 4)), 1.0)
    assert me.handle(ANN, gossip(suspect(ME, ANN)), 1.0) == [Send(ANN, gossip(me.me))]
    assert me.me.incarnation == 5


def test_a_view_in_which_this_node_is_dead_is_refuted_like_a_verdict() -> None:
    me = machine(ANN)
    assert events(me.handle(ANN, Sync(3, (member(ME, incarnation=2, status=Status.DEAD),)), 1.0)) == [Refuted(3)]


def test_a_forged_record_of_this_node_is_overridden_and_an_old_one_is_ignored() -> None:
    me = machine(ANN)
    assert events(me.handle(ANN, gossip(member(ME, incarnation=7, queues=())), 1.0)) == [Refuted(8)]
    assert me.me.queues == member(ME).queues
    assert me.handle(ANN, gossip(member(ME, incarnation=7), member(ME, incarnation=8)), 1.0) == []


def test_no_claim_can_push_an_incarnation_beyond_what_can_be_refuted() -> None:
    me = machine(ANN)
    assert events(me.handle(ANN, gossip(dead(ME, MAX_INCARNATION - 1)), 1.0)) == [Refuted(MAX_INCARNATION)]
    for claim in (dead(ME, MAX_INCARNATION), dead(ME, 2**62), dead(ME, -1), member(ME, incarnation=MAX_INCARNATION)):
        assert me.handle(ANN, gossip(claim), 1.0) == []
    assert me.me.status is Status.ALIVE


def test_who_was_dead_to_others_was_cut_off_and_does_not_spread_its_own_verdicts() -> None:
    """Else one node behind a broken link would bury the rest of the mesh when it comes back."""
    me = machine(ANN, BOB, CAT, DAN)
    me.handle(ANN, gossip(dead(BOB), left(DAN), suspect(CAT, ANN)), 1.0)
    me.handle(ANN, gossip(dead(ME)), 2.0)
    spread = [message.news for _, message in sent(me.tick(2.0), Gossip)]
    assert all({verdict.id for verdict in news.verdicts} == {DAN, CAT} for news in spread)
    assert me.tick(13.9) is not None
    assert status_of(me, CAT) is Status.SUSPECT, "and its suspects have all their time again"


# --- accusations and deaths ---


def test_an_accusation_makes_a_suspect_who_dies_if_it_does_not_refute() -> None:
    me = machine(ANN, BOB, CAT)
    suspected = member(BOB, status=Status.SUSPECT)
    assert me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0) == [Emit(MemberSuspected(suspected))]
    assert suspected in me.alive(), "a suspect is a living member"
    assert events(me.tick(12.9)) == []
    gone = member(BOB, status=Status.DEAD)
    effects = me.tick(13.0)
    assert [effect for effect in effects if isinstance(effect, Emit | Forget)] == [Emit(MemberDied(gone)), Forget(BOB)]
    assert me.members[BOB] == gone
    assert BOB not in [each.id for each in me.alive()]


def test_a_suspect_that_refutes_lives() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0)
    assert events(me.handle(ANN, gossip(member(BOB, incarnation=1)), 2.0)) == [
        MemberUpdated(member(BOB, incarnation=1))
    ]
    assert events(me.tick(100.0)) == []


def test_an_accusation_at_an_old_incarnation_is_ignored() -> None:
    me = machine(ANN)
    me.handle(ANN, gossip(member(BOB, incarnation=2)), 1.0)
    assert me.handle(ANN, gossip(suspect(BOB, ANN, incarnation=1)), 1.0) == []


def test_an_accusation_at_a_new_incarnation_gives_the_suspect_its_time_anew() -> None:
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0)
    me.handle(ANN, gossip(suspect(BOB, ANN, incarnation=1)), 5.0)
    assert events(me.tick(16.9)) == []
    assert events(me.tick(17.0)) == [MemberDied(member(BOB, incarnation=1, status=Status.DEAD))]


def test_accusers_who_are_unknown_or_dead_do_not_count() -> None:
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(dead(CAT)), 1.0)
    assert me.handle(ANN, gossip(suspect(BOB, CAT, EVE, NodeId("nobody"))), 1.0) == []
    assert status_of(me, BOB) is Status.ALIVE


def test_the_first_confirmations_are_passed_on_and_further_ones_are_not() -> None:
    me = machine(ANN, BOB, CAT, DAN, EVE, transmit_mult=0.1, confirmations=1, probe_interval_s=1000.0)
    passed_on = []
    for accuser in (ANN, CAT, DAN):
        me.handle(accuser, gossip(suspect(BOB, accuser)), 1.0)
        passed_on.append([message.news.verdicts[0].accusers for _, message in sent(me.tick(me.deadline()), Gossip)])
    assert passed_on == [[(ANN,)], [(ANN, CAT)], []]


def test_accusers_are_named_with_those_who_were_cut_off() -> None:
    me = machine(ANN, BOB, CAT)
    told = suspect(BOB, ANN, CAT, cut_off=(CAT,))
    me.handle(ANN, gossip(told), 1.0)
    assert sent(me.tick(1.0), Gossip)[0][1] == gossip(told)


def test_a_verdict_of_death_is_believed_and_spread() -> None:
    me = machine(ANN, BOB)
    gone = member(BOB, incarnation=1, status=Status.DEAD)
    assert me.handle(ANN, gossip(dead(BOB, 1)), 1.0) == [Emit(MemberDied(gone)), Forget(BOB)]
    assert sent(me.tick(1.0), Gossip) == [(ANN, gossip(dead(BOB, 1)))]
    assert me.handle(ANN, gossip(dead(BOB, 1)), 1.0) == [], "once"


def test_a_verdict_on_a_member_that_talks_to_us_is_only_an_accusation_and_it_is_told() -> None:
    me = machine(ANN, BOB)
    me.heard_from(BOB, 0.5)
    effects = me.handle(ANN, gossip(dead(BOB)), 1.0)
    assert events(effects) == [MemberSuspected(member(BOB, status=Status.SUSPECT))]
    assert sent(effects, Gossip) == [(BOB, gossip(suspect(BOB, ANN)))]
    assert events(me.handle(ANN, gossip(dead(BOB)), 1.5)) == [MemberDied(member(BOB, status=Status.DEAD))], (
        "not for ever"
    )


def test_a_verdict_on_a_member_whose_connection_broke_is_believed_though_it_has_just_talked() -> None:
    me = machine(ANN, BOB)
    me.heard_from(BOB, 0.9)
    me.disconnected(BOB, 0.95)
    assert events(me.handle(ANN, gossip(dead(BOB)), 1.0)) == [MemberDied(member(BOB, status=Status.DEAD))]


def test_the_dead_bury_nobody() -> None:
    """Whoever we hold for dead was cut off, and so is what it says of others."""
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(dead(CAT)), 1.0)
    assert me.handle(CAT, gossip(dead(BOB)), 1.0) == []
    assert status_of(me, BOB) is Status.ALIVE


def test_a_suspect_that_still_talks_gets_its_time_again_and_is_told() -> None:
    me = machine(ANN, BOB, CAT)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0)
    me.heard_from(BOB, 12.0)
    effects = me.tick(13.0)
    assert events(effects) == []
    assert (BOB, gossip(suspect(BOB, ANN))) in sent(effects, Gossip)
    assert events(me.tick(25.0)) == [MemberDied(member(BOB, status=Status.DEAD))]


def test_a_death_in_the_view_of_another_is_an_accusation_and_the_accused_is_told() -> None:
    me = machine(ANN, BOB)
    effects = me.handle(ANN, Sync(3, (member(BOB, status=Status.DEAD),)), 1.0)
    assert events(effects) == [MemberSuspected(member(BOB, status=Status.SUSPECT))]
    assert sent(effects, Gossip) == [(BOB, gossip(dead(BOB)))]


def test_a_death_in_the_view_of_one_who_is_dead_itself_only_lets_the_accused_know() -> None:
    """So two halves of a mesh that meet again do not suspect half of their own."""
    me = machine(ANN, BOB, CAT)
    me.handle(CAT, gossip(dead(ANN)), 1.0)
    assert me.handle(ANN, Sync(3, (member(BOB, status=Status.DEAD),)), 1.0) == [Send(BOB, gossip(dead(BOB)))]


def test_deaths_of_those_we_do_not_know_are_not_remembered() -> None:
    """Else tombstones would pass from node to node for ever."""
    me = machine(ANN)
    gone = (member(BOB, status=Status.DEAD), member(CAT, status=Status.LEFT))
    assert me.handle(ANN, Sync(3, gone), 1.0) == []
    assert me.handle(ANN, gossip(dead(BOB), left(CAT)), 1.0) == []
    assert list(me.members) == [ANN, ME]


def test_a_suspect_in_the_view_of_another_is_a_living_member_to_us() -> None:
    me = machine(ANN)
    me.handle(ANN, Sync(3, (member(BOB, status=Status.SUSPECT),)), 1.0)
    assert me.members[BOB] == member(BOB)


def test_a_goodbye_ends_membership_in_gossip_and_in_views() -> None:
    me = machine(ANN, BOB, CAT)
    me.heard_from(BOB, 1.0)
    effects = me.handle(ANN, gossip(left(BOB)), 1.0)
    assert effects == [Emit(MemberLeft(member(BOB, status=Status.LEFT))), Forget(BOB)]
    effects = me.handle(ANN, Sync(3, (member(CAT, status=Status.LEFT),)), 1.0)
    assert events(effects) == [MemberLeft(member(CAT, status=Status.LEFT))]


def test_one_that_died_and_is_then_said_to_have_left_is_gone_once() -> None:
    me = machine(ANN, BOB)
    me.handle(ANN, gossip(dead(BOB)), 1.0)
    assert me.handle(ANN, gossip(left(BOB)), 1.0) == []
    assert status_of(me, BOB) is Status.LEFT


def test_a_verdict_that_somebody_lives_means_nothing() -> None:
    me = machine(ANN, BOB)
    assert me.handle(ANN, gossip(replace(dead(BOB, 5), status=Status.ALIVE)), 1.0) == []


def test_a_member_that_is_dead_to_us_is_told_so_when_it_asks() -> None:
    """Even without Lifeguard; a partition could not heal otherwise."""
    me = machine(ANN, BOB, has_lifeguard=False)
    me.handle(ANN, gossip(dead(BOB)), 1.0)
    me.tick(1.0)
    assert me.handle(BOB, Probe(7), 2.0) == [Send(BOB, ProbeAck(7, News(verdicts=(dead(BOB),))))]


def test_without_lifeguard_a_suspect_is_not_told() -> None:
    me = machine(ANN, BOB, has_lifeguard=False)
    me.handle(ANN, gossip(suspect(BOB, ANN)), 1.0)
    me.heard_from(BOB, 2.0)
    assert me.handle(ANN, gossip(dead(BOB)), 2.5) == []
    assert sent(me.handle(BOB, Probe(7), 2.5), ProbeAck)[0][1].news == News(verdicts=(suspect(BOB, ANN),)), (
        "as news only"
    )
    for _ in range(20):
        me.handle(BOB, Probe(7), 2.5)
    assert me.handle(BOB, Probe(8), 2.5) == [Send(BOB, ProbeAck(8))]
