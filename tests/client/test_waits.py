"""Waiting for many runs at once, over one connection."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from meshflow.core.client_messages import Watch
from meshflow.core.records import State
from meshflow.core.requests import Append, CreateRun
from meshflow.following import ALL_RUNS
from meshflow.ids import RunId
from meshflow.mesh import Mesh
from meshflow.references import NotFound
from meshflow.runtime.transport.problems import WrongKey
from meshflow.waits import Waits
from tests.client.fake_mesh import FakeClock, FakeMesh
from tests.client.run_stories import RECORD, RUN, workflow_log

PATIENCE_S = 20.0


class ShortClock(FakeClock):
    """The real one, but nobody sleeps for long: what wakes sleepers is not there."""

    def __call__(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.005))


@pytest.fixture
def fake() -> FakeMesh:
    mesh = FakeMesh()
    mesh.clock = ShortClock()
    return mesh


@pytest.fixture
def waits(fake: FakeMesh) -> Iterator[Waits]:
    def connect(interrupt: int) -> Mesh:
        return fake.connect().another(interrupt)

    waits = Waits(connect)
    yield waits
    waits.close()


def runs(count: int) -> list[RunId]:
    return [RunId(f"{number:024x}") for number in range(count)]


def begin(fake: FakeMesh, run: RunId) -> None:
    fake.store.perform([CreateRun(replace(RECORD, run=run), {})])


def end(fake: FakeMesh, run: RunId) -> None:
    fake.store.perform([Append(replace(batch, run=run)) for batch in workflow_log()])


def watched(fake: FakeMesh) -> list[RunId]:
    return [message.run for message in fake.alice.heard if isinstance(message, Watch)]


def test_a_thousand_runs_are_waited_for_over_one_connection(fake: FakeMesh, waits: Waits) -> None:
    for run in runs(1000):
        begin(fake, run)
    waiting = [waits.wait(run) for run in runs(1000)]
    for run in runs(1000):
        end(fake, run)
    assert {future.result(PATIENCE_S).state for future in waiting} == {State.COMPLETED}
    assert len(fake.links) == 2  # One to each node, to find one that answers.
    assert watched(fake)[-1] == ALL_RUNS
    assert len(watched(fake)) <= 2


def test_news_of_one_run_are_asked_for_and_of_several_those_of_all(fake: FakeMesh, waits: Waits) -> None:
    first, second = runs(2)
    begin(fake, first)
    begin(fake, second)
    one = waits.wait(first)
    end(fake, first)
    assert one.result(PATIENCE_S).run == first
    other = waits.wait(second)
    end(fake, second)
    assert other.result(PATIENCE_S).run == second
    assert watched(fake) == [first, ALL_RUNS]


def test_two_may_wait_for_the_same_run_and_one_may_give_up(fake: FakeMesh, waits: Waits) -> None:
    begin(fake, RUN)
    one, other, given_up = (waits.wait(RUN) for _ in range(3))
    assert given_up.cancel()
    end(fake, RUN)
    assert one.result(PATIENCE_S) == other.result(PATIENCE_S)


def test_a_run_that_is_not_there_is_told_and_others_are_waited_for(fake: FakeMesh, waits: Waits) -> None:
    here, missing = runs(2)
    begin(fake, here)
    waiting, told = waits.wait(here), waits.wait(missing)
    with pytest.raises(NotFound, match=missing):
        told.result(PATIENCE_S)
    end(fake, here)
    assert waiting.result(PATIENCE_S).state is State.COMPLETED


def test_who_waits_hears_why_it_is_in_vain_and_may_try_again(fake: FakeMesh, waits: Waits) -> None:
    begin(fake, RUN)
    end(fake, RUN)
    for node in fake.nodes.values():
        node.problem = WrongKey(node.member.address)
    with pytest.raises(WrongKey):
        waits.wait(RUN).result(PATIENCE_S)
    for node in fake.nodes.values():
        node.problem = None
    assert waits.wait(RUN).result(PATIENCE_S).state is State.COMPLETED


def test_what_is_waited_for_when_the_client_is_closed_is_given_up(fake: FakeMesh) -> None:
    waits = Waits(lambda interrupt: fake.connect().another(interrupt))
    begin(fake, RUN)
    future = waits.wait(RUN)
    waits.close()
    with pytest.raises(RuntimeError, match="closed"):
        future.result(PATIENCE_S)
    with pytest.raises(RuntimeError, match="closed"):
        waits.wait(RUN)
