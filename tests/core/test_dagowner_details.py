"""Driving a dag run: the finer points of handing out, of reports and losses, of taking over and stopping."""

import pytest

from meshflow.core.effects import Ask, Emit, Send
from meshflow.core.events import JobRequeued, ResultDiscarded
from meshflow.core.messages import ReportsAck, Stopping
from meshflow.core.provenance import instant
from meshflow.core.records import State, Stop, TaskEnded, Value
from meshflow.core.requests import SetFields, UpdateRun
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, RUN, attempt, dag, ended, finished, started, task
from tests.core.driven import WALL, DrivenDag, cancelled, recorded, takeover

STRANGER = NodeId("stranger")


# --- handing out ---


def test_only_tasks_without_parents_get_the_data_that_the_run_was_given() -> None:
    driven = DrivenDag(dag("a b", "a>b"), ended(0), initial=Value(b"given"))
    jobs = [
        DrivenDag(dag("a"), initial=Value(b"given")).owner.hand_out(0, ANN, 0.0),
        driven.owner.hand_out(1, ANN, 0.0),
    ]
    assert [job.initial for job in jobs if job is not None] == [Value(b"given"), None]


def test_tasks_wait_on_their_queues_by_priority() -> None:
    driven = DrivenDag(dag("a b c", "", task("c", priority=1), task("b", queue="gpu")))
    driven.begin()
    assert driven.dispatcher.waiting == {"task": 2, "gpu": 1}
    assert driven.queued() == [2, 0]


def test_a_task_wants_an_attempt_until_it_has_one_or_has_ended() -> None:
    driven = DrivenDag(dag("a b"), ended(0))
    assert [driven.owner.is_waiting(0), driven.owner.is_waiting(1)] == [False, True]
    driven.hand_out(1)
    assert not driven.owner.is_waiting(1)


# --- reports ---


def test_numbers_below_those_that_were_acknowledged_are_no_gap() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)), first=7, acknowledged=7)
    assert driven.write().released[0] == Send(ANN, ReportsAck(RUN, 8))


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


# --- ends ---


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


def test_an_empty_dag_ends_at_once() -> None:
    driven = DrivenDag(dag(""))
    driven.begin()
    assert driven.fold.ended is State.COMPLETED


# --- attempts that get lost ---


def test_a_node_that_is_gone_is_told_nothing_more_and_is_forgotten() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)), by=ANN)
    driven.owner.node_gone(ANN)
    assert driven.write().released == []
    assert driven.owner._receipts._seen == {}


def test_a_node_that_was_taken_for_gone_may_have_its_reports_doubled_and_they_are_taken_once() -> None:
    driven = DrivenDag(dag("a b"))
    driven.hand_out(0)
    driven.report(finished(attempt(0)))
    driven.owner.node_gone(ANN)
    driven.report(finished(attempt(0)))
    assert driven.fold.done_count == 1


def test_an_attempt_whose_node_has_no_name_any_more_is_named_by_its_id() -> None:
    driven = DrivenDag(dag("a"), started(0, 1, 1, STRANGER), epoch=2)
    (event,) = driven.owner.begin([], False, 0.0)
    assert event == Emit(JobRequeued(RUN, "a", 1, STRANGER, "attempt 1 on node stranger was lost: its node is gone"))


# --- taking over ---


def test_a_list_that_answers_another_run_loses_nothing_that_the_owner_before_had_handed_out() -> None:
    """A node that has not heard of this take-over yet lists its attempts for the owner before."""
    driven = takeover(started(0))
    assert driven.owner.held(ANN, [], 0.1, is_answer=False) == []
    assert driven.owner.awaits(ANN)
    assert driven.owner.held(ANN, [attempt(0)], 0.2, is_answer=True) == []
    assert driven.owner.held(ANN, [], 0.3, is_answer=False) != []


def test_an_answer_that_never_comes_is_not_waited_for_for_ever() -> None:
    driven = takeover(started(0))
    assert driven.owner.held(ANN, [], 60.0, is_answer=False) != []


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


