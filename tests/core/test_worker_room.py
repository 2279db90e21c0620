"""What a node takes beyond its free slots, and what it does not keep."""

from meshflow.core.messages import Demand, Reports, Returned
from tests.core.builders import BOB, RUN, attempt, finished
from tests.core.working import Working, begun, sent


def test_less_is_wanted_beside_tasks_that_are_long_already_however_short_those_before_were() -> None:
    working = Working(slots=2, horizon_s=0.02, stale_s=0.05)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.01)
    working.worker.flush(0.01)
    assert working.offer(now=0.01) == [Demand(2 + 4, 0)]
    working.get(attempt(1), now=0.01)
    working.get(attempt(2), now=0.07)
    working.worker.finished(finished(attempt(2)), 0.08)
    working.worker.flush(0.08)
    assert working.offer(now=0.08) == [Demand(6, 2)]  # with one that runs, more than 2 + 2 already


def test_a_job_that_crossed_with_the_withdrawal_of_its_credit_goes_back_unless_a_slot_is_free() -> None:
    working = Working(slots=1)
    assert working.offer(share=1) == [Demand(1, 0)]
    assert [each.granted for each in working.offer(BOB, now=1.0, share=1)] == [0, 1]
    assert begun(working.get(attempt(0), of=BOB, now=1.001)) == [0]
    effects = working.get(attempt(1), now=1.002)
    assert sent(effects, Reports) == [Reports(RUN, 1, 1, (Returned(attempt(1)),), 0, 1)]


def test_a_job_that_was_to_wait_for_a_slot_waits() -> None:
    working = Working(slots=1)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.01)
    working.worker.flush(0.01)
    assert working.offer(now=0.01)[0].granted == 1 + 2
    effects = working.get(attempt(1), attempt(2), attempt(3), now=0.011)
    assert (begun(effects), "Returned" in str(effects)) == ([1], False)
