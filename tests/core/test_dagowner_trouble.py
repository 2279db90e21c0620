"""Driving a dag run when attempts get lost, owners change, or it is to stop."""

import pytest

from meshflow.core.effects import Ask, Effect, Emit, Send
from meshflow.core.events import JobRequeued
from meshflow.core.messages import Attempt, Cancel, Owned, ReportsAck, Returned, Stopping, Work
from meshflow.core.records import (
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
)
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, RUN, attempt, dag, dag_record, ended, finished, started, task
from tests.core.driven import DrivenDag

OWNED = Owned(RUN, 2)
STRANGER = NodeId("stranger")


def lost(index: int, number: int, why: str, node: str = "ann's") -> TaskEnded:
    reason = f"attempt {number} on node {node} was lost: {why}"
    return TaskEnded(index, number, State.LOST, reason=reason, node=node, retry=True)


def requeued(name: str, number: int, why: str, node: NodeId = ANN) -> Emit:
    return Emit(JobRequeued(RUN, name, number, node, f"attempt {number} on node {node}'s was lost: {why}"))


# --- attempts that get lost ---


def test_attempts_of_a_node_that_is_gone_are_queued_again() -> None:
    driven = DrivenDag(dag("a b"))
    driven.begin()
    driven.hand_out(0)
    driven.hand_out(1, to=BOB)
    assert driven.owner.node_gone(ANN) == [requeued("a", 1, "its node is gone")]
    assert driven.write().entries == [lost(0, 1, "its node is gone"), TasksQueued((0,))]
    assert driven.hand_out(0, to=BOB) == [attempt(0, 2)]


def test_a_node_that_is_gone_is_told_nothing_more_and_is_forgotten() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)), by=ANN)
    driven.owner.node_gone(ANN)
    assert driven.write().released == []
    assert driven.owner._seen == {}


def test_a_node_that_was_taken_for_gone_may_have_its_reports_doubled_and_they_are_taken_once() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)))
    driven.owner.node_gone(ANN)
    driven.report(finished(attempt(0)))
    assert driven.fold.done_count == 1


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
    driven.owner.released([*released, Send(ANN, ReportsAck(RUN, 1)), requeued("a", 1, "")], 60.0)
    assert driven.owner.held(ANN, [], 62.0) == []
    assert driven.owner.held(ANN, [], 62.1) != []


def test_an_attempt_whose_node_has_no_name_any_more_is_named_by_its_id() -> None:
    driven = DrivenDag(dag("a"), started(0, 1, 1, STRANGER), epoch=2)
    (event,) = driven.owner.begin([], False, 0.0)
    assert event == Emit(JobRequeued(RUN, "a", 1, STRANGER, "attempt 1 on node stranger was lost: its node is gone"))


# --- silence ---


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


# --- taking over ---


def takeover(*log: TaskStarted | TaskEnded, names: str = "a b", edges: str = "") -> DrivenDag:
    driven = DrivenDag(dag(names, edges), *log, epoch=2, adopt_s=0.3)
    assert driven.begin(is_takeover=True) == [Send(node, OWNED) for node in (ME, ANN, BOB)]
    return driven


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


def test_who_does_not_tell_is_not_waited_for_for_ever() -> None:
    driven = takeover()
    driven.owner.wake(0.3)
    assert driven.queued() == [0, 1]


def test_who_is_gone_is_not_waited_for() -> None:
    driven = takeover()
    driven.owner.held(ME, [], 0.1)
    driven.owner.held(ANN, [], 0.1)
    driven.owner.node_gone(BOB)
    driven.owner.wake(0.1)
    assert driven.queued() == [0, 1]


def test_attempts_that_the_log_knows_go_on_where_they_are() -> None:
    driven = takeover(started(0))
    driven.owner.held(ANN, [attempt(0)], 0.1)
    driven.owner.wake(0.3)
    assert driven.queued() == [1]
    driven.report(finished(attempt(0)))
    assert driven.fold.states[0] is State.COMPLETED


def test_attempts_whose_start_did_not_reach_the_log_are_adopted() -> None:
    driven = takeover()
    assert driven.owner.held(ANN, [attempt(0), attempt(1, 3)], 0.1) == []
    assert driven.write().entries == [started(0), started(1, 3)]
    driven.owner.wake(0.3)
    assert driven.queued() == []
    driven.report(finished(attempt(1, 3)))
    assert driven.fold.states == [State.RUNNING, State.COMPLETED]


