"""All runs of one node: how they come, where input goes, and how they go again.

The finer points are in `test_owned_details.py`.
"""

import math

from meshflow.core.asks import Appending, Closing, Creating, Mending
from meshflow.core.events import RunClaimed, RunFinished, RunLost
from meshflow.core.keys import call_key
from meshflow.core.messages import Cancel, Owned, Reports, ReportsAck, RunOpen, Signal, SignalAnswer
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagStarted,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
)
from meshflow.core.requests import Append, AskStop, CreateRun, ListRuns, LoadRun, RemoveRun, UpdateRun
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, BOB, ME, RUN, WF, attempt, dag, dag_record, member, task
from tests.core.owning import Blueprints, Owning, driving, taken_over

OTHER = RunId("other/d:1")


# --- from the submission to the end ---


def test_a_submitted_run_is_found_claimed_driven_and_ended() -> None:
    owning = driving()
    (job,) = owning.work()
    owning.report(job.attempt, first=1)
    (job,) = owning.work()
    assert job.name == "b"
    owning.report(job.attempt, first=2)
    assert owning.runs.runs == ()
    assert [type(entry) for entry in owning.log(RUN)] == [
        Claimed,
        TasksQueued,
        TaskStarted,
        TaskEnded,
        TasksQueued,
        TaskStarted,
        TaskEnded,
        RunEnded,
    ]
    assert [type(entry) for entry in owning.log(WF)] == [Claimed, DagStarted, DagEnded, RunEnded]
    for run in (RUN, WF):
        record = owning.record(run)
        assert (record.state, record.owner, record.epoch, record.total, record.done) == (State.COMPLETED, ME, 1, 2, 2)
        assert (record.started_at, record.ended_at) == (2000.0, 2000.0)
    assert [type(event) for event in owning.events] == [RunClaimed, RunClaimed, RunFinished, RunFinished]


def test_nothing_is_kept_of_runs_that_have_ended() -> None:
    owning = driving(Blueprints(dag("a")))
    (job,) = owning.work()
    owning.report(job.attempt, first=1)
    runs = owning.runs
    leftovers = [runs._dags, runs._relays, runs._closed, runs._workflows, runs._hinted_by, runs._behind]
    assert leftovers == [{}] * 6
    assert (runs._agenda.touched, runs._claims._loads, runs.dispatcher.waiting) == ((), {}, {})
    assert owning.asks._purposes == {}


# --- finding runs ---


def test_open_runs_are_looked_for_every_two_seconds_but_not_before_the_last_look_was_answered() -> None:
    owning = Owning()
    owning.flush(0.0)
    owning.flush(9.0)
    assert owning.asked() == [ListRuns(is_open=True)]
    assert owning.runs.deadline() == math.inf
    owning.answer(9.0)
    owning.flush(10.9)
    assert (owning.asked(), owning.runs.deadline()) == ([], 11.0)
    owning.flush(11.0)
    assert owning.scans() == 1


def test_when_a_member_is_gone_its_runs_are_looked_for_at_once() -> None:
    owning = Owning()
    owning.settle()
    owning.do(owning.runs.node_gone(ANN, 0.5))
    owning.flush(0.5)
    assert owning.scans() == 1
    owning.do(owning.runs.node_gone(BOB, 0.6))
    owning.answer(0.7)
    owning.flush(0.7)
    assert owning.scans() == 1, "the answer may be from before BOB was gone"


def test_answers_of_the_store_that_make_no_sense_are_nothing() -> None:
    owning = Owning()
    for answer in (None, (None, 7)):
        owning.flush(100.0)
        (ask,) = owning.waiting
        owning.waiting.clear()
        purpose = owning.asks.take(ask.token)
        assert purpose is not None
        owning.do(owning.runs.answered(purpose, [answer], 0.0))
    assert owning.asked() == []


def test_a_hint_leads_to_a_look_and_to_the_claim() -> None:
    owning = Owning()
    owning.submit()
    owning.do(owning.runs.run_open(NodeId("client"), WF))
    assert owning.asked() == [LoadRun(WF)]
    for _ in range(4):
        owning.answer()
    assert owning.runs.runs == (WF,)


