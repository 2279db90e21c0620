"""Functions in line, by queue and priority."""

import time

from meshflow.core.calling import Function
from meshflow.core.turns import Turns

ONE, TWO, URGENT = Function("1", "one"), Function("2", "two"), Function("3", "urgent", priority=1)
OTHER = Function("4", "other", queue="gpu")


def test_the_largest_priority_goes_first_and_then_who_came_first() -> None:
    turns = Turns()
    for function in (ONE, TWO, URGENT, OTHER, ONE):
        turns.join(function)
    assert turns.queues == ("task", "gpu")
    assert turns.first("task") == URGENT
    turns.leave(URGENT)
    assert turns.first("task") == ONE
    turns.had_turn(ONE)
    assert turns.first("task") == TWO
    assert turns.first("gpu") == OTHER
    assert turns.all_of("task") == {TWO: None, ONE: None}


def test_all_may_be_in_one_line() -> None:
    turns = Turns(has_one_queue=True)
    for function in (OTHER, ONE, URGENT):
        turns.join(function)
    assert list(turns.in_order()) == [URGENT, OTHER, ONE]
    turns.had_turn(OTHER)
    assert list(turns.in_order()) == [URGENT, ONE, OTHER]
    for function in (OTHER, ONE, URGENT):
        turns.leave(function)
    assert list(turns.in_order()) == []


def test_a_queue_without_functions_is_none() -> None:
    turns = Turns()
    turns.leave(ONE)
    assert (turns.queues, turns.all_of("task")) == ((), {})
    turns.join(ONE)
    turns.leave(TWO)
    turns.leave(ONE)
    assert turns.queues == ()


def test_a_turn_costs_the_same_however_many_wait() -> None:
    def seconds(count: int) -> float:
        turns = Turns()
        for number in range(count):
            turns.join(Function(str(number), "f"))
        best = 1e9
        for _ in range(5):
            began_at = time.process_time()
            for _ in range(500):
                turns.had_turn(turns.first("task"))
            best = min(best, time.process_time() - began_at)
        return best

    assert seconds(20_000) < 10 * seconds(20)
