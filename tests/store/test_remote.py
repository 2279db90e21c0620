"""The store of another node: which is asked, what is believed, and what is done with what does not fit.

The nodes here are functions. Over sockets it is tried in `tests/runtime/test_calls.py`, the contract included.
"""

from collections.abc import Callable

import pytest

from meshflow.core.client_messages import StoreAnswers, StoreAsk
from meshflow.core.requests import GetBlob, LoadRun, PutBlob, Refused, Request, SetFields
from meshflow.errors import StoreUnavailable
from meshflow.ids import RunId
from meshflow.store.remote import ANSWERS_TOO_LARGE, AskTooLarge, RemoteStore, TooLargeForMesh

_RUN = RunId("5f" * 12)

Node = Callable[[StoreAsk], StoreAnswers]


class Nodes:
    """A mesh of functions by address; those without one do not answer."""

    def __init__(self, **nodes: Node) -> None:
        self.nodes = nodes
        self.asked: list[str] = []
        self.numbers: list[int] = []
        self.is_closed = False

    def __call__(self, holder: str, ask: StoreAsk) -> StoreAnswers:
        self.asked.append(holder)
        self.numbers.append(ask.number)
        if holder not in self.nodes:
            raise StoreUnavailable(f"no answer from '{holder}'")
        return self.nodes[holder](ask)

    def close(self) -> None:
        self.is_closed = True

    def store(self, *holders: str) -> RemoteStore:
        return RemoteStore(self, lambda: holders)


def echo(ask: StoreAsk) -> StoreAnswers:
    """Answers each request with itself."""
    return StoreAnswers(ask.number, ask.requests)


def failing(ask: StoreAsk) -> StoreAnswers:
    """A node whose own store does not answer."""
    return StoreAnswers(ask.number, (), "disk I/O error")


def short(ask: StoreAsk) -> StoreAnswers:
    """A node that loses an answer."""
    return StoreAnswers(ask.number, ask.requests[1:])


def loads(*numbers: int) -> list[Request]:
    return [LoadRun(RunId(str(number))) for number in numbers]


# --- who is asked ---


def test_requests_are_answered_in_order_and_numbers_are_not_used_twice() -> None:
    nodes = Nodes(a=echo)
    store = nodes.store("a")
    assert store.perform(loads(1, 2, 3)) == loads(1, 2, 3)
    assert store.perform(loads(4)) == loads(4)
    assert len(set(nodes.numbers)) == len(nodes.numbers) == 2


def test_nothing_is_asked_for_nothing() -> None:
    nodes = Nodes(a=echo)
    assert nodes.store("a").perform([]) == []
    assert nodes.asked == []


@pytest.mark.parametrize("other", [failing, short, None], ids=["store away", "wrong answers", "silent"])
def test_another_holder_is_asked_when_one_has_no_answer_and_it_is_kept(other: Node | None) -> None:
    nodes = Nodes(b=echo, **({} if other is None else {"a": other}))
    store = nodes.store("a", "b", "c")
    assert store.perform(loads(1)) == loads(1)
    assert store.perform(loads(2)) == loads(2)
    assert nodes.asked == ["a", "b", "b"]


def test_the_holders_are_those_of_the_moment() -> None:
    nodes, holders = Nodes(a=echo, b=echo), ["a"]
    store = RemoteStore(nodes, lambda: holders)
    store.perform(loads(1))
    holders[:] = ["b"]
    store.perform(loads(2))
    assert nodes.asked == ["a", "b"]


def test_when_no_holder_answers_each_is_named_with_its_reason() -> None:
    nodes = Nodes(a=failing, c=short)
    with pytest.raises(StoreUnavailable, match="'a': disk I/O error; no answer from 'b'; the node at 'c': the number"):
        nodes.store("a", "b", "c").perform(loads(1, 2))
    with pytest.raises(StoreUnavailable, match="no node of this mesh says that it has the store"):
        nodes.store().perform(loads(1))


def test_closing_lets_go_of_connections() -> None:
    nodes = Nodes()
    nodes.store().close()
    assert nodes.is_closed


def test_what_no_store_could_keep_is_refused_without_asking_and_the_rest_is_performed() -> None:
    nodes = Nodes(a=echo)
    wrong = SetFields(_RUN, "data", {"key": 2**64})
    first, second, third = nodes.store("a").perform([*loads(1), wrong, *loads(2)])
    assert [first, third] == loads(1, 2)
    assert isinstance(second, Refused)
    assert "'key'" in second.reason
    assert nodes.store("b").perform([wrong]) == [second]
    assert nodes.asked == ["a"]


# --- what does not fit ---


def limited(max_count: int) -> Node:
    """A node to which asks of more than `max_count` requests are too large."""

    def node(ask: StoreAsk) -> StoreAnswers:
        if len(ask.requests) > max_count:
            raise AskTooLarge(1000 * len(ask.requests), 1000 * max_count)
        return echo(ask)

    return node


@pytest.mark.parametrize("max_count", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_a_batch_that_does_not_fit_goes_in_parts_that_do(max_count: int, count: int) -> None:
    requests = loads(*range(count))
    assert Nodes(a=limited(max_count)).store("a").perform(requests) == requests


def test_answers_that_do_not_fit_are_asked_for_in_parts() -> None:
    def node(ask: StoreAsk) -> StoreAnswers:
        return echo(ask) if len(ask.requests) <= 2 else StoreAnswers(ask.number, (), ANSWERS_TOO_LARGE)

    requests = loads(*range(9))
    assert Nodes(a=node).store("a").perform(requests) == requests


def test_a_single_request_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TooLargeForMesh, match=r"cannot perform PutBlob .* of 1000 bytes .* at most 0 fit") as caught:
        Nodes(a=limited(0)).store("a").perform([PutBlob(_RUN, "key", b"x")])
    assert "max_message_bytes" in str(caught.value)
    assert caught.value.request == PutBlob(_RUN, "key", b"x")


def test_a_single_answer_that_does_not_fit_is_an_error() -> None:
    nodes = Nodes(a=lambda ask: StoreAnswers(ask.number, (), ANSWERS_TOO_LARGE), b=echo)
    with pytest.raises(TooLargeForMesh, match=f"cannot perform GetBlob .*{ANSWERS_TOO_LARGE}"):
        nodes.store("a", "b").perform([GetBlob(_RUN, "key")])
    assert nodes.asked == ["a"]  # it would not fit from another node either


def test_what_stands_before_a_request_that_does_not_fit_is_performed() -> None:
    done: list[Request] = []

    def node(ask: StoreAsk) -> StoreAnswers:
        if any(isinstance(request, PutBlob) for request in ask.requests):
            raise AskTooLarge(1000, 100)
        done.extend(ask.requests)
        return echo(ask)

    with pytest.raises(TooLargeForMesh):
        Nodes(a=node).store("a").perform([*loads(1, 2), PutBlob(_RUN, "key", b"x"), *loads(3)])
    assert done == loads(1, 2)
