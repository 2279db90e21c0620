"""Which reports an owner has taken, and when it says so."""

import math

from meshflow.core.messages import Finished, Reports
from meshflow.core.receipts import Receipts
from meshflow.core.records import Value
from tests.core.builders import ANN, BOB, RUN, attempt, finished


def message(first: int, *reports: Finished, acknowledged: int = 1) -> Reports:
    return Reports(RUN, first, acknowledged, reports, 0, 0)


def test_a_report_is_taken_once_and_none_after_a_gap() -> None:
    receipts = Receipts()
    one, two, three = (finished(attempt(number)) for number in range(3))
    assert receipts.take(ANN, message(1, one)) == (one,)
    assert receipts.take(ANN, message(3, three)) == ()
    assert receipts.take(ANN, message(1, one, two)) == (two,)
    assert receipts.due(0.0, is_busy=False) == [(ANN, 3)]


def test_who_is_not_busy_acknowledges_at_once_and_owes_nothing_then() -> None:
    receipts = Receipts()
    receipts.take(ANN, message(1, finished(attempt(0))))
    assert receipts.due(1.0, is_busy=False) == [(ANN, 2)]
    assert (receipts.due(1.0, is_busy=False), receipts.deadline()) == ([], math.inf)


def test_who_is_busy_acknowledges_all_together_after_a_pause() -> None:
    receipts = Receipts()
    receipts.take(ANN, message(1, finished(attempt(0))))
    assert receipts.due(1.0, is_busy=True) == [(ANN, 2)]
    receipts.take(ANN, message(2, finished(attempt(1))))
    receipts.take(BOB, message(1, finished(attempt(2))))
    assert receipts.due(1.01, is_busy=True) == []
    assert receipts.deadline() == 1.05
    assert receipts.due(1.05, is_busy=True) == [(ANN, 3), (BOB, 2)]
    assert receipts.deadline() == math.inf


def test_large_reports_do_not_wait() -> None:
    receipts = Receipts()
    receipts.take(ANN, message(1, finished(attempt(0))))
    receipts.due(1.0, is_busy=True)
    for number in range(2, 18):
        receipts.take(ANN, message(number, finished(attempt(number), value=Value(bytes(64 * 1024)))))
    assert receipts.due(1.001, is_busy=True) == [(ANN, 18)]


def test_a_node_that_is_gone_is_told_nothing() -> None:
    receipts = Receipts()
    receipts.take(ANN, message(1, finished(attempt(0))))
    receipts.gone(ANN)
    assert receipts.due(1.0, is_busy=False) == []
