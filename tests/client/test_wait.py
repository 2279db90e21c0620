"""Waiting for the end of a run: the same is known whether pushes arrive, arrive twice, late, or not at all."""

import random
from dataclasses import replace

import pytest

from meshflow.core.client_messages import Watched
from meshflow.core.records import Batch, Claimed, DagEnded, DagStarted, RunEnded, State
from meshflow.core.requests import Append, LoadRun, PutBlob, ReadLog, RemoveRun, Request, UpdateRun
from meshflow.ids import RunId
from meshflow.store.memory import MemoryStore
from meshflow.wait import Waiter
from tests.client.run_stories import OWNER, RECORD, RUN, batch, creation, dag_log, printed, whole_run, workflow_log

ENDED = replace(RECORD, state=State.COMPLETED, started_at=101.0, ended_at=106.0, total=2, done=2)


def ask(waiter: Waiter, store: MemoryStore, now: float) -> list[Request]:
    """Have the store answer all that the waiter wants to know now; what that was."""
    asked: list[Request] = []
    while requests := waiter.requests(now):
        for request, answer in zip(requests, store.perform(requests), strict=True):
            waiter.answered(request, answer, now)
        asked += requests
    return asked


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.perform([creation()])
    return store


def test_a_run_that_has_ended_is_known_from_its_log_though_its_record_lags() -> None:
    store = MemoryStore()
    store.perform(whole_run())
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    assert waiter.is_done
    assert waiter.record == ENDED


def test_the_end_is_known_from_pushes_without_reading_anything_more(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    begin, end = workflow_log()
    waiter.receive(Watched(begin), 0.1)
    before = waiter.is_done
    waiter.receive(Watched(end), 0.2)
    assert (before, waiter.is_done) == (False, True)
    assert waiter.record == ENDED
    assert waiter.requests(9.0) == []
    assert waiter.take() == []


def test_lost_pushes_are_made_good_by_reading_after_a_second(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    store.perform(whole_run()[1:])
    assert waiter.requests(0.9) == []
    assert waiter.deadline(0.9) == 1.0
    ask(waiter, store, 1.0)
    assert waiter.record == ENDED


def test_a_gap_is_read_at_once(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    store.perform([*map(Append, workflow_log())])
    waiter.receive(Watched(workflow_log()[1]), 0.1)
    assert not waiter.is_done
    assert waiter.requests(0.1) == [LoadRun(RUN), ReadLog(RUN, 0)]
    ask(waiter, store, 0.1)
    assert waiter.record == ENDED


@pytest.mark.parametrize("seed", range(20))
def test_pushes_in_any_order_and_number_end_in_the_same_record(store: MemoryStore, seed: int) -> None:
    rng = random.Random(seed)
    dags = [f"main_dag:{number}" for number in range(1, 6)]
    steps = [
        batch(RUN, 0, Claimed(OWNER, 1), *(DagStarted(name, "main_dag", name) for name in dags), at=101.0),
        *(batch(RUN, seq, DagEnded(name, State.COMPLETED, "", 10, 9)) for seq, name in enumerate(dags, 1)),
        batch(RUN, 6, Claimed(OWNER, 2), at=104.0),
        batch(RUN, 7, RunEnded(State.FAILED, "no"), at=106.0),
        batch(RUN, 8, Claimed(OWNER, 3), at=107.0),
    ]
    store.perform([*map(Append, steps)])
    pushed = [step for step in steps * 2 if rng.random() < 0.6]
    rng.shuffle(pushed)
    waiter = Waiter(RUN)
    for number, step in enumerate(pushed):
        waiter.receive(Watched(step), number * 0.1)
        if rng.random() < 0.2:
            for request in waiter.requests(number * 0.1):
                waiter.answered(request, store.perform([request])[0], number * 0.1)
    ask(waiter, store, 100.0)
    ends = replace(ENDED, state=State.FAILED, reason="no", total=50, done=45)
    assert waiter.record == ends


def test_a_long_log_is_read_in_as_many_pieces_as_it_takes(store: MemoryStore) -> None:
    begin, end = workflow_log()
    waiter = Waiter(RUN)
    waiter.answered(LoadRun(RUN), RECORD, 0.0)
    waiter.answered(ReadLog(RUN), (begin,), 0.0)
    assert waiter.requests(0.0) == [LoadRun(RUN), ReadLog(RUN, 1)]
    waiter.answered(ReadLog(RUN, 1), (end,), 0.0)
    assert waiter.record == ENDED


def test_a_final_record_needs_no_log(store: MemoryStore) -> None:
    store.perform([UpdateRun(RUN, 0, state=State.STOPPED, reason="enough")])
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    assert (waiter.record.state, waiter.record.reason) == (State.STOPPED, "enough")


def test_an_end_that_is_pushed_before_the_store_answers_waits_for_the_record(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    for step in workflow_log():
        waiter.receive(Watched(step), 0.0)
    assert not waiter.is_done
    ask(waiter, store, 1.0)
    assert waiter.record == ENDED


def test_dag_runs_output_and_other_runs_are_ignored(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    other = Batch(RunId("f" * 24), 0, "t", (RunEnded(State.FAILED),))
    for news in [*map(Watched, dag_log()), Watched(None, (printed("put", "x"),)), Watched(other)]:
        waiter.receive(news, 0.5)
    assert not waiter.is_done
    assert waiter.deadline(0.5) == 1.0


def test_a_run_that_does_not_exist_or_is_removed_is_gone(store: MemoryStore) -> None:
    waiter = Waiter(RUN)
    ask(waiter, store, 0.0)
    before = waiter.is_gone
    store.perform([UpdateRun(RUN, 9, State.COMPLETED), RemoveRun(RUN)])
    ask(waiter, store, 1.0)
    assert (before, waiter.is_gone, waiter.is_done) == (False, True, True)
    assert waiter.requests(9.0) == []


def test_a_waiter_is_not_given_what_it_did_not_ask() -> None:
    with pytest.raises(AssertionError, match="PutBlob"):
        Waiter(RUN).answered(PutBlob(RUN, "k", b""), True, 0.0)
