"""How credit is shared between owners, and how it comes back."""

import math

import pytest

from meshflow.core.credit import Credit
from tests.core.builders import ANN, BOB, ME


def credit(*hungry: str) -> Credit:
    made = Credit(linger_s=0.005)
    for owner in hungry:
        made.offered({"ann": ANN, "bob": BOB, "me": ME}[owner], share=1)
    return made


def test_an_owner_that_offered_is_granted_all_there_is_room_for_and_told_so_once() -> None:
    made = credit("ann")
    made.grant(3, 0, 0.0)
    assert list(made.untold()) == [ANN]
    assert made.totals(ANN) == (3, 0)
    assert list(made.untold()) == []
    made.grant(3, 0, 0.1)
    assert list(made.untold()) == []


def test_nobody_is_granted_anything_without_an_offer() -> None:
    made = credit()
    made.grant(3, 0, 0.0)
    made.arrived(ANN, 2, share=1)
    made.grant(3, 0, 0.0)
    assert (list(made.untold()), made.totals(ANN)) == ([], (0, 0))


def test_credit_is_shared_and_what_is_odd_goes_round() -> None:
    made = credit("ann", "bob")
    made.grant(3, 0, 0.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((2, 0), (1, 0))
    for owner, count in [(ANN, 2), (BOB, 1)]:
        made.arrived(owner, count, share=1)
    made.grant(3, 0, 0.1)
    assert (made.totals(ANN), made.totals(BOB)) == ((3, 2), (3, 1))


def test_who_got_nothing_stays_in_line() -> None:
    made = credit("ann", "bob", "me")
    made.grant(1, 0, 0.0)
    assert list(made.untold()) == [ANN]
    made.arrived(ANN, 1, share=0)
    made.grant(2, 0, 0.1)
    assert sorted(made.untold()) == [ANN, BOB, ME]
    assert (made.totals(BOB), made.totals(ME)) == ((1, 0), (1, 0))


def test_spare_credit_rests_with_the_owner_that_gave_work_last() -> None:
    made = credit("ann", "bob")
    made.grant(2, 0, 0.0)
    made.arrived(ANN, 1, share=0)
    made.arrived(BOB, 1, share=0)
    made.grant(2, 0, 0.1)
    assert (made.totals(ANN), made.totals(BOB)) == ((1, 1), (3, 1))
    made.gone(BOB)
    made.grant(2, 0, 0.2)
    assert list(made.untold()) == []


def test_another_owners_offer_takes_unused_credit_back_after_a_while() -> None:
    made = credit("ann")
    made.grant(2, 0, 0.0)
    made.totals(ANN)
    made.offered(BOB, 2)
    made.grant(2, 0, 0.001)
    assert (list(made.untold()), made.deadline()) == ([], 0.005)
    made.grant(2, 0, 0.005)
    assert made.deadline() == math.inf
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (2, 0))


def test_no_more_is_taken_back_than_another_owner_needs() -> None:
    made = credit("ann")
    made.grant(4, 0, 0.0)
    made.totals(ANN)
    made.offered(BOB, 1)
    made.grant(4, 0, 1.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((3, 0), (1, 0))


def test_an_owner_that_says_that_nothing_waits_there_leaves_its_credit_to_others_at_once() -> None:
    made = credit("ann")
    made.grant(1, 0, 0.0)
    made.totals(ANN)
    made.offered(BOB, 1)
    made.offered(ANN, 0)
    made.grant(1, 0, 0.001)
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (1, 0))


def test_an_offer_that_is_called_off_brings_no_credit() -> None:
    made = credit("ann", "bob")
    made.offered(ANN, 0)
    made.grant(2, 0, 0.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (2, 0))


# --- more than the free slots ---


@pytest.mark.parametrize(("share", "granted"), [(1, 2), (2, 2), (4, 4), (9, 7)])
def test_beyond_the_free_slots_an_owner_gets_no_more_than_its_jobs_for_each_node_but_one(
    share: int, granted: int
) -> None:
    """With a job for each node or less, a slot of another one may be free for it."""
    made = Credit(linger_s=0.005)
    made.offered(ANN, share)
    made.grant(2, 5, 0.0)
    assert made.totals(ANN) == (granted, 0)


def test_without_a_free_slot_only_what_is_worth_waiting_for_is_granted() -> None:
    made = Credit(linger_s=0.005)
    made.offered(ANN, 1)
    made.offered(BOB, 3)
    made.grant(-1, 6, 0.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (2, 0))


