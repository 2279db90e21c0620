"""Driving a dag run: handing out, taking reports, and what is written before what is told. How attempts get lost, how
runs change owners and how they stop is in `test_dagowner_trouble.py`."""

import math
from dataclasses import replace
from typing import Any

import pytest

from meshflow.core.asks import Closing
from meshflow.core.effects import Ask, Emit, Send
from meshflow.core.events import ResultDiscarded
from meshflow.core.messages import Input, Job, Output, ReportsAck, Returned, Work
from meshflow.core.provenance import instant
from meshflow.core.records import Noted, RunEnded, State, TaskEnded, TasksQueued, TaskStarted, Value
from meshflow.core.requests import SetFields, UpdateRun, WriteOutput
from tests.core.builders import ANN, BOB, RUN, WF, attempt, dag, ended, finished, task
from tests.core.driven import WALL, DrivenDag, asked


def recorded(index: int, state: State = State.COMPLETED, **fields: Any) -> TaskEnded:
    """The entry for what `finished` reports."""
    end = ended(index, state, value=Value(b"result"), started_at=1001.0, ended_at=1003.0, node="ann's")
    return replace(end, **fields)


# --- handing out ---


def test_the_tasks_without_parents_are_queued_first() -> None:
    driven = DrivenDag(dag("a b c", "a>b"))
    assert driven.owner.begin([ANN], False, 0.0) == []
    assert driven.write().entries == [TasksQueued((0, 2))]
    assert driven.queued() == [0, 2]


def test_tasks_wait_on_their_queues_by_priority() -> None:
    driven = DrivenDag(dag("a b c", "", task("c", priority=1), task("b", queue="gpu")))
    driven.begin()
    assert driven.dispatcher.waiting == {"task": 2, "gpu": 1}
    assert driven.queued() == [2, 0]


def test_a_job_has_all_that_is_needed_to_run_it_and_its_start_is_logged() -> None:
    driven = DrivenDag(dag("a b", "a>b:slot", task("b", queue="gpu", timeout_s=5.0, uses=("lib",))), ended(0))
    driven.begin()
    job = driven.owner.hand_out(1, ANN, 0.0)
    inputs = (Input("a", "slot", Value(b"0")),)
    assert job == Job(attempt(1), "b", "w", "gpu", "code of b", ("lib",), inputs, None, 5.0)
    assert driven.write().entries == [TaskStarted(1, 1, 1, ANN)]
    assert [driven.owner.code("code of b"), driven.owner.code("lib")] == [b"code of b", b"lib"]


def test_only_tasks_without_parents_get_the_data_that_the_run_was_given() -> None:
    driven = DrivenDag(dag("a b", "a>b"), ended(0), initial=Value(b"given"))
    jobs = [
        DrivenDag(dag("a"), initial=Value(b"given")).owner.hand_out(0, ANN, 0.0),
        driven.owner.hand_out(1, ANN, 0.0),
    ]
    assert [job.initial for job in jobs if job is not None] == [Value(b"given"), None]


def test_a_task_wants_an_attempt_until_it_has_one_or_has_ended() -> None:
    driven = DrivenDag(dag("a b"), ended(0))
    assert [driven.owner.is_waiting(0), driven.owner.is_waiting(1)] == [False, True]
    driven.hand_out(1)
    assert not driven.owner.is_waiting(1)


def test_a_task_that_may_start_only_once_leaves_when_its_start_is_in_the_log() -> None:
    driven = DrivenDag(dag("a", "", task("a", at_most_once=True, uses=("lib",))))
    assert driven.owner.hand_out(0, ANN, 0.0) is None
    written = driven.write()
    assert TaskStarted(0, 1, 1, ANN) in written.entries
    job = Job(attempt(0), "a", "w", "task", "code of a", ("lib",), (), None, None)
    assert written.released == [Send(ANN, Work((job,), {"code of a": b"code of a", "lib": b"lib"}, 0))]


def test_no_more_jobs_may_leave_when_the_store_is_far_behind() -> None:
    driven = DrivenDag(dag("a b c"), max_backlog=2)
    is_behind = []
    for add in (lambda: driven.log.add(Noted("1"), Noted("2")), lambda: driven.log.add(Noted("3")), driven.write):
        add()
        is_behind.append(driven.owner.is_behind)
    assert is_behind == [False, True, False]


# --- reports ---


