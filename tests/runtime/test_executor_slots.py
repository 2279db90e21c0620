"""Several task processes, and how many of them may run: what is queued with one goes to another that is free."""

import time
from collections.abc import Callable

import pytest

from meshflow.core.records import State
from meshflow.runtime.task_process import Assigned, TaskProcess
from tests.runtime.executor_bench import ExecutorBench
from tests.runtime.queueing import held, hold, let_go, pids_of, tell

MakeBench = Callable[..., ExecutorBench]


def test_an_idle_process_takes_over_what_is_queued_behind_a_long_task(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.resize(2)
    holder = held(bench)
    attempts = [bench.start(tell) for _ in range(40)]

    assert len(set(pids_of(bench, attempts))) == 1
    assert holder.attempt not in bench.ends


def test_when_one_of_two_processes_dies_its_successor_takes_over_too(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.resize(2)
    first, second = held(bench), held(bench)
    attempts = [bench.start(tell) for _ in range(8)]

    bench.executor.kill(first.attempt, "cancelled", 30.0)

    assert len(set(pids_of(bench, attempts))) == 1
    assert second.attempt not in bench.ends


def test_a_slot_that_a_waiting_task_lends_starts_what_is_queued_behind_it(single: ExecutorBench) -> None:
    holder = held(single)
    attempts = [single.start(tell) for _ in range(5)]

    single.executor.resize(2)

    assert len(set(pids_of(single, attempts))) == 1
    assert holder.attempt not in single.ends


def test_slots_that_several_waiting_tasks_lend_at_once_start_what_is_queued_behind_each(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.resize(2)
    for _number in range(2):
        held(bench)
    attempts = [bench.start(hold) for _ in range(2)]

    bench.executor.resize(4)

    bench.until(lambda: {each.attempt for each in bench.signals} >= set(attempts))


def test_no_more_is_taken_back_than_there_are_free_slots_for(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call of a task that waits for others changes the slots; to take back a full queue costs 0.3 ms."""
    bench = make_bench()
    bench.executor.resize(3)
    for _number in range(3):
        held(bench)
    for _number in range(9):
        bench.start(hold)
    taken_back: list[int] = []
    recall = TaskProcess.recall

    def noted(process: TaskProcess) -> list[Assigned]:
        recalled = recall(process)
        taken_back.append(len(recalled))
        return recalled

    monkeypatch.setattr(TaskProcess, "recall", noted)

    bench.executor.resize(3)
    assert taken_back == []
    bench.executor.resize(4)
    assert taken_back == [3]
    bench.until(lambda: len(bench.signals) == 4)
    bench.executor.resize(3)
    assert sum(taken_back) == 3 + 8, "those that are too many get nothing more"


def test_with_fewer_slots_what_runs_goes_on_and_the_queued_wait_for_their_turn(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.resize(3)
    holders = [held(bench) for _ in range(3)]
    attempts = [bench.start(tell) for _ in range(30)]

    bench.executor.resize(1)
    for holder in holders[:2]:
        let_go(bench, holder)
        assert bench.end(holder.attempt).state is State.COMPLETED
    let_go(bench, holders[2])

    assert len(set(pids_of(bench, attempts))) == 1
    last = bench.end(holders[2].attempt)
    assert last.state is State.COMPLETED
    assert all(bench.end(attempt).started_at >= last.ended_at for attempt in attempts)


def test_with_no_slots_nothing_begins_until_there_is_one(single: ExecutorBench) -> None:
    holder = held(single)
    attempts = [single.start(tell) for _ in range(5)]
    single.executor.resize(0)
    let_go(single, holder)
    single.end(holder.attempt)
    resized_at = time.time()
    single.executor.resize(1)

    assert len(set(pids_of(single, attempts))) == 1
    assert all(single.end(attempt).started_at >= resized_at for attempt in attempts)
