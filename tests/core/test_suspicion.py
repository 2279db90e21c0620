"""How long suspects have, and what shortens it."""

import math

import pytest

from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.suspicion import MAX_CONFIRMATIONS, Suspicions, suspicion_s
from meshflow.ids import NodeId
from tests.core.builders import ANN

SETTINGS = MembershipSettings(
    probe_interval_s=1.0, suspicion_mult=2.0, suspicion_max_mult=6.0, confirmations=3, hint_suspicion_s=0.25
)


def opened(member_count: int = 10, settings: MembershipSettings = SETTINGS) -> Suspicions:
    """Cases with one against ANN, opened at 100."""
    cases = Suspicions(settings)
    cases.start(ANN, 0, member_count, now=100.0)
    return cases


def accuse(cases: Suspicions, *accusers: str, cut_off: bool = False, quorum: int = 2, now: float = 100.0) -> bool:
    return cases.accuse(ANN, [(NodeId(accuser), cut_off) for accuser in accusers], quorum, now)


@pytest.mark.parametrize(
    ("confirmations", "wanted", "expected"),
    [(0, 3, 12.0), (1, 3, 7.0), (2, 3, 12 - 10 * math.log(3) / math.log(4)), (3, 3, 2.0), (9, 3, 2.0), (0, 0, 2.0)],
)
def test_the_first_confirmations_shorten_a_suspicion_most(confirmations: int, wanted: int, expected: float) -> None:
    assert suspicion_s(confirmations, wanted, shortest_s=2.0, longest_s=12.0) == pytest.approx(expected)


def test_a_lone_accuser_waits_longest() -> None:
    cases = opened()
    assert accuse(cases, "bob")
    assert cases.next_at() == 112.0
    assert cases.due(111.9) == []
    assert cases.due(112.0) == [ANN]
    assert cases.due(112.0) == [], "told once"


def test_each_confirmation_shortens_and_the_last_one_wanted_brings_the_shortest() -> None:
    cases, ends_at = opened(), []
    for accuser in "bcde":
        accuse(cases, accuser)
        ends_at.append(cases.next_at())
    assert ends_at == sorted(ends_at, reverse=True)
    assert ends_at[-1] == 102.0


def test_an_accuser_counts_once() -> None:
    cases = opened()
    assert accuse(cases, "bob", "bob")
    assert not accuse(cases, "bob")
    assert cases.next_at() == 112.0


def test_more_confirmations_than_wanted_are_no_news() -> None:
    """So they are not passed on: Lifeguard re-gossips the first ones only."""
    cases = opened()
    assert accuse(cases, *"bcde")
    assert not accuse(cases, "f")


@pytest.mark.parametrize(("members", "expected"), [(2, 102.0), (3, 112.0), (100, 124.0), (1000, 136.0)])
def test_a_large_mesh_waits_longer_and_one_without_others_does_not_wait_for_them(members: int, expected: float) -> None:
    cases = opened(members)
    accuse(cases, "bob")
    assert cases.next_at() == expected


def test_in_a_mesh_of_three_one_confirmation_is_enough() -> None:
    cases = opened(3)
    accuse(cases, "bob", "cat")
    assert cases.next_at() == 102.0


def test_without_lifeguard_every_suspicion_is_the_shortest() -> None:
    plain = MembershipSettings(probe_interval_s=1.0, suspicion_mult=2.0, has_lifeguard=False)
    cases = opened(settings=plain)
    accuse(cases, "bob")
    assert cases.next_at() == 102.0


def test_two_who_were_cut_off_leave_little_time() -> None:
    cases = opened()
    accuse(cases, "bob", cut_off=True)
    assert cases.next_at() == 112.0
    accuse(cases, "cat", cut_off=True, now=101.0)
    assert cases.next_at() == 101.25


def test_one_who_learns_later_that_it_is_cut_off_counts_as_such() -> None:
    cases = opened()
    accuse(cases, "bob")
    assert accuse(cases, "bob", cut_off=True, quorum=1, now=101.0)
    assert cases.next_at() == 101.25
    assert not accuse(cases, "bob")
    assert cases.next_at() == 101.25


def test_when_all_who_could_say_the_same_are_gone_one_who_was_cut_off_is_enough() -> None:
    cases = opened()
    accuse(cases, "bob", cut_off=True)
    assert cases.next_at() == 112.0
    assert accuse(cases, "bob", cut_off=True, quorum=1, now=101.0)
    assert cases.next_at() == 101.25


def test_cut_off_accusers_are_heard_when_there_are_enough_others() -> None:
    cases = opened()
    accuse(cases, *"bcde")
    assert accuse(cases, "f", cut_off=True)
    assert accuse(cases, "g", cut_off=True)
    assert not accuse(cases, "h", cut_off=True)
    assert cases.next_at() == 100.25


def test_a_confirmation_that_comes_late_does_not_prolong() -> None:
    cases = opened()
    accuse(cases, *"bcd")
    before = cases.next_at()
    accuse(cases, "e", now=101.9)
    assert cases.next_at() == 102.0 < before


def test_the_number_of_accusers_has_a_limit() -> None:
    cases = opened(1000, settings=MembershipSettings(confirmations=500))
    for number in range(100):
        accuse(cases, f"n{number}")
        accuse(cases, f"n{number}", cut_off=True)
    case = cases.get(ANN)
    assert case is not None
    assert len(case.accusers) == MAX_CONFIRMATIONS + 1


def test_a_prolonged_suspicion_starts_again_with_its_accusers() -> None:
    cases = opened()
    accuse(cases, "b", "c", "d", "e", cut_off=True)
    cases.due(200.0)
    cases.prolong(ANN, 200.0)
    assert cases.next_at() == 202.0
    assert not accuse(cases, "b")
    assert cases.next_at() == 202.0, "that connections broke before it was heard again proves nothing"


def test_a_closed_case_is_not_due() -> None:
    cases = opened()
    accuse(cases, "bob")
    assert cases.suspects() == [ANN]
    cases.drop(ANN)
    cases.drop(ANN)
    assert (cases.get(ANN), len(cases), cases.next_at()) == (None, 0, math.inf)
