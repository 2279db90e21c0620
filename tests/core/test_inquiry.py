"""Tasks wait after a take-over until all members have told what they hold, or time is up."""

import math

from meshflow.core.inquiry import Inquiry
from meshflow.ids import NodeId

ANN, BOB = NodeId("a" * 16), NodeId("b" * 16)


def begun() -> Inquiry:
    """One of two members, until 5."""
    inquiry = Inquiry()
    inquiry.begin([ANN, BOB], 5.0)
    return inquiry


def test_without_a_takeover_nothing_waits() -> None:
    inquiry = Inquiry()
    assert not inquiry.hold_back([1])
    assert inquiry.release(9.0) == []
    assert inquiry.deadline() == math.inf
    assert not inquiry.awaits(ANN)


def test_a_takeover_without_members_waits_for_nobody() -> None:
    inquiry = Inquiry()
    inquiry.begin([], 5.0)
    assert not inquiry.hold_back([1])


def test_tasks_wait_for_the_last_member() -> None:
    inquiry = begun()
    assert inquiry.hold_back([1, 2])
    assert inquiry.deadline() == 5.0
    inquiry.settle(ANN)
    assert inquiry.release(1.0) == []
    assert inquiry.hold_back([3])
    inquiry.settle(BOB)
    assert not inquiry.hold_back([4])
    assert inquiry.release(1.0) == [1, 2, 3]
    assert inquiry.release(1.0) == []
    assert inquiry.deadline() == math.inf


def test_nobody_is_waited_for_for_ever_but_who_has_not_told_is_still_known() -> None:
    inquiry = begun()
    inquiry.hold_back([1])
    inquiry.settle(BOB)
    assert inquiry.release(5.0) == [1]
    assert not inquiry.hold_back([2])
    assert (inquiry.awaits(ANN), inquiry.awaits(BOB)) == (True, False)
