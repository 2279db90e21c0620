"""Driving a dag run: handing out, taking reports, taking over, stopping, and what is written before what is told.

The finer points are in `test_dagowner_details.py`.
"""

import math

import pytest

from meshflow.core.asks import Closing
from meshflow.core.attempts import Attempt
from meshflow.core.effects import Ask, Emit, Send
from meshflow.core.events import JobRequeued, ResultDiscarded
from meshflow.core.messages import Cancel, Input, Job, Output, Owned, ReportsAck, Returned, Stopping, Work
from meshflow.core.records import Noted, RunEnded, State, Stop, StopAsked, TaskEnded, TasksQueued, TaskStarted, Value
from meshflow.core.requests import SetFields, UpdateRun, WriteOutput
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, RUN, WF, attempt, dag, dag_record, ended, finished, started, task
from tests.core.driven import WALL, DrivenDag, asked, cancelled, lost, recorded, requeued, takeover

STRANGER = NodeId("stranger")


# --- handing out ---


def test_the_tasks_without_parents_are_queued_first() -> None:
    driven = DrivenDag(dag("a b c", "a>b"))
    assert driven.owner.begin([ANN], False, 0.0) == []
    assert driven.write().entries == [TasksQueued((0, 2))]
    assert driven.queued() == [0, 2]


def test_a_job_has_all_that_is_needed_to_run_it_and_its_start_is_logged() -> None:
    driven = DrivenDag(dag("a b", "a>b:slot", task("b", queue="gpu", timeout_s=5.0)), ended(0))
    driven.begin()
    job = driven.owner.hand_out(1, ANN, 0.0)
    inputs = (Input("a", "slot", Value(b"0")),)
    assert job == Job(attempt(1), "b", "w", "gpu", "code of b", inputs, None, 5.0)
    assert driven.write().entries == [TaskStarted(1, 1, 1, ANN)]
    assert driven.owner.code("code of b") == b"code of b"


def test_a_task_that_may_start_only_once_leaves_when_its_start_is_in_the_log() -> None:
    driven = DrivenDag(dag("a", "", task("a", at_most_once=True)))
    assert driven.owner.hand_out(0, ANN, 0.0) is None
    written = driven.write()
    assert TaskStarted(0, 1, 1, ANN) in written.entries
    job = Job(attempt(0), "a", "w", "task", "code of a", (), None, None)
    assert written.released == [Send(ANN, Work((job,), {"code of a": b"code of a"}, 0))]


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


# --- attempts that get lost ---


def test_attempts_of_a_node_that_is_gone_are_queued_again() -> None:
    driven = DrivenDag(dag("a b"))
    driven.begin()
    driven.hand_out(0)
    driven.hand_out(1, to=BOB)
    assert driven.owner.node_gone(ANN) == [requeued("a", 1, "its node is gone")]
    assert driven.write().entries == [lost(0, 1, "its node is gone"), TasksQueued((0,))]
    assert driven.hand_out(0, to=BOB) == [attempt(0, 2)]


def test_an_attempt_that_its_node_does_not_know_of_is_queued_again() -> None:
    driven = DrivenDag(dag("a b"), lost_s=2.0)
    driven.hand_out(0, 1, now=0.0)
    assert driven.owner.held(ANN, [attempt(1)], 2.0) == []
    why = "its node does not know of it"
    assert driven.owner.held(ANN, [attempt(1)], 2.1) == [requeued("a", 1, why)]
    assert lost(0, 1, why) in driven.write().entries
    assert driven.queued() == [0]


def test_a_task_that_is_lost_again_and_again_fails() -> None:
    driven = DrivenDag(dag("a"), max_losses=2)
    driven.hand_out(0)
    driven.owner.node_gone(ANN)
    driven.hand_out(0)
    driven.owner.node_gone(ANN)
    reason = "task 'a' failed: attempt 2 on node ann's was lost: its node is gone; that makes 2 times"
    assert driven.fold.outcome() == (State.FAILED, reason)


