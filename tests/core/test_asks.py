"""The answer of the store finds its way to who asked."""

from meshflow.core.asks import Asks, Looking, Scanning
from meshflow.core.effects import Ask
from meshflow.core.requests import ListRuns, LoadRun
from tests.core.builders import RUN


def test_each_ask_has_a_token_of_its_own_and_its_purpose_is_taken_once() -> None:
    asks = Asks()
    first = asks.ask(Looking(RUN), LoadRun(RUN))
    second = asks.ask(Scanning(), ListRuns(), LoadRun(RUN))
    assert (first, second) == (Ask(1, (LoadRun(RUN),)), Ask(2, (ListRuns(), LoadRun(RUN))))
    assert [asks.take(2), asks.take(1), asks.take(1), asks.take(9)] == [Scanning(), Looking(RUN), None, None]


def test_a_purpose_can_be_seen_before_it_is_taken() -> None:
    asks = Asks()
    asks.ask(Scanning(), ListRuns())
    assert [asks.purpose(1), asks.purpose(1), asks.purpose(2)] == [Scanning(), Scanning(), None]


def test_what_is_asked_is_known_until_every_ask_of_it_was_answered() -> None:
    asks = Asks()
    assert not asks.is_asking(Looking(RUN))
    asks.ask(Looking(RUN), LoadRun(RUN))
    asks.ask(Looking(RUN), LoadRun(RUN))
    asks.take(1)
    assert asks.is_asking(Looking(RUN))
    asks.take(2)
    assert [asks.is_asking(Looking(RUN)), asks.is_asking(Scanning())] == [False, False]