def test_what_lies_ahead_is_shared_between_owners_too() -> None:
    made = Credit(linger_s=0.005)
    made.offered(ANN, 9)
    made.offered(BOB, 9)
    made.grant(0, 5, 0.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((3, 0), (2, 0))


def test_a_job_is_meant_to_wait_for_a_slot_if_so_many_were_granted_beyond_the_free_ones() -> None:
    made = Credit(linger_s=0.005)
    made.offered(ANN, 9)
    made.grant(1, 1, 0.0)
    assert made.totals(ANN) == (2, 0)
    assert [made.may_wait(ANN), made.may_wait(ANN), made.may_wait(BOB)] == [True, False, True]


def test_credit_that_is_not_out_any_more_lets_no_job_wait() -> None:
    made = Credit(linger_s=0.005)
    made.offered(ANN, 9)
    made.grant(0, 2, 0.0)
    made.arrived(ANN, 2, 0)
    made.grant(0, 0, 0.0)
    assert not made.may_wait(ANN)


def test_spare_credit_rests_for_free_slots_only() -> None:
    made = credit("ann")
    made.grant(1, 0, 0.0)
    made.arrived(ANN, 1, share=0)
    made.grant(2, 9, 0.1)
    assert made.totals(ANN) == (3, 1)


@pytest.mark.parametrize("share", [-5, 0])
def test_an_offer_of_nothing_is_none(share: int) -> None:
    made = Credit(linger_s=0.005)
    made.offered(ANN, share)
    made.grant(2, 2, 0.0)
    assert list(made.untold()) == []


def test_credit_is_not_taken_from_owners_that_want_it_too() -> None:
    made = credit("ann")
    made.grant(2, 0, 0.0)
    made.offered(ANN, 1)
    made.offered(BOB, 1)
    made.grant(2, 0, 1.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((2, 0), (0, 0))


def test_an_owner_that_offers_although_it_has_credit_is_told_again() -> None:
    made = credit("ann")
    made.grant(2, 0, 0.0)
    made.totals(ANN)
    made.offered(ANN, 1)
    assert list(made.untold()) == [ANN]
    assert made.totals(ANN) == (2, 0)


def test_an_owner_that_offers_and_has_no_credit_is_not_told_so() -> None:
    made = credit("ann")
    made.grant(0, 0, 0.0)
    made.offered(ANN, 1)
    assert list(made.untold()) == []


def test_more_jobs_than_were_granted_are_counted_and_credit_goes_on_from_there() -> None:
    made = credit("ann")
    made.grant(1, 0, 0.0)
    made.arrived(ANN, 5, share=1)
    made.grant(1, 0, 0.1)
    assert made.totals(ANN) == (6, 5)


def test_an_owner_that_is_gone_has_no_credit_and_its_late_jobs_bring_none() -> None:
    made = credit("ann", "bob")
    made.grant(2, 0, 0.0)
    made.gone(ANN)
    made.gone(ME)
    made.arrived(ANN, 1, share=1)
    assert made.totals(ANN) == (0, 0)
    made.arrived(BOB, 1, share=0)
    made.grant(5, 0, 0.1)
    assert made.totals(BOB) == (6, 1)


def test_an_owner_that_waits_in_vain_beside_two_gets_the_credit_of_each_in_turn() -> None:
    made = credit("ann")
    made.grant(1, 0, 0.0)
    assert made.totals(ANN) == (1, 0)
    for owner in (BOB, ME):
        made.offered(owner, 1)
    made.grant(1, 0, 0.1)
    assert made.totals(BOB) == (1, 0)
    assert made.deadline() == pytest.approx(0.105)
    made.grant(1, 0, made.deadline())
    assert (made.totals(BOB), made.totals(ME)) == ((0, 0), (1, 0))


def test_an_owner_that_offered_and_used_no_credit_has_no_work_any_more() -> None:
    """Its offer had crossed the credit for an earlier one, and then its jobs went elsewhere."""
    made = credit("ann", "bob")
    made.grant(1, 0, 0.0)
    made.offered(ANN, 1)
    made.grant(1, 0, 0.0)
    assert made.totals(ANN) == (1, 0)
    made.grant(1, 0, 1.0)
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (1, 0))


def test_credit_that_was_not_told_yet_is_not_taken_back_as_unused() -> None:
    """Messages gather, for longer than credit may lie unused."""
    made = credit("ann", "bob")
    made.grant(1, 0, 0.0)
    made.grant(1, 0, 1.0)
    assert made.totals(ANN) == (1, 0)
    made.grant(1, 0, 1.004)
    assert made.totals(ANN) == (1, 0)
    made.grant(1, 0, 1.005)
    assert (made.totals(ANN), made.totals(BOB)) == ((0, 0), (1, 0))