def test_attempts_that_are_told_of_late_are_adopted_if_the_task_still_waits() -> None:
    driven = takeover()
    driven.owner.wake(0.3)
    driven.owner.held(ANN, [attempt(0)], 0.4)
    assert driven.queued() == [1]


def test_attempts_of_a_later_owner_are_left_to_it() -> None:
    driven = takeover()
    driven.write()
    assert driven.owner.held(ANN, [attempt(0, epoch=9)], 0.1) == []
    assert driven.write().released == []


def test_attempts_that_the_log_knows_go_on_where_they_are() -> None:
    driven = takeover(started(0))
    driven.owner.held(ANN, [attempt(0)], 0.1)
    driven.owner.wake(0.3)
    assert driven.queued() == [1]
    driven.report(finished(attempt(0)))
    assert driven.fold.states[0] is State.COMPLETED


# --- stopping ---


def test_an_attempt_is_cancelled_only_when_the_log_has_what_makes_it_stale() -> None:
    """Or else the owner that takes over counts it, and takes its forced end for a failure of the task."""
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.owner.node_gone(ANN)
    assert driven.owner.held(ANN, [attempt(0)], 9.0) == []
    (ask,) = driven.owner.flush(9.0, 0.0)
    assert isinstance(ask, Ask)
    assert driven.log.answered([False]) == (None, [])


def test_nodes_are_told_again_whenever_they_list_what_they_hold() -> None:
    driven = DrivenDag(dag("a"))
    driven.hand_out(0)
    driven.owner.ask_stop(Stop.CANCEL, "at once")
    assert driven.owner.held(ANN, [attempt(0)], 0.5) == cancelled(attempt(0))
    assert driven.owner.held(BOB, [], 0.5) == []


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


def test_reports_that_come_while_a_batch_is_on_its_way_share_one_acknowledgement() -> None:
    driven = DrivenDag(dag("a b c"))
    driven.begin()
    driven.hand_out(0, 1, 2)
    driven.report(finished(attempt(0)), first=1)
    assert len(driven.owner.flush(0.0, WALL)) == 1
    for index in (1, 2):
        driven.report(finished(attempt(index)), first=index + 1)
        assert driven.owner.flush(0.0, WALL) == []
    _, released = driven.log.answered([True])
    assert released == [Send(ANN, ReportsAck(RUN, 2))]
    assert [each for each in driven.write().released if isinstance(each, Send)] == [Send(ANN, ReportsAck(RUN, 4))]


# --- gathering ---


def many_under_way() -> DrivenDag:
    """Of seventy tasks side by side all have been handed out, and the log has that."""
    driven = DrivenDag(dag(" ".join(f"t{number}" for number in range(70))), gather_s=0.005, progress_s=1000.0)
    driven.begin()
    driven.hand_out(*range(70))
    assert len(driven.write(1.0).entries) == 70
    return driven


def test_with_many_tasks_under_way_the_log_waits_for_more_and_says_until_when() -> None:
    driven = many_under_way()
    driven.report(finished(attempt(0)))
    assert driven.write(1.004).entries == []
    assert driven.owner.deadline() == 1.005
    driven.report(finished(attempt(1)), first=2)
    written = driven.write(1.005)
    assert written.entries == [recorded(0), recorded(1)]
    assert written.released == [Send(ANN, ReportsAck(RUN, 3))]


def test_the_log_does_not_wait_for_more_when_few_tasks_are_left() -> None:
    driven = many_under_way()
    driven.report(*(finished(attempt(number)) for number in range(10)))
    assert driven.write(1.001).entries == [recorded(number) for number in range(10)]


def test_the_log_does_not_wait_for_more_when_something_waits_for_it() -> None:
    driven = many_under_way()
    answer = Send(ANN, ReportsAck(RUN, 1))
    driven.log.add(then=[answer])
    assert driven.write(1.001).released == [answer]
