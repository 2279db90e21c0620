"""A future that makes its condition late is a future like any other."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, InvalidStateError, as_completed, wait

import pytest

from meshflow.call_future import CallFuture
from meshflow.core.calling import Call, Function

PATIENCE_S = 10.0


def future() -> CallFuture[int]:
    return CallFuture(Call(Function("f", "f"), b""))


def test_it_has_no_condition_if_nobody_waits() -> None:
    one = future()
    one.set_result(1)
    assert (one.done(), one.result(), one.exception(), one.running(), one.cancelled()) == (True, 1, None, False, False)
    two = future()
    two.set_result(2)
    assert two.result() == 2
    assert two._lazy_condition is None


@pytest.mark.parametrize("look", [lambda each: None, lambda each: each.done()], ids=["unseen", "seen"])
def test_an_error_is_raised_as_it_was(look: Callable[[CallFuture[int]], object]) -> None:
    one = future()
    look(one)
    one.set_exception(KeyError("k"))
    with pytest.raises(KeyError):
        one.result()
    assert isinstance(one.exception(), KeyError)


@pytest.mark.parametrize("look", [lambda each: None, lambda each: each.done()], ids=["unseen", "seen"])
def test_it_ends_once(look: Callable[[CallFuture[int]], object]) -> None:
    one = future()
    look(one)
    one.set_result(1)
    with pytest.raises(InvalidStateError):
        one.set_result(2)
    with pytest.raises(InvalidStateError):
        one.set_exception(KeyError())
    assert one.result() == 1


def test_callbacks_are_called_whether_they_come_before_or_after_the_end() -> None:
    one, called = future(), list[str]()
    one.add_done_callback(lambda _: called.append("before"))
    one.set_result(1)
    one.add_done_callback(lambda _: called.append("after"))
    assert called == ["before", "after"]


def test_a_cancelled_one_stays_so() -> None:
    one = future()
    assert one.cancel()
    assert one.cancel()
    with pytest.raises(InvalidStateError):
        one.set_result(1)
    with pytest.raises(CancelledError):
        one.result()
    assert one.call.is_cancelled


def test_one_that_has_begun_is_not_cancelled() -> None:
    one = future()
    one.call.has_begun = True
    assert one.running()
    assert not one.cancel()


def test_with_the_futures_of_the_standard_library() -> None:
    some = [future() for _ in range(4)]
    some[0].set_result(0)
    timer = threading.Timer(0.01, _end, (some,))
    timer.start()
    assert {each.result() for each in as_completed(some, PATIENCE_S)} == {0, 1, 2, 3}
    assert not wait(some, PATIENCE_S).not_done


def _end(some: list[CallFuture[int]]) -> None:
    for index, each in enumerate(some):
        if index:
            each.set_result(index)


def test_whoever_comes_in_the_very_moment_of_the_end_is_not_left_waiting() -> None:
    """Two threads, one that waits and one that ends, begin together, again and again."""
    for number in range(2000):
        one, start, got = future(), threading.Barrier(2), list[int]()

        def get(one: CallFuture[int] = one, start: threading.Barrier = start, got: list[int] = got) -> None:
            start.wait(PATIENCE_S)
            got.append(one.result(PATIENCE_S))

        waiter = threading.Thread(target=get)
        waiter.start()
        start.wait(PATIENCE_S)
        one.set_result(number)
        waiter.join(PATIENCE_S)
        assert got == [number]