def test_a_hint_at_a_run_that_is_not_there_leads_to_nothing() -> None:
    owning = Owning()
    owning.do(owning.runs.run_open(ANN, OTHER))
    owning.answer()
    assert (owning.asked(), owning.sent, owning.runs._hinted_by) == ([], [], {})


def test_a_hint_at_a_stop_is_sent_on_to_the_owner_if_that_is_alive() -> None:
    owning = Owning(members=(member(ME), member(BOB, queues=())))
    owning.submit(owner=BOB, stop=Stop.STOP)
    owning.do(owning.runs.run_open(ANN, WF))
    owning.answer()
    assert owning.pop_sent(BOB) == [RunOpen(WF)]
    owning.runs.set_members([member(ME)])
    owning.do(owning.runs.run_open(ANN, WF), now=5.0)
    owning.answer(now=5.0)
    assert (owning.pop_sent(BOB), len(owning.asked())) == ([], 3)


def test_a_claim_that_is_refused_leads_to_nothing_and_may_be_tried_again() -> None:
    owning = Owning()
    owning.submit()
    owning.flush()
    for _ in range(2):
        owning.answer()
    assert isinstance(owning.asked()[0], Append)
    owning.store.perform([Append(Batch(WF, 0, "rival", (Claimed(BOB, 1),)))])
    owning.answer()
    assert owning.runs.runs == ()
    owning.settle(now=9.0)
    assert owning.record(WF).epoch == 2


# --- a run that another takes over ---


def test_a_refused_append_ends_the_driving_at_once() -> None:
    owning = driving()
    (job,) = owning.work()
    owning.store.perform([Append(Batch(RUN, 3, "rival", (Claimed(BOB, 2),)))])
    owning.report(job.attempt, first=1)
    assert owning.runs.runs == (WF,)
    assert not any(isinstance(message, ReportsAck) for message in owning.pop_sent())
    assert RunLost(RUN, 1) in owning.events
    assert owning.runs.refused_append_count == 1


def test_jobs_of_a_run_that_was_lost_wait_no_more() -> None:
    owning = driving()
    assert owning.runs.dispatcher.waiting == {"task": 1}
    taken_over(owning, RUN, 2, owner=ANN)
    owning.settle(now=9.0)
    assert (owning.runs.runs, owning.runs.dispatcher.waiting) == ((WF,), {})
    assert RunLost(RUN, 1) in owning.events


def test_a_run_that_another_took_over_unnoticed_and_ended_is_let_go_and_the_workflow_run_hears_of_it() -> None:
    owning = driving()
    taken_over(owning, RUN, 2, state=State.COMPLETED, total=7, done=7)
    owning.settle(now=9.0)
    assert RunLost(RUN, 1) in owning.events
    assert (owning.record(WF).state, owning.record(WF).total) == (State.COMPLETED, 7)


def test_runs_that_were_removed_are_let_go() -> None:
    owning = driving()
    owning.store.perform([UpdateRun(WF, 9, State.COMPLETED), RemoveRun(WF)])
    owning.settle(now=9.0)
    assert owning.runs.runs == ()


def test_answers_about_runs_that_are_not_ours_any_more_change_nothing() -> None:
    owning = Owning()
    for purpose in (Appending(RUN), Creating(WF, "d:1"), Closing(WF), Closing(RUN), Mending(RUN)):
        assert owning.runs.answered(purpose, [True], 0.0) == []


def test_a_new_owner_goes_on_where_the_log_ends() -> None:
    first = driving()
    (job,) = first.work()
    second = Owning(first.blueprints, me=BOB, store=first.store, members=(member(BOB), member(ANN, queues=("task",))))
    second.settle(now=9.0)
    assert [message for message in second.pop_sent() if isinstance(message, Owned)] == [Owned(RUN, 2), Owned(WF, 2)]
    second.do(second.runs.held(ANN, [job.attempt], 9.1), now=9.1)
    second.report(job.attempt, first=1, now=9.1)
    second.do(second.runs.held(BOB, [], 9.1, RUN), now=9.1)
    (job,) = second.work(now=9.5)
    assert (job.name, job.attempt.epoch) == ("b", 2)
    second.report(job.attempt, first=2, now=9.5)
    assert second.record(WF).state is State.COMPLETED
    first.settle(now=99.0)
    assert first.runs.runs == ()


