"""The node's end of the cache: what it asks of the store for its task processes, and what it does without one."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.caching import MAX_RESULT_BYTES, PERIOD_S, generation
from meshflow.core.requests import CreateRun, GetBlob, PutBlob, Request
from meshflow.ids import RunId
from meshflow.runtime import result_cache
from meshflow.runtime.executor import Executor
from meshflow.runtime.result_cache import ResultCache
from meshflow.runtime.storage import Refuse, Reply, Storage

NOW = 100 * PERIOD_S
ATTEMPT = Attempt(RunId("f" * 24 + "/main:1"), 0, 1, 1)
NONE = RunId("")


class World:
    """A store and an executor that only take note."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[Request], Reply, Refuse | None]] = []
        self.answers: list[tuple[Attempt, int, object]] = []
        self.cache = ResultCache(cast(Storage, self), cast(Executor, self))

    def ask(self, requests: Sequence[Request], reply: Reply, refuse: Refuse | None = None) -> None:
        self.asked.append((requests, reply, refuse))

    def answer(self, attempt: Attempt, call: int, result: object, error: str = "") -> None:
        self.answers.append((attempt, call, result))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    class Clock:
        time = staticmethod(lambda: NOW)

    monkeypatch.setattr(result_cache, "time", Clock)
    return World()


def find(world: World, *answers: Any) -> None:
    world.cache.perform(ATTEMPT, 5, GetBlob(NONE, "k"))
    requests, reply, _ = world.asked.pop()
    assert requests == (GetBlob(generation(NOW), "k"), GetBlob(generation(NOW - PERIOD_S), "k"))
    reply(list(answers))


def test_a_result_is_looked_for_in_this_generation_and_the_one_before(world: World) -> None:
    find(world, b"now", b"before")
    find(world, None, None)
    assert world.answers == [(ATTEMPT, 5, b"now"), (ATTEMPT, 5, None)]
    assert not world.asked


def test_what_is_used_stays(world: World) -> None:
    find(world, None, b"before")
    assert world.answers == [(ATTEMPT, 5, b"before")]
    [(requests, _, refuse)] = world.asked
    assert requests[1] == PutBlob(generation(NOW), "k", b"before")
    assert refuse is not None, "it is not repeated until the store is back"


def test_a_store_that_is_away_is_an_empty_one(world: World) -> None:
    world.cache.perform(ATTEMPT, 5, GetBlob(NONE, "k"))
    _, _, refuse = world.asked[0]
    assert refuse is not None
    refuse("away")
    assert world.answers == [(ATTEMPT, 5, None)]


def test_what_waits_to_be_kept_is_bounded(world: World) -> None:
    half = bytes(MAX_RESULT_BYTES // 2)
    for key in ("a", "b", "c"):
        world.cache.perform(ATTEMPT, 1, PutBlob(NONE, key, half))
    kept = [requests[1].key for requests, _, _ in world.asked if isinstance(requests[1], PutBlob)]
    assert kept == ["a", "b"]
    assert all(isinstance(requests[0], CreateRun) for requests, _, _ in world.asked)
    (_, reply, _), (_, _, refuse) = world.asked
    assert refuse is not None
    reply([True, True])
    refuse("away")
    world.cache.perform(ATTEMPT, 1, PutBlob(NONE, "d", bytes(MAX_RESULT_BYTES)))
    assert len(world.asked) == 3
    assert world.answers == []
