"""The clients that a node knows of."""

import math

from meshflow.core.callers import SILENT_S, Callers
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB


def test_without_clients_nobody_is_waited_for() -> None:
    callers = Callers()
    assert callers.deadline() == math.inf
    assert callers.gone(1e9) == []


def test_only_who_came_is_known() -> None:
    callers = Callers()
    callers.heard(ANN, 0.0)
    callers.came(BOB, 0.0)
    assert (ANN in callers, BOB in callers) == (False, True)


def test_a_client_that_is_silent_for_too_long_is_gone_and_told_of_once() -> None:
    callers = Callers()
    callers.came(ANN, 1.0)
    assert callers.deadline() == 1.0 + SILENT_S
    assert callers.gone(0.9 + SILENT_S) == []
    assert callers.gone(callers.deadline()) == [ANN]
    assert callers.gone(callers.deadline()) == []
    assert ANN not in callers


def test_whatever_a_client_says_keeps_it() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.came(BOB, 0.0)
    callers.heard(ANN, SILENT_S - 1.0)
    assert callers.gone(SILENT_S) == [BOB]
    callers.came(ANN, SILENT_S + 1.0)
    assert callers.deadline() == 2 * SILENT_S + 1.0


def test_a_client_that_said_goodbye_is_forgotten() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.left(ANN)
    callers.left(BOB)
    assert ANN not in callers
    assert callers.gone(1e9) == []


def doubted(callers: Callers, client: NodeId, question_count: int, now: float = 0.0) -> float:
    """So many questions are asked, none of which can be sent; when the next is due."""
    for _ in range(question_count):
        assert callers.to_ask(now) == [client]
        callers.unreached(client)
        assert callers.to_ask(now) == []
        now = callers.deadline()
    return now


def test_a_client_that_cannot_be_sent_to_is_gone_within_two_seconds() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.somebody_left(0.0)
    assert callers.deadline() == 0.0
    now = doubted(callers, ANN, 5)
    assert 1.0 < now < 2.0
    assert callers.gone(now - 0.01) == []
    assert callers.gone(now) == [ANN]
    assert ANN not in callers
    assert (callers.to_ask(now), callers.deadline()) == ([], math.inf)


def test_a_client_that_answers_is_asked_no_more() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.somebody_left(0.0)
    now = doubted(callers, ANN, 4)
    callers.heard(ANN, now)
    assert callers.to_ask(now) == []
    assert callers.gone(now + 2.0) == []
    assert callers.deadline() == now + SILENT_S


def test_a_client_that_is_connected_and_does_not_answer_has_time() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.somebody_left(0.0)
    now = doubted(callers, ANN, 4)
    assert callers.to_ask(now) == [ANN]  # This one could be sent.
    now = callers.deadline()
    assert callers.gone(now) == []
    assert (callers.to_ask(now), callers.deadline()) == ([], SILENT_S)
    assert callers.gone(SILENT_S) == [ANN]


def test_others_that_leave_meanwhile_do_not_prolong_it() -> None:
    callers = Callers()
    callers.came(ANN, 0.0)
    callers.somebody_left(0.0)
    now = doubted(callers, ANN, 3)
    callers.somebody_left(now)
    now = doubted(callers, ANN, 2, now)
    assert callers.gone(now) == [ANN]


def test_only_clients_are_asked() -> None:
    callers = Callers()
    callers.somebody_left(0.0)
    callers.unreached(BOB)
    assert callers.to_ask(0.0) == []
    callers.came(ANN, 0.0)
    callers.somebody_left(0.0)
    callers.left(ANN)
    assert callers.to_ask(0.0) == []