# --- where input goes ---


def test_reports_about_a_run_that_is_not_ours_are_left_to_be_sent_again() -> None:
    owning = driving()
    assert owning.runs.reports(ANN, Reports(OTHER, 1, 1, (), 0, 0), 0.0) == []
    owning.flush()
    assert owning.pop_sent() == []


def test_reports_about_a_run_of_ours_are_acknowledged() -> None:
    owning = driving()
    (job,) = owning.work()
    owning.report(job.attempt, first=1)
    assert ReportsAck(RUN, 2) in owning.pop_sent()


def test_attempts_of_runs_that_are_not_ours_are_doubted_and_those_of_ours_are_judged() -> None:
    owning = driving()
    stale = attempt(0, 9)
    owning.do(owning.runs.held(ANN, [stale, attempt(0, run=OTHER)], 0.0))
    owning.settle()
    assert owning.pop_sent() == [RunOpen(OTHER), Cancel((stale,))]


def test_a_node_that_lists_nothing_lost_what_it_was_handed_and_other_nodes_say_nothing_with_that() -> None:
    owning = driving(lost_s=2.0)
    owning.work()
    owning.do(owning.runs.held(BOB, [], 3.0), now=3.0)
    owning.flush(3.0)
    assert owning.log()[-1] == TaskStarted(0, 1, 1, ANN)
    owning.do(owning.runs.held(ANN, [], 3.0), now=3.0)
    owning.settle(3.0)
    assert [entry.state for entry in owning.log() if isinstance(entry, TaskEnded)] == [State.LOST]


def test_attempts_of_a_member_that_is_gone_are_queued_again() -> None:
    owning = driving()
    owning.work()
    owning.do(owning.runs.node_gone(ANN, 1.0), now=1.0)
    owning.settle(1.0)
    ends = [entry for entry in owning.log() if isinstance(entry, TaskEnded)]
    assert [(end.state, end.node) for end in ends] == [(State.LOST, "ann's")]


def signal(run: RunId, action: str, **arguments: object) -> Signal:
    return Signal(run, call_key(attempt(0), 1), action, arguments)


def test_a_signal_goes_to_the_dag_run_or_to_the_workflow_run_that_it_is_for() -> None:
    owning = driving()
    owning.do(owning.runs.signal(ANN, signal(RUN, "is_dag_stopped", dag_name="d:1"), 0.0))
    owning.do(owning.runs.signal(ANN, signal(WF, "is_dag_completed", name="d:1"), 0.0))
    owning.do(owning.runs.signal(ANN, signal(OTHER, "is_dag_completed", name="d:1"), 0.0))
    owning.flush()
    results = [message.result for message in owning.pop_sent() if isinstance(message, SignalAnswer)]
    assert results == [{"is_stopped": False}, {"is_completed": False}]


def test_answers_of_the_workflow_run_go_to_the_dag_run_that_asked() -> None:
    owning = driving()
    owning.do(owning.runs.signal(ANN, signal(RUN, "start_dag", name="d"), 0.0))
    answer = SignalAnswer(call_key(attempt(0), 1), {"dag_name": "d:2"})
    owning.do(owning.runs.signal_answered(answer))
    owning.do(owning.runs.signal_answered(SignalAnswer(call_key(attempt(0, run=OTHER), 1), {})))
    assert owning.pop_sent() == [answer]


def only_dag() -> Owning:
    """The dag run is driven by ME, and its workflow run by BOB."""
    owning = Owning(members=(member(ME), member(ANN, queues=("task",)), member(BOB, queues=())))
    owning.submit(owner=BOB, epoch=1)
    owning.store.perform([CreateRun(dag_record(), {})])
    owning.settle()
    assert owning.runs.runs == (RUN,)
    owning.pop_sent(BOB)
    return owning