def test_a_result_is_logged_with_what_follows_and_then_acknowledged() -> None:
    driven = DrivenDag(dag("a b c d", "a>b a>c c>d"))
    driven.begin()
    driven.hand_out(0)
    assert driven.report(finished(attempt(0), limit=("b", "x"), reason="fine")) == []
    written = driven.write()
    assert written.entries == [
        recorded(0, limit=("b", "x"), reason="fine"),
        TaskEnded(2, 0, State.SKIPPED, reason="no parent selected it"),
        TaskEnded(3, 0, State.SKIPPED, reason="no parent selected it"),
        TasksQueued((1,)),
        Noted("limit names 'x', which is no successor of the task; it is ignored", 0),
    ]
    assert written.released == [Send(ANN, ReportsAck(RUN, 2))]
    assert driven.queued() == [1]


def test_reports_after_a_gap_are_left_to_be_sent_again() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    assert driven.report(finished(attempt(0)), first=2) == []
    assert driven.write().released == []
    assert driven.fold.states == [State.RUNNING]


def test_numbers_below_those_that_were_acknowledged_are_no_gap() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)), first=7, acknowledged=7)
    assert driven.write().released[0] == Send(ANN, ReportsAck(RUN, 8))


def test_reports_that_come_twice_are_acknowledged_twice_and_taken_once() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0, 1)
    first, second = finished(attempt(0)), finished(attempt(1))
    driven.report(first)
    driven.write()
    assert driven.report(first, second) == []
    written = driven.write()
    assert [entry for entry in written.entries if isinstance(entry, TaskEnded)] == [recorded(1)]
    assert written.released[0] == Send(ANN, ReportsAck(RUN, 3))


def test_numbers_that_could_not_be_counted_on_are_ignored() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    last = 2**63 - 1
    assert driven.report(finished(attempt(0)), first=last, acknowledged=last) == []
    assert driven.write().released == []


@pytest.mark.parametrize("stale", [attempt(0, 2), attempt(0, 1, 2), attempt(1), attempt(-1), attempt(99)])
def test_a_result_of_an_attempt_that_does_not_count_is_acknowledged_and_discarded(stale: object) -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    report = finished(attempt(0), attempt=stale)
    discarded = ResultDiscarded(RUN, report.attempt.task, report.attempt.attempt, report.attempt.epoch, ANN)
    assert driven.report(report) == [Emit(discarded)]
    assert driven.write() == ([], [], [Send(ANN, ReportsAck(RUN, 2))])


def test_a_result_from_a_node_that_was_not_handed_the_attempt_is_discarded() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    assert driven.report(finished(attempt(0)), by=BOB) == [Emit(ResultDiscarded(RUN, 0, 1, 1, BOB))]


def test_what_a_task_prints_is_written_beside_the_log_and_acknowledged_after_it() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    chunk = WriteOutput(RUN, "a", 1, "stdout", 0, b"hello")
    driven.report(Output(attempt(0), chunk))
    written = driven.write()
    assert (written.entries, written.requests) == ([], [chunk])
    assert written.released == [Send(ANN, ReportsAck(RUN, 2))]


def test_a_job_that_comes_back_unstarted_is_queued_again_as_another_attempt() -> None:
    """So that a late word about the first (a double of its job, an order to end it) is not taken for one about it."""
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.report(Returned(attempt(0)))
    assert driven.write().entries == [TaskEnded(0, 1, State.QUEUED, retry=True), TasksQueued((0,))]
    assert driven.queued() == [0]
    assert driven.hand_out(0, to=BOB) == [attempt(0, 2)]


def test_a_job_that_comes_back_for_lack_of_code_has_all_code_sent_again() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.dispatcher.codes_to_send(ANN, ["code of a"])
    driven.report(Returned(attempt(0), lacks_code=True))
    assert driven.dispatcher.codes_to_send(ANN, ["code of a"]) == ["code of a"]


def test_a_job_that_comes_back_from_an_attempt_that_does_not_count_changes_nothing() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.report(Returned(attempt(0, 2)))
    assert driven.write().entries == []


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(AssertionError):
        DrivenDag(dag("a")).report(object())  # type: ignore[arg-type]


# --- failures ---


def test_a_task_that_may_be_tried_again_is_queued_when_its_delay_is_over() -> None:
    driven = DrivenDag(dag("a b", "a>b", task("a", retries=2, retry_delay_s=10.0, backoff=3.0)))
    driven.begin()
    for number, wait_s in [(1, 10.0), (2, 30.0)]:
        assert driven.hand_out(0) == [attempt(0, number)]
        driven.report(finished(attempt(0, number), State.FAILED), first=number, now=100.0)
        assert driven.write().entries == [recorded(0, State.FAILED, attempt=number, retry=True)]
        assert driven.owner.deadline() == 100.0 + wait_s
        assert driven.owner.wake(99.9 + wait_s) == []
        assert driven.queued() == []
        driven.owner.wake(100.0 + wait_s)
        assert driven.queued() == [0]
    driven.hand_out(0)
    driven.report(finished(attempt(0, 3), State.FAILED, reason="broken"), first=3)
    assert driven.fold.outcome() == (State.FAILED, "task 'a' failed: broken")


