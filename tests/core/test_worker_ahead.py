"""Short jobs are handed to the task processes ahead of time, and taken back when that was a mistake."""

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.effects import Kill, Recall, Resize, Start
from meshflow.core.keys import call_key
from meshflow.core.messages import Reports, Returned, SignalAnswer
from tests.core.builders import attempt, finished
from tests.core.working import Working, begun, sent


def short(slots: int = 1) -> Working:
    """A worker that has measured tasks of a millisecond, and hands out three of them per slot ahead."""
    working = Working(slots=slots, ahead_s=0.003, horizon_s=0.1, stale_s=0.05)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    working.worker.flush(0.001)
    return working


def many(count: int) -> list[Attempt]:
    """The attempts at tasks 1 to `count`."""
    return [attempt(number) for number in range(1, count + 1)]


def recalls(effects: object) -> list[Recall]:
    """What is recalled in `effects`."""
    assert isinstance(effects, list)
    return [effect for effect in effects if isinstance(effect, Recall)]


def test_nothing_is_handed_out_ahead_before_anything_was_measured() -> None:
    working = Working(slots=1, ahead_s=1.0)
    assert begun(working.get(attempt(0), attempt(1))) == [0]


def test_as_many_are_ahead_as_are_done_in_a_few_milliseconds() -> None:
    working = short()
    assert begun(working.get(*many(8), now=0.001)) == [1, 2, 3, 4]
    working.worker.finished(finished(attempt(1)), 0.002)
    assert begun(working.worker.flush(0.002)) == [5]


def test_the_wait_for_those_before_does_not_count_as_the_duration_of_a_task() -> None:
    """Each of four takes a millisecond; the last has been there for four."""
    working = short()
    working.get(*many(4), now=0.001)
    for number in range(1, 5):
        working.worker.finished(finished(attempt(number)), 0.001 * (number + 1))
    working.worker.flush(0.005)
    assert begun(working.get(*[attempt(number) for number in range(5, 13)], now=0.005)) == [5, 6, 7, 8]


def test_jobs_behind_a_task_that_turns_out_long_are_taken_back_and_returned() -> None:
    working = short()
    working.get(*many(4), now=0.001)
    assert working.worker.deadline() == pytest.approx(0.051)
    assert recalls(working.worker.flush(0.052)) == [Recall(tuple(many(4)))]
    for each in many(4)[1:]:
        working.worker.returned(each)
    effects = working.worker.flush(0.052)
    assert [message.reports for message in sent(effects, Reports) if isinstance(message, Reports)] == [
        tuple(Returned(each) for each in many(4)[1:])
    ]
    assert begun(working.get(attempt(9), attempt(10), now=0.06)) == [], "tasks are known to be long now"


def test_what_a_task_process_has_begun_in_the_meantime_stays() -> None:
    working = short()
    working.get(*many(2), now=0.001)
    working.worker.flush(0.052)
    working.worker.finished(finished(attempt(1)), 0.053)
    working.worker.finished(finished(attempt(2)), 0.053)
    working.worker.returned(attempt(2))
    assert working.worker.done_count == 3


def test_while_no_more_than_the_slots_are_busy_nothing_is_recalled_however_long_they_are() -> None:
    working = short(slots=2)
    working.get(*many(2), now=0.001)
    assert recalls(working.worker.flush(10.0)) == []


def test_a_slot_that_goes_through_its_jobs_keeps_them() -> None:
    """More are there than slots, all the time, but none of them for long."""
    working = short()
    working.get(*many(8), now=0.001)
    for number in range(1, 5):
        working.worker.finished(finished(attempt(number)), 0.045)
    working.worker.flush(0.045)
    assert recalls(working.worker.flush(0.052)) == []


def test_a_recall_in_vain_is_repeated_only_later() -> None:
    """The jobs are on their way to the store for their inputs, or have just begun."""
    working = short()
    working.get(*many(2), now=0.001)
    assert len(recalls(working.worker.flush(0.052))) == 1
    assert recalls(working.worker.flush(0.06)) == []
    assert len(recalls(working.worker.flush(0.103))) == 1


def test_a_cancelled_job_that_is_ahead_is_killed_by_who_knows_whether_it_has_begun() -> None:
    working = short()
    working.get(*many(3), now=0.001)
    assert working.worker.cancel([attempt(3)]) == [Kill(attempt(3), "cancelled", 3.0)]


def test_a_drain_recalls_what_has_not_begun() -> None:
    working = short()
    working.get(*many(8), now=0.001)
    assert working.worker.give_back_all() == [Recall(tuple(many(4)))]


def test_a_task_that_waits_for_dags_lends_its_slot_to_the_task_processes() -> None:
    working = Working(slots=1)
    working.run(0)
    working.worker.signal(attempt(0), 1, "join_dags", {"names": []}, None, 0.0)
    assert Resize(2) in working.worker.flush(0.0)
    effects = working.get(attempt(1), now=0.0)
    assert [type(effect) for effect in effects if isinstance(effect, Start | Resize)] == [Start]
    working.worker.signal_answered(SignalAnswer(call_key(attempt(0), 1), {}))
    assert Resize(1) in working.worker.flush(0.1)
