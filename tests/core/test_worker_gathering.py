"""How long a node waits before it tells what it has."""

import pytest

from meshflow.core.messages import Demand, Reports
from tests.core.builders import BOB, attempt, finished
from tests.core.working import Working, sent


def test_few_reports_wait_for_more() -> None:
    working = Working(slots=1, horizon_s=0.04, gather_s=0.004, ahead_s=0.05)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    working.worker.flush(0.001)
    working.get(*(attempt(number) for number in range(1, 60)), now=0.002)
    working.worker.finished(finished(attempt(1)), 0.003)
    assert sent(working.worker.flush(0.005), Reports) == []
    assert working.worker.deadline() == pytest.approx(0.013)
    for number in range(2, 26):
        working.worker.finished(finished(attempt(number)), 0.005)
    assert len(sent(working.worker.flush(0.005), Reports)) == 1


def test_few_reports_do_not_wait_when_another_owner_is_to_hear_of_its_credit() -> None:
    working = Working(slots=1, horizon_s=0.04, gather_s=0.004)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    working.worker.flush(0.001)
    working.offer(BOB, now=0.001)
    working.get(*(attempt(number) for number in range(1, 40)), now=0.002)
    working.worker.finished(finished(attempt(1)), 0.003)
    working.worker.offered(BOB, 100)
    assert (sent(working.worker.flush(0.003)), working.worker.deadline()) == ([], 0.005)
    assert [type(message) for message in sent(working.worker.flush(0.005))] == [Reports, Demand]