def test_a_lost_attempt_at_a_task_that_may_run_only_once_fails() -> None:
    driven = DrivenDag(dag("a b", "", task("a", at_most_once=True)))
    driven.hand_out(0)
    driven.hand_out(1, to=BOB)
    effects = driven.owner.node_gone(ANN)
    reason = "attempt 1 on node ann's was lost: its node is gone; it may run at most once"
    assert effects == [Emit(JobRequeued(RUN, "a", 1, ANN, reason)), Send(BOB, Stopping(RUN))]
    assert driven.fold.outcome() == (State.FAILED, f"task 'a' failed: {reason}")


def test_a_job_that_waits_for_the_log_is_not_lost_however_long_that_takes() -> None:
    driven = DrivenDag(dag("a", "", task("a", at_most_once=True)), lost_s=2.0)
    driven.begin()
    driven.owner.hand_out(0, ANN, 0.0)
    driven.owner.flush(0.0, 0.0)
    assert driven.owner.held(ANN, [], 60.0) == []
    _, released = driven.log.answered([True])
    assert any(isinstance(effect, Send) and isinstance(effect.message, Work) for effect in released)
    driven.owner.logged(None, [*released, Send(ANN, ReportsAck(RUN, 1)), requeued("a", 1, "")], 60.0)
    assert driven.owner.held(ANN, [], 62.0) == []
    assert driven.owner.held(ANN, [], 62.1) != []


def test_a_node_that_is_silent_about_its_attempts_is_asked_until_it_speaks() -> None:
    driven = DrivenDag(dag("a b"), silent_s=3.0, resend_s=1.0)
    driven.begin()
    driven.hand_out(0, now=10.0)
    driven.hand_out(1, to=BOB, now=11.0)
    driven.report(by=BOB, now=12.0)
    question = Send(ANN, Owned(RUN, 1))
    assert (driven.owner.wake(12.9), driven.owner.deadline()) == ([], 13.0)
    assert (driven.owner.wake(13.0), driven.owner.deadline()) == ([question], 14.0)
    assert driven.owner.wake(13.5) == []
    assert driven.owner.wake(14.0) == [question]
    driven.owner.held(ANN, [attempt(0)], 14.5)
    assert driven.owner.wake(15.0) == [Send(BOB, Owned(RUN, 1))]


def test_an_attempt_that_an_earlier_owner_had_ended_although_it_counts_is_queued_again() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    why = "an owner that did not count it had it ended"
    assert driven.report(finished(attempt(0), State.CANCELLED)) == [requeued("a", 1, why)]
    assert driven.queued() == [0]


# --- taking over ---


def test_after_a_takeover_nothing_is_handed_out_until_all_have_told_what_they_hold() -> None:
    driven = takeover(ended(0))
    assert driven.owner.deadline() == 0.3
    for node in (ME, ANN, BOB):
        assert driven.owner.wake(0.1) == []
        assert driven.queued() == []
        assert driven.owner.awaits(node)
        driven.owner.held(node, [], 0.1)
        assert not driven.owner.awaits(node)
    driven.owner.wake(0.1)
    assert driven.queued() == [1]
    driven.hand_out(1, to=BOB)
    assert [driven.owner.awaits(node) for node in (ME, ANN, BOB)] == [False, False, True]


def test_attempts_whose_start_did_not_reach_the_log_are_adopted() -> None:
    driven = takeover()
    assert driven.owner.held(ANN, [attempt(0), attempt(1, 3)], 0.1) == []
    assert driven.write().entries == [started(0), started(1, 3)]
    driven.owner.wake(0.3)
    assert driven.queued() == []
    driven.report(finished(attempt(1, 3)))
    assert driven.fold.states == [State.RUNNING, State.COMPLETED]