def test_attempts_that_are_told_of_late_are_adopted_if_the_task_still_waits() -> None:
    driven = takeover()
    driven.owner.wake(0.3)
    driven.owner.held(ANN, [attempt(0)], 0.4)
    assert driven.queued() == [1]


@pytest.mark.parametrize(
    "stale",
    [
        attempt(-1),
        attempt(4),
        attempt(0, epoch=2),
        attempt(0, 2**62),
        attempt(1, 1),
        attempt(2),
        attempt(3),
    ],
    ids=["no task", "no task", "our epoch", "absurd", "older than the last", "parent not done", "another runs"],
)
def test_attempts_that_cannot_go_on_are_cancelled_when_the_log_has_why(stale: Attempt) -> None:
    driven = takeover(
        started(1, 1), ended(1, State.LOST, retry=True), started(3, 1, 1, BOB), names="a b c d", edges="a>c"
    )
    assert driven.owner.held(ANN, [stale], 0.1) == []
    assert driven.write().released[-1] == Send(ANN, Cancel((stale,)))


def test_attempts_of_a_later_owner_are_left_to_it() -> None:
    driven = takeover()
    driven.write()
    assert driven.owner.held(ANN, [attempt(0, epoch=9)], 0.1) == []
    assert driven.write().released == []


def test_an_attempt_is_cancelled_only_when_the_log_has_what_makes_it_stale() -> None:
    """Or else the owner that takes over counts it, and takes its forced end for a failure of the task."""
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.owner.node_gone(ANN)
    assert driven.owner.held(ANN, [attempt(0)], 9.0) == []
    (ask,) = driven.owner.flush(9.0, 0.0)
    assert isinstance(ask, Ask)
    assert driven.log.answered([False]) == (None, [])


def test_attempts_of_nodes_that_are_gone_already_are_queued_again() -> None:
    driven = DrivenDag(dag("a b"), started(0, 1, 1, STRANGER), started(1), epoch=2)
    driven.owner.begin([ME, ANN], True, 0.0)
    written = driven.write()
    assert [entry.task for entry in written.entries if isinstance(entry, TaskEnded)] == [0]
    driven.owner.wake(0.3)
    assert driven.queued() == [0]


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


def cancelled(*attempts: Attempt) -> list[Effect]:
    return [Send(ANN, Stopping(RUN)), Send(ANN, Cancel(attempts))]


def test_a_cancel_ends_what_runs_too_even_after_a_stop() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0, 1)
    driven.owner.ask_stop(Stop.STOP, "enough")
    assert driven.owner.ask_stop(Stop.CANCEL, "at once") == cancelled(attempt(0), attempt(1))
    assert driven.owner.ask_stop(Stop.STOP, "enough") == []
    driven.report(finished(attempt(0), State.FAILED, reason="killed"), finished(attempt(1)))
    assert driven.fold.states == [State.CANCELLED, State.COMPLETED]
    assert driven.write().entries[-1] == RunEnded(State.CANCELLED, "at once")


def test_nodes_are_told_again_whenever_they_list_what_they_hold() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.owner.ask_stop(Stop.CANCEL, "at once")
    assert driven.owner.held(ANN, [attempt(0)], 0.5) == cancelled(attempt(0))
    assert driven.owner.held(BOB, [], 0.5) == []


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


def test_an_attempt_that_is_lost_while_the_run_stops_is_not_queued_again() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0, 1)
    driven.owner.ask_stop(Stop.STOP, "enough")
    driven.owner.node_gone(ANN)
    assert driven.fold.states == [State.STOPPED, State.STOPPED]
    assert driven.queued() == []


def test_a_failure_while_the_run_stops_is_not_tried_again_and_fails_the_run() -> None:
    driven = DrivenDag(dag("a b", "", task("a", retries=5)))
    driven.hand_out(0, 1)
    driven.owner.ask_stop(Stop.STOP, "enough")
    driven.report(finished(attempt(0), State.FAILED, reason="broken"))
    assert driven.fold.states[0] is State.FAILED
    assert driven.fold.outcome() == (State.FAILED, "task 'a' failed: broken")


def test_a_task_that_fails_tells_the_nodes_of_its_siblings() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    driven.hand_out(1, to=BOB)
    assert driven.report(finished(attempt(0), State.FAILED, reason="broken")) == [Send(BOB, Stopping(RUN))]


def test_a_run_that_was_stopped_before_it_began_hands_nothing_out() -> None:
    driven = DrivenDag(dag("a"), record=dag_record(stop=Stop.STOP, stop_reason="never mind"))
    driven.begin()
    assert driven.queued() == []
    assert driven.fold.ended is State.STOPPED
