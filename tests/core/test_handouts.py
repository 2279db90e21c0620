"""Which attempts count, and which are lost."""

import math

import pytest

from meshflow.core.handouts import Handouts
from tests.core.builders import ANN, BOB, attempt

LOST_S = 2.0


def handouts(*tasks: int, at: float = 0.0) -> Handouts:
    made = Handouts(LOST_S)
    for task in tasks:
        made.put(attempt(task), ANN, at)
    return made


def test_an_attempt_is_current_only_if_number_epoch_and_node_match() -> None:
    made = handouts(0)
    assert made.is_current(attempt(0), ANN)
    for other, node in [(attempt(0, 2), ANN), (attempt(0, 1, 2), ANN), (attempt(0), BOB), (attempt(1), ANN)]:
        assert not made.is_current(other, node)


def test_a_taken_attempt_is_gone_with_its_node_if_that_has_no_other() -> None:
    made = handouts(0, 1)
    made.put(attempt(2), BOB, 0.0)
    assert made.take(2) == (attempt(2), BOB)
    assert (made.nodes, made.at(BOB), 2 in made, len(made)) == ((ANN,), (), False, 2)
    assert (made.has(ANN), made.has(BOB)) == (True, False)
    assert made.take(0) == (attempt(0), ANN)
    assert (made.nodes, made.attempts, made.at(ANN)) == ((ANN,), (attempt(1),), ((1, attempt(1)),))


def test_a_task_has_one_current_attempt() -> None:
    with pytest.raises(AssertionError):
        handouts(0).put(attempt(0, 2), BOB, 0.0)


def test_an_attempt_that_its_node_does_not_list_is_lost_when_it_can_not_be_on_its_way_any_more() -> None:
    made = handouts(0, 1)
    assert made.missing(ANN, [attempt(1)], epoch=1, now=LOST_S) == []
    assert made.missing(ANN, [attempt(1)], epoch=1, now=LOST_S + 0.1) == [0]
    assert made.missing(BOB, [], epoch=1, now=LOST_S + 0.1) == []


def test_an_attempt_that_has_not_left_can_not_get_lost_on_its_way() -> None:
    made = handouts()
    made.put(attempt(0), ANN, 0.0, has_left=False)
    assert made.missing(ANN, [], epoch=1, now=1e9) == []
    made.left(attempt(0), 10.0)
    made.left(attempt(1), 10.0)
    assert made.missing(ANN, [], epoch=1, now=10.0 + LOST_S) == []
    assert made.missing(ANN, [], epoch=1, now=10.1 + LOST_S) == [0]


def test_what_is_under_way_has_left() -> None:
    made = handouts(0, at=5.0)
    made.put(attempt(1), BOB, 6.0, has_left=False)
    assert made.under_way == [(0, ANN, 5.0)]
    made.left(attempt(1), 7.0)
    assert made.under_way == [(0, ANN, 5.0), (1, BOB, 7.0)]


def test_a_job_that_leaves_late_says_nothing_of_the_attempt_that_followed() -> None:
    made = handouts()
    made.put(attempt(0, 2), ANN, 0.0)
    made.left(attempt(0, 1), 10.0)
    assert made.missing(ANN, [], epoch=1, now=LOST_S + 0.1) == [0]


def test_an_attempt_of_an_earlier_owner_is_lost_as_soon_as_it_is_not_listed() -> None:
    assert handouts(0).missing(ANN, [], epoch=2, now=0.0) == [0]


def test_a_node_is_silent_if_it_has_attempts_and_was_not_heard_of_since() -> None:
    made = handouts(0)
    made.put(attempt(1), BOB, 1.0)
    made.heard(ANN, 3.0)
    assert (made.silent(0.9), made.silent(1.0), made.silent(3.0)) == ((), (BOB,), (ANN, BOB))


def test_a_further_job_is_no_word_from_the_node() -> None:
    made = handouts(0)
    made.put(attempt(1), ANN, 5.0)
    assert made.earliest_heard_at == 0.0


def test_the_earliest_word_is_that_of_the_nodes_that_have_attempts() -> None:
    made = handouts()
    made.heard(ANN, 1.0)
    assert made.earliest_heard_at == math.inf
    made.put(attempt(0), ANN, 2.0)
    made.put(attempt(1), BOB, 1.0)
    assert made.earliest_heard_at == 1.0
    made.take(1)
    assert made.earliest_heard_at == 2.0