def test_attempts_of_nodes_that_are_gone_already_are_queued_again() -> None:
    driven = DrivenDag(dag("a b"), started(0, 1, 1, STRANGER), started(1), epoch=2)
    driven.owner.begin([ME, ANN], True, 0.0)
    written = driven.write()
    assert [entry.task for entry in written.entries if isinstance(entry, TaskEnded)] == [0]
    driven.owner.wake(0.3)
    assert driven.queued() == [0]


@pytest.mark.parametrize(
    "stale",
    [attempt(-1), attempt(4), attempt(0, epoch=2), attempt(0, 2**62), attempt(1, 1), attempt(2), attempt(3)],
    ids=["no task", "no task", "our epoch", "absurd", "older than the last", "parent not done", "another runs"],
)
def test_attempts_that_cannot_go_on_are_cancelled_when_the_log_has_why(stale: Attempt) -> None:
    driven = takeover(
        started(1, 1), ended(1, State.LOST, retry=True), started(3, 1, 1, BOB), names="a b c d", edges="a>c"
    )
    assert driven.owner.held(ANN, [stale], 0.1) == []
    assert driven.write().released[-1] == Send(ANN, Cancel((stale,)))


def test_an_attempt_that_was_told_to_end_is_not_adopted_when_it_could_be() -> None:
    driven = takeover(edges="a>b")
    doom = Send(ANN, Cancel((attempt(1),)))
    driven.owner.held(ANN, [attempt(1)], 0.1)
    assert driven.write().released == [doom]
    driven.fold.apply(ended(0))
    driven.owner.held(ANN, [attempt(1)], 0.2)
    assert driven.write().released == [doom]
    assert 1 not in driven.owner.handouts


# --- stopping ---


def test_a_stop_ends_what_waits_and_tells_the_nodes_of_what_runs() -> None:
    driven = DrivenDag(dag("a b c"))
    driven.begin()
    driven.hand_out(0)
    driven.owner.wake(0.0)
    driven.owner._push((1, 2))
    assert driven.owner.ask_stop(Stop.STOP, "enough") == [Send(ANN, Stopping(RUN))]
    assert driven.dispatcher.waiting == {}
    stopped = [TaskEnded(each, 0, State.STOPPED, reason="not started: enough") for each in (1, 2)]
    assert driven.write().entries == [StopAsked(Stop.STOP, State.STOPPED, "enough"), *stopped]
    assert driven.owner.ask_stop(Stop.STOP, "really") == []
    driven.report(finished(attempt(0)))
    assert driven.write().entries[-1] == RunEnded(State.STOPPED, "enough")
    assert driven.owner.ask_stop(Stop.CANCEL, "too late") == []


def test_a_cancel_ends_what_runs_too_even_after_a_stop() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0, 1)
    driven.owner.ask_stop(Stop.STOP, "enough")
    assert driven.owner.ask_stop(Stop.CANCEL, "at once") == cancelled(attempt(0), attempt(1))
    assert driven.owner.ask_stop(Stop.STOP, "enough") == []
    driven.report(finished(attempt(0), State.FAILED, reason="killed"), finished(attempt(1)))
    assert driven.fold.states == [State.CANCELLED, State.COMPLETED]
    assert driven.write().entries[-1] == RunEnded(State.CANCELLED, "at once")


def test_a_run_that_was_stopped_before_it_began_hands_nothing_out() -> None:
    driven = DrivenDag(dag("a"), record=dag_record(stop=Stop.STOP, stop_reason="never mind"))
    driven.begin()
    assert driven.queued() == []
    assert driven.fold.ended is State.STOPPED


def test_a_job_that_comes_back_unstarted_ends_if_the_run_stops() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0, 1)
    driven.owner.ask_stop(Stop.CANCEL, "at once")
    driven.write()
    driven.report(Returned(attempt(0)))
    assert driven.write().entries == [
        TaskEnded(0, 1, State.CANCELLED, retry=True),
        TaskEnded(0, 0, State.CANCELLED, reason="not started: at once"),
    ]


# --- the end, and the counts until then ---


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
