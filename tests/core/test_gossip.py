"""Which news goes out next, and how often."""

import pytest

from meshflow.core.gossip import GossipQueue, transmit_limit
from tests.core.builders import ANN, BOB, ME


def queue(*members: str) -> GossipQueue:
    """A queue with news of these, in this order."""
    filled = GossipQueue()
    for member in members:
        filled.add(member)  # type: ignore[arg-type]
    return filled


@pytest.mark.parametrize(("members", "limit"), [(1, 6), (2, 6), (9, 8), (10, 9), (99, 12), (999, 16), (9_999, 20)])
def test_an_update_is_sent_more_often_in_a_larger_mesh_but_only_by_its_logarithm(members: int, limit: int) -> None:
    assert transmit_limit(4.0, members) == limit


def test_an_update_is_sent_at_least_once() -> None:
    assert transmit_limit(0.001, 1) == 1


def test_an_update_is_forgotten_when_it_was_sent_often_enough() -> None:
    news = queue(ME)
    assert [news.take(5, limit=3) for _ in range(4)] == [[ME], [ME], [ME], []]
    assert not news


def test_what_was_sent_least_often_goes_first() -> None:
    news = queue(ME, ANN)
    assert news.take(2, limit=9) == [ME, ANN]
    news.add(BOB)
    assert news.take(2, limit=9) == [BOB, ME]
    assert news.take(2, limit=9) == [ANN, BOB], "both were sent once, and ME twice"


def test_nothing_waits_for_ever_behind_a_stream_of_newer_news() -> None:
    """Of updates that were sent equally often, the oldest goes first."""
    news = queue(ANN)
    for number in range(100):
        news.add(f"n{number}")  # type: ignore[arg-type]
    assert news.take(1, limit=9) == [ANN]


def test_newer_news_of_a_member_replaces_older_and_starts_again() -> None:
    news = queue(ME)
    news.take(1, limit=2)
    news.add(ME)
    assert len(news) == 1
    assert [news.take(1, limit=2) for _ in range(3)] == [[ME], [ME], []]


def test_a_message_takes_no_more_updates_than_it_may() -> None:
    assert len(queue(*"abcdefgh").take(3, limit=9)) == 3


def test_what_was_dropped_is_not_sent() -> None:
    news = queue(ME, ANN)
    news.drop(ME)
    news.drop(BOB)
    assert news.take(9, limit=9) == [ANN]


def test_a_lower_limit_ends_what_was_sent_more_often_already() -> None:
    """The limit falls when the mesh shrinks."""
    news = queue(ME)
    for _ in range(3):
        news.take(1, limit=9)
    assert news.take(1, limit=2) == [ME]
    assert not news
