"""Which runs are looked at, and when."""

import math

from meshflow.core.agenda import Agenda
from meshflow.ids import RunId

A, B = RunId("a"), RunId("b")


def test_touched_runs_are_looked_at_once_in_the_order_in_which_they_were_touched() -> None:
    agenda = Agenda()
    for run in (B, A, B):
        agenda.touch(run)
    assert agenda.touched == (B, A)
    assert [agenda.take(), agenda.take()] == [(B, A), ()]


def test_a_run_is_touched_when_its_time_has_come() -> None:
    agenda = Agenda()
    assert agenda.deadline() == math.inf
    agenda.look_at(A, 2.0)
    agenda.look_at(B, 1.0)
    assert agenda.deadline() == 1.0
    agenda.touch_due(0.9)
    assert agenda.take() == ()
    agenda.touch_due(1.0)
    assert (agenda.take(), agenda.deadline()) == ((B,), 2.0)
    agenda.touch_due(9.0)
    assert (agenda.take(), agenda.deadline()) == ((A,), math.inf)


def test_only_the_earliest_time_of_a_run_counts() -> None:
    agenda = Agenda()
    for at in (3.0, 1.0, 2.0, 1.0, math.inf):
        agenda.look_at(A, at)
    agenda.touch_due(1.0)
    assert agenda.take() == (A,)
    agenda.touch_due(9.0)
    assert (agenda.take(), agenda.deadline()) == ((), math.inf)


def test_a_run_that_was_dropped_is_looked_at_no_more() -> None:
    agenda = Agenda()
    agenda.touch(A)
    agenda.look_at(A, 1.0)
    agenda.drop(A)
    agenda.drop(B)
    agenda.touch_due(1.0)
    assert agenda.take() == ()
