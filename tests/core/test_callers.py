"""The clients that a node knows of."""

import math

from meshflow.core.callers import SILENT_S, Callers
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