def test_a_delay_that_is_over_when_the_task_has_ended_means_nothing() -> None:
    driven = DrivenDag(dag("a b", "", task("a", retries=1, retry_delay_s=10.0)))
    driven.begin()
    driven.hand_out(0, 1)
    driven.report(finished(attempt(0), State.FAILED), finished(attempt(1), State.FAILED))
    driven.write()
    assert driven.fold.states == [State.STOPPED, State.FAILED]
    driven.owner.wake(10.0)
    assert driven.queued() == []


@pytest.mark.parametrize("state", [State.RUNNING, State.SKIPPED, State.LOST, State.QUEUED])
def test_an_end_that_no_attempt_can_have_counts_as_a_failure(state: State) -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.report(finished(attempt(0), state))
    assert driven.fold.states == [State.FAILED]


def test_an_abort_is_not_tried_again() -> None:
    driven = DrivenDag(dag("a", "", task("a", retries=5)))
    driven.hand_out(0)
    driven.report(finished(attempt(0), State.ABORTED, reason="no images"))
    assert driven.fold.outcome() == (State.ABORTED, "task 'a' aborted: no images")


# --- the end, and the counts until then ---


def test_an_empty_dag_ends_at_once() -> None:
    driven = DrivenDag(dag(""))
    driven.begin()
    assert driven.fold.ended is State.COMPLETED


def test_the_end_is_logged_with_the_timings_and_then_the_record_becomes_final() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.report(finished(attempt(0)))
    written = driven.write(now=1.0)
    assert written.entries == [recorded(0), RunEnded(State.COMPLETED, "")]
    (timings,) = written.requests
    assert isinstance(timings, SetFields)
    assert (timings.run, timings.section, list(timings.items)) == (WF, "meta", ["log.d:1"])
    assert asked(written.released) == [UpdateRun(RUN, 1, State.COMPLETED, "", ended_at=WALL, total=1, done=1)]
    closing = [effect for effect in written.released if isinstance(effect, Ask)]
    assert driven.asks.take(closing[0].token) == Closing(RUN)
    assert driven.write(now=9.0) == ([], [], [])


def test_the_record_does_not_become_final_if_the_log_refuses_the_end() -> None:
    driven = DrivenDag(dag(""))
    driven.owner.begin([ANN], False, 0.0)
    (ask,) = driven.owner.flush(0.0, WALL)
    assert isinstance(ask, Ask)
    assert not any(isinstance(request, UpdateRun) and request.state is not None for request in ask.requests)
    assert driven.log.answered([False, True]) == (None, [])


def test_timings_count_from_the_start_of_the_run() -> None:
    driven = DrivenDag(dag("a"))
    driven.owner.write_provenance(None)
    (timings,) = driven.write().requests[:1]
    assert isinstance(timings, SetFields)
    assert timings.items == {"log.d:1": {"start_time": instant(1500.0), "queue": "dag", "tasks": {}}}


def test_a_large_dag_leaves_its_timings_to_the_log() -> None:
    driven = DrivenDag(dag("a b"), max_provenance_tasks=1)
    driven.owner.write_provenance(None)
    assert not any(isinstance(request, SetFields) for request in driven.write().requests)


def test_the_counts_in_the_record_follow_now_and_then_and_soon_when_nothing_else_happens() -> None:
    driven = DrivenDag(dag("a b c"), progress_s=0.5)
    driven.begin()
    driven.hand_out(0, 1, 2, now=1.0)
    driven.report(finished(attempt(0)))
    assert driven.write(now=1.0).requests == [UpdateRun(RUN, 1, total=3, done=1)]
    driven.report(finished(attempt(1)), first=2)
    assert driven.write(now=1.1).requests == []
    assert driven.owner.deadline() == 1.5
    assert driven.write(now=1.5).requests == [UpdateRun(RUN, 1, total=3, done=2)]
    assert driven.owner.deadline() > 1.5


def test_a_run_that_waits_for_nothing_in_particular_is_not_due() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    assert driven.owner.deadline() == math.inf
