"""Who cleans the store by itself, and when."""

import math

import pytest

from meshflow.core.asks import Asks, Removing
from meshflow.core.effects import Ask, Effect, Emit
from meshflow.core.events import StoreCleaned
from meshflow.core.member import Member
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import CreateRun, ListRuns, WriteOutput
from meshflow.core.retention import Retention, RetentionSettings
from meshflow.ids import NodeId, RunId
from meshflow.store.memory import MemoryStore
from tests.core.builders import member

WALL_OFFSET_S = 1_000_000.0
ME = member(NodeId("bb" * 8))
LOWER = member(NodeId("aa" * 8))
HIGHER = member(NodeId("cc" * 8))
RUN = RunId("5" * 24)


class Bench:
    """One machine and its store, which has one run that ended at 0 and printed something."""

    def __init__(self, settings: RetentionSettings) -> None:
        self.asks = Asks()
        self.store = MemoryStore()
        self.retention = Retention(self.asks, settings, 0.0)
        record = RunRecord(
            RUN, "fit", "fit", "workflow", state=State.COMPLETED, created_at=WALL_OFFSET_S, ended_at=WALL_OFFSET_S
        )
        self.store.perform([CreateRun(record, {}, {}), WriteOutput(RUN, "t", 1, "stdout", 0, b"printed")])
        self.events: list[object] = []

    def flush(self, now: float, *others: Member, me: Member = ME) -> list[Effect]:
        """What comes of a flush."""
        return self.retention.flush(me, [me, *others], now, now + WALL_OFFSET_S)

    def run_until(self, until: float, *others: Member) -> None:
        """Let the time pass, and the store answer at once."""
        while (now := self.retention.deadline()) <= until:
            for effect in self.flush(now, *others):
                match effect:
                    case Ask(token=token, requests=requests):
                        assert self.asks.take(token) == Removing()
                        self.retention.answered(self.store.perform(requests), now)
                    case Emit(event=event):
                        self.events.append(event)

    @property
    def runs(self) -> int:
        """Runs in the store."""
        (found,) = self.store.perform([ListRuns()])
        assert isinstance(found, tuple)
        return len(found)


def test_it_is_off_unless_something_was_said() -> None:
    assert Bench(RetentionSettings()).retention.deadline() == math.inf
    assert Bench(RetentionSettings()).flush(1e9) == []


@pytest.mark.parametrize("settings", [RetentionSettings(runs_s=5000.0), RetentionSettings(runs_s=5000.0, keep=0)])
def test_runs_go_when_they_are_old_enough_and_it_is_told_once(settings: RetentionSettings) -> None:
    bench = Bench(settings)
    bench.run_until(4900.0)
    assert (bench.runs, bench.events) == (1, [])
    bench.run_until(20_000.0)
    assert (bench.runs, bench.events) == (0, [StoreCleaned(1, 1, 7)])


def test_the_newest_are_kept_however_old() -> None:
    bench = Bench(RetentionSettings(runs_s=5000.0, keep=1))
    bench.run_until(100_000.0)
    assert bench.runs == 1


def test_output_may_go_earlier() -> None:
    bench = Bench(RetentionSettings(output_s=100.0))
    bench.run_until(10_000.0)
    assert (bench.runs, bench.events) == (1, [StoreCleaned(1, 1, 7)])


def test_it_is_the_work_of_the_lowest_node_that_stays() -> None:
    bench = Bench(RetentionSettings(keep=0))
    bench.run_until(50_000.0, LOWER, HIGHER)
    assert bench.runs == 1
    bench.run_until(100_000.0, member(LOWER.id, is_draining=True), HIGHER)
    assert bench.runs == 0


def test_a_node_that_leaves_does_not_begin_and_goes_no_further() -> None:
    leaving = member(ME.id, is_draining=True)
    bench = Bench(RetentionSettings(keep=0))
    assert bench.flush(5000.0, me=leaving) == []
    bench = Bench(RetentionSettings(keep=0))
    (asked,) = bench.flush(60.0)
    assert isinstance(asked, Ask)
    bench.retention.answered(bench.store.perform(asked.requests), 60.0)
    assert bench.flush(61.0, me=leaving) == []
    assert bench.retention.deadline() == math.inf


def test_it_waits_for_the_store_and_pauses_between_steps() -> None:
    bench = Bench(RetentionSettings(keep=0, first_s=60.0, pause_s=0.05))
    assert bench.flush(59.0) == []
    (asked,) = bench.flush(60.0)
    assert isinstance(asked, Ask)
    assert (bench.retention.deadline(), bench.flush(1000.0)) == (math.inf, [])
    bench.retention.answered(bench.store.perform(asked.requests), 1000.0)
    assert bench.retention.deadline() == 1000.05


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    bench = Bench(RetentionSettings())
    bench.retention.answered([True], 5.0)
    assert bench.retention.deadline() == math.inf
