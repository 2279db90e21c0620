"""Results of calls that are kept: which calls are made, what is found, and what happens without a store."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest

from meshflow.call_cache import MAX_BYTES, CallCache
from meshflow.call_future import CallFuture
from meshflow.calls import Calling, CallOptions, Calls
from meshflow.core.caching import PERIOD_S, generation, keep, look_up
from meshflow.core.calling import Call
from meshflow.core.requests import PutBlob
from meshflow.errors import UsageError
from meshflow.mesh import Mesh
from meshflow.models import parcels
from meshflow.models.payload import dumps
from tests.client.fake_mesh import FakeMesh

MAGNITUDE: Any = abs
"""The function that is called, of which types say nothing: the results here are in lists."""


class Maker:
    """Makes calls at once, by itself, but for those that are told to wait."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []
        self.function: Any = abs

    def make(self, calls: Sequence[Call], code: bytes) -> None:
        for call in calls:
            data, future = call.data, call.mark
            assert isinstance(data, bytes)
            assert isinstance(future, CallFuture)
            arguments, _ = parcels.load(data)
            self.made.append(arguments)
            try:
                future.set_result([self.function(*arguments)])
            except ValueError as problem:
                future.set_exception(problem)

    def end(self, calls: Sequence[Call]) -> None:
        raise AssertionError("nothing is ended here")

    def close(self) -> None:
        pass


class Slow:
    """A mesh that does not answer until it may."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.asked = 0

    def perform(self, requests: Sequence[object]) -> list[object]:
        self.asked += 1
        self.may_go.wait(10.0)
        return [None] * len(requests)

    def close(self) -> None:
        pass


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


@pytest.fixture
def calling(maker: Maker, mesh: FakeMesh) -> Iterator[Calling]:
    with closing(Calls(lambda: maker, connect=mesh.connect)) as calls:
        yield Calling(calls, CallOptions(cache=True))


def test_what_was_called_before_is_not_called_again(calling: Calling, maker: Maker) -> None:
    first = calling.map(MAGNITUDE, [-1, -2])
    again = calling.map(MAGNITUDE, [-2, -3, -1])
    assert [future.result() for future in first] == [[1], [2]]
    assert [future.result() for future in again] == [[2], [3], [1]]
    assert [future.is_cached for future in [*first, *again]] == [False, False, True, False, True]
    assert maker.made == [(-1,), (-2,), (-3,)]


def test_another_client_finds_it_too(maker: Maker, mesh: FakeMesh) -> None:
    for is_cached in (False, True):
        with closing(Calls(lambda: maker, connect=mesh.connect)) as calls:
            future = Calling(calls, CallOptions(cache=True)).submit(MAGNITUDE, -5)
            assert (future.result(), future.is_cached, future.done()) == ([5], is_cached, True)


def test_without_the_option_nothing_is_kept_or_found(calling: Calling, maker: Maker) -> None:
    plain = calling.options(cache=False)
    for each in (plain, calling, plain):
        each.submit(MAGNITUDE, -1).result()
    assert len(maker.made) == 3


def test_a_call_that_raises_is_made_again(calling: Calling, maker: Maker) -> None:
    def fail(_: object) -> int:
        raise ValueError("broken")

    maker.function = fail
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            calling.submit(MAGNITUDE, -1).result()
    assert len(maker.made) == 2


def test_what_is_kept_is_what_was_returned_before_anybody_could_change_it(calling: Calling) -> None:
    first = calling.submit(MAGNITUDE, -1)
    first.result().append(99)
    assert calling.submit(MAGNITUDE, -1).result() == [1]


def test_what_is_too_large_or_cannot_be_pickled_is_not_kept(calling: Calling, maker: Maker) -> None:
    for result in (bytes(MAX_BYTES + 1), threading.Lock()):
        maker.function = lambda _, result=result: result
        for _ in range(2):
            assert not calling.submit(MAGNITUDE, -1).is_cached


def test_what_cannot_be_named_is_called(calling: Calling) -> None:
    class Odd:
        def __reduce__(self) -> tuple[object, ...]:
            if threading.current_thread() is threading.main_thread() and self.count:
                raise ValueError("not now")
            return (int, ())

        count = 0

    assert calling.submit(MAGNITUDE, Odd()).result() == [0]


def test_what_cannot_be_read_back_is_called(calling: Calling, maker: Maker, mesh: FakeMesh) -> None:
    cache = CallCache(mesh.connect)
    [key] = cache.keys(abs, [((-1,), {})])
    mesh.store.perform(keep(key, b"nonsense", time.time()))
    assert calling.submit(MAGNITUDE, -1).result() == [1]
    assert len(maker.made) == 1


def test_what_was_used_is_kept_for_another_period(calling: Calling, mesh: FakeMesh) -> None:
    cache = CallCache(mesh.connect)
    [key] = cache.keys(abs, [((-1,), {})])
    now = time.time()
    mesh.store.perform([PutBlob(generation(now - PERIOD_S), key, dumps("before"))])
    assert calling.submit(MAGNITUDE, -1).result() == "before"
    calling.submit(MAGNITUDE, -2).result()
    assert mesh.store.perform(look_up(key, now))[0] == dumps("before")


def test_a_mesh_that_does_not_answer_is_waited_for_a_second_and_then_left_alone() -> None:
    slow = Slow()
    cache = CallCache(lambda: slow)  # type: ignore[arg-type, return-value]
    began = time.monotonic()
    for _ in range(5):
        assert cache.find(["a"]) == [None]
    assert 0.9 < time.monotonic() - began < 3.0
    assert slow.asked == 1
    slow.may_go.set()
    cache.close()


def test_a_mesh_that_is_not_there_is_an_empty_cache(maker: Maker) -> None:
    def connect() -> Mesh:
        return Mesh(FakeMesh().dial, list, timeout_s=0.1)

    with closing(Calls(lambda: maker, connect=connect)) as calls:
        assert Calling(calls, CallOptions(cache=True)).submit(MAGNITUDE, -1).result() == [1]


def test_calls_that_are_not_those_of_a_client_say_that_they_have_no_cache(maker: Maker) -> None:
    with closing(Calls(lambda: maker)) as calls, pytest.raises(UsageError, match=r"client\.options\(cache=True\)"):
        Calling(calls, CallOptions(cache=True)).submit(MAGNITUDE, -1)
    with pytest.raises(UsageError, match="is for the calls of a Client"):
        CallOptions(cache=True).check_uncached()
    CallOptions().check_uncached()