def test_the_owner_of_the_workflow_run_is_found_in_the_store_or_tells() -> None:
    owning = only_dag()
    owning.do(owning.runs.signal(ANN, signal(RUN, "start_dag", name="d"), 0.0))
    owning.flush()
    assert owning.asked() == [LoadRun(WF)]
    owning.do(owning.runs.located(RunId("other"), None))
    owning.do(owning.runs.located(WF, owning.record(WF)))
    owning.flush()
    expected = signal(WF, "start_dag", name="d")
    assert owning.pop_sent(BOB) == [expected]
    owning.runs.owned_elsewhere(ANN, Owned(RunId("other"), 2))
    owning.runs.owned_elsewhere(ANN, Owned(WF, 2))
    owning.flush()
    assert [message for message in owning.pop_sent() if isinstance(message, Signal)] == [expected]
    owning.do(owning.runs.node_gone(ANN, 0.1), now=0.1)
    owning.flush(5.0)
    assert [message for message in owning.pop_sent() if isinstance(message, Signal)] == []


def test_the_owner_of_a_dag_run_tells_the_owner_of_its_workflow_run() -> None:
    owning = Owning(members=(member(ME, queues=("workflow",)),))
    owning.submit()
    owning.settle()
    owning.runs.owned_elsewhere(BOB, Owned(RUN, 1))
    owning.runs.owned_elsewhere(BOB, Owned(OTHER, 1))
    owning.do(owning.runs.signal(ANN, signal(WF, "stop_dag", name="d:1"), 0.0))
    owning.settle()
    assert owning.pop_sent(BOB) == [RunOpen(RUN)]


def test_a_stop_in_the_record_reaches_the_run_that_is_driven_here() -> None:
    owning = driving()
    owning.store.perform([AskStop(WF, Stop.STOP, "enough")])
    owning.do(owning.runs.run_open(NodeId("client"), WF))
    owning.settle()
    owning.settle(now=3.0)
    assert StopAsked(Stop.STOP, State.STOPPED, "enough") in owning.log(WF)
    assert [owning.record(run).state for run in (RUN, WF)] == [State.STOPPED, State.STOPPED]


# --- when and how much ---


def test_runs_of_owners_that_are_gone_are_claimed_as_soon_as_a_node_is_no_longer_young() -> None:
    """Not only with the next look after that: two seconds are long for a run that stands still."""
    owning = Owning()
    owning.submit(owner=NodeId("dead"), epoch=0)
    owning.settle(0.2)
    assert (owning.runs.runs, owning.runs.deadline()) == ((), 1.0)
    owning.settle(1.0)
    assert WF in owning.runs.runs


def test_the_runs_of_an_owner_that_a_young_node_sees_die_are_claimed_at_once() -> None:
    owning = Owning(members=(member(ME), member(BOB)))
    owning.submit(owner=BOB, epoch=0)
    owning.settle(0.2)
    owning.runs.set_members([member(ME)])
    owning.do(owning.runs.node_gone(BOB, 0.4), 0.4)
    owning.settle(0.4)
    assert WF in owning.runs.runs


def test_all_is_settled_when_all_logs_are_written() -> None:
    owning = driving()
    assert owning.runs.is_settled
    owning.work()
    owning.runs.dispatcher.demand(ANN, 100, 0, 0.0)
    owning.do(owning.runs.signal(ANN, signal(RUN, "flush"), 0.0))
    assert not owning.runs.is_settled


def test_a_run_is_looked_at_when_its_time_has_come() -> None:
    owning = driving(Blueprints(dag("a", "", task("a", retries=1, retry_delay_s=10.0))))
    (job,) = owning.work()
    owning.report(job.attempt, first=1, state=State.FAILED)
    assert owning.work(now=9.9) == []
    assert owning.runs.deadline() <= 10.0
    (job,) = owning.work(now=10.0)
    assert job.attempt.attempt == 2


def test_nothing_is_handed_out_while_the_store_is_far_behind_and_nobody_is_woken_for_it() -> None:
    owning = driving(Blueprints(dag("a b c")), max_backlog=2)
    owning.runs._dags[RUN].log.add(Noted("1"), Noted("2"), Noted("3"))
    owning.do(owning.runs.signal(ANN, signal(RUN, "is_dag_stopped", dag_name="d:1"), 0.0))
    owning.runs.dispatcher.demand(ANN, 100, 0, 0.0)
    owning.pop_sent()
    owning.flush()
    owning.flush()
    assert owning.pop_sent() == []
    assert owning.runs.deadline() > 0.0
    assert len(owning.work()) == 3
