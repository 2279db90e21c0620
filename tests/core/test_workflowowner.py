"""Driving a workflow run: its dag runs, what their tasks ask, how it stops and ends.

The finer points are in `test_workflowowner_details.py`.
"""

import pytest

from meshflow.core.asks import Closing, Creating
from meshflow.core.effects import Ask, Send
from meshflow.core.messages import Owned, RunOpen, SignalAnswer
from meshflow.core.provenance import instant
from meshflow.core.records import (
    DagEnded,
    DagRefused,
    DagStarted,
    Noted,
    RunEnded,
    RunRecord,
    State,
    Stop,
    StopAsked,
    Value,
)
from meshflow.core.requests import AskStop, CreateRun, RemoveDocument, SetFields, UpdateRun
from meshflow.ids import dag_run_id
from tests.core.builders import ANN, BOB, ME, WF, workflow_record
from tests.core.driven import WALL, asked
from tests.core.driven_workflow import MAIN, SUB, Driven, answer


def creation(started: DagStarted) -> CreateRun:
    run = dag_run_id(WF, started.name)
    return CreateRun(RunRecord(run, started.name, "w", "dag", parent=WF, created_at=WALL, data=started.data), {})


# --- taking charge ---


def test_the_dags_that_start_by_themselves_are_logged_and_then_created() -> None:
    driven = Driven()
    assert driven.begin() == []
    entries, requests, released = driven.flush()
    assert entries == [MAIN]
    assert requests == [SetFields(WF, "meta", {"start_time": instant(1500.0)})]
    assert asked(released) == [creation(MAIN)]


def test_a_workflow_without_a_dag_that_starts_by_itself_says_so_and_ends() -> None:
    driven = Driven(autostart="")
    driven.begin()
    entries, _, _ = driven.flush()
    assert entries == [Noted("workflow 'w' has no dag that starts by itself"), RunEnded(State.COMPLETED, "")]


def test_who_takes_over_tells_all_and_creates_what_the_log_calls_for() -> None:
    driven = Driven(MAIN, SUB, DagEnded("sub:1", State.COMPLETED), epoch=2)
    effects = driven.begin(is_takeover=True)
    assert effects[:2] == [Send(ME, Owned(WF, 2)), Send(ANN, Owned(WF, 2))]
    assert asked(effects) == [creation(MAIN)]
    assert driven.asks.is_asking(Creating(WF, "d:1"))
    assert driven.flush()[0] == []


def test_a_created_dag_run_is_pointed_out_to_this_node_until_its_owner_is_known() -> None:
    driven = Driven(MAIN)
    run = dag_run_id(WF, "d:1")
    assert driven.owner.created("d:1") == [Send(ME, RunOpen(run))]
    driven.owner.dag_owned("d:1", BOB)
    assert driven.owner.created("d:1") == [Send(BOB, RunOpen(run))]


def test_a_record_that_was_under_way_when_the_stop_came_is_told_of_it_afterwards() -> None:
    driven = Driven(MAIN)
    assert driven.owner.ask_stop(Stop.STOP, "enough") == []
    assert driven.owner.created("d:1") == []
    assert asked(driven.flush().released) == [AskStop(dag_run_id(WF, "d:1"), Stop.STOP, "enough")]
    assert driven.owner.created("d:1") == [Send(ME, RunOpen(dag_run_id(WF, "d:1")))]


def test_who_takes_over_a_run_that_stops_creates_dag_runs_that_stop() -> None:
    driven = Driven(MAIN, StopAsked(Stop.CANCEL, State.CANCELLED, ""), epoch=2)
    effects = driven.begin(is_takeover=True)
    stop = AskStop(dag_run_id(WF, "d:1"), Stop.CANCEL, "the workflow was stopped")
    assert asked(effects) == [creation(MAIN), stop]


def test_a_run_that_was_stopped_before_it_began_ends_without_a_complaint_about_its_dags() -> None:
    driven = Driven(record=workflow_record(stop=Stop.CANCEL, stop_reason="never mind"))
    driven.begin()
    entries, _, _ = driven.flush()
    assert entries == [
        StopAsked(Stop.CANCEL, State.CANCELLED, "never mind"),
        RunEnded(State.CANCELLED, "never mind"),
    ]


# --- starting and joining dags ---


def test_a_start_is_answered_when_the_log_has_it_and_after_the_record_is_asked_for() -> None:
    driven = Driven(MAIN)
    data = Value(b"data")
    assert driven.signal("start_dag", data=data, name="sub") == []
    entries, _, released = driven.flush()
    started = DagStarted("sub:1", "sub", "key", data)
    assert entries == [started]
    assert asked(released[:1]) == [creation(started)]
    assert released[1:] == [answer(dag_name="sub:1")]


def test_a_start_that_is_asked_for_again_is_answered_again_and_done_once() -> None:
    driven = Driven(MAIN, SUB)
    driven.signal("start_dag", name="sub")
    assert driven.flush() == ([], [], [answer(dag_name="sub:1")])


def test_a_start_of_an_unknown_dag_is_refused() -> None:
    driven = Driven(MAIN)
    driven.signal("start_dag", name="sud")
    reason = "no dag 'sud' in workflow 'w'; it has 'd', 'sub'"
    assert driven.flush() == ([], [], [answer(error=reason, dag_name=None)])


def test_a_start_while_the_run_stops_starts_nothing_and_is_no_error() -> None:
    driven = Driven(MAIN, StopAsked(Stop.STOP, State.STOPPED, "enough"))
    driven.signal("start_dag", name="sub")
    assert driven.flush() == ([DagRefused("sub", "key")], [], [answer(dag_name=None)])


def test_a_join_of_names_is_answered_when_they_have_ended_and_the_log_has_it() -> None:
    driven = Driven(MAIN, SUB)
    assert driven.signal("join_dags", key="join", caller="d:1", names=["sub:1", "unknown:1"]) == []
    assert driven.flush() == ([], [], [])
    driven.signal("dag_ended", key="end", name="sub:1", state="completed", total=3, done=2)
    entries, _, released = driven.flush()
    assert entries == [DagEnded("sub:1", State.COMPLETED, "", 3, 2)]
    assert released == [answer("join"), answer("end")]


def test_a_join_that_is_met_already_is_answered_at_once() -> None:
    driven = Driven(MAIN)
    assert driven.signal_proven("join_dags", caller="d:1", names=("sub:1",)) == [answer()]
    assert driven.signal_proven("join_dags", caller="d:1", names=None) == [answer()]


def test_a_stale_owner_answers_no_join_for_it_does_not_know_the_latest_dag_runs() -> None:
    driven = Driven(MAIN)
    assert driven.signal("join_dags", caller="d:1", names=("sub:1",)) == []
    (ask,) = driven.owner.flush(WALL)
    assert isinstance(ask, Ask)
    assert driven.log.answered([False]) == (None, [])
    assert driven.log.is_lost


def test_dags_that_only_wait_for_each_other_do_not_wait_for_ever() -> None:
    driven = Driven(MAIN, SUB)
    assert driven.signal("join_dags", key="one", caller="d:1", names=None, idle=True) == []
    assert driven.signal_proven("join_dags", key="two", caller="sub:1", idle=True) == [answer("one"), answer("two")]


def test_a_dag_run_that_only_waits_is_not_waited_for() -> None:
    driven = Driven(MAIN, SUB)
    assert driven.signal("join_dags", key="one", caller="d:1", names=None, idle=True) == []
    assert driven.signal_proven("join_dags", key="two", caller="sub:1", names=None, idle=False) == [answer("two")]


def test_a_dag_that_was_idle_and_is_not_any_more_is_waited_for() -> None:
    driven = Driven(MAIN, SUB)
    driven.signal("join_dags", key="one", caller="d:1", names=None, idle=True)
    driven.signal("join_dags", key="one", caller="d:1", names=None, idle=False)
    assert driven.signal_proven("join_dags", key="two", caller="sub:1", names=None, idle=True) == [answer("one")]


@pytest.mark.parametrize("caller", ["sub:1", "nobody", None])
def test_a_join_of_a_dag_run_that_is_not_open_waits_for_nothing(caller: object) -> None:
    driven = Driven(MAIN, SUB, DagEnded("sub:1", State.COMPLETED))
    assert driven.signal_proven("join_dags", caller=caller, names=["d:1"]) == [answer()]


# --- what tasks may know ---


@pytest.mark.parametrize(("name", "is_completed"), [("d:1", False), ("sub:1", True)])
def test_a_dag_run_is_completed_unless_it_is_open(name: object, is_completed: bool) -> None:
    driven = Driven(MAIN, SUB, DagEnded("sub:1", State.FAILED))
    assert driven.signal("is_dag_completed", name=name) == [answer(is_completed=is_completed)]


@pytest.mark.parametrize("name", ["unknown", None])
def test_a_dag_run_is_unknown_only_if_the_true_owner_does_not_know_it(name: object) -> None:
    assert Driven(MAIN).signal_proven("is_dag_completed", name=name) == [answer(is_completed=True)]


@pytest.mark.parametrize(
    ("name", "is_stopped"), [("d:1", False), ("sub:1", True), ("sub:2", False), ("unknown", False)]
)
def test_a_dag_run_that_ended_early_was_stopped(name: str, is_stopped: bool) -> None:
    second = DagStarted("sub:2", "sub", "other key")
    driven = Driven(MAIN, SUB, second, DagEnded("sub:1", State.STOPPED), DagEnded("sub:2", State.COMPLETED))
    assert driven.signal("is_dag_stopped", dag_name=name) == [answer(is_stopped=is_stopped)]


def test_an_unknown_signal_is_refused() -> None:
    refusal = Send(ANN, SignalAnswer("key", None, "unknown signal 'dance'"))
    assert Driven(MAIN).signal("dance") == [refusal]


# --- stopping ---


def test_a_person_who_stops_the_run_stops_its_open_dag_runs_and_the_log_has_it() -> None:
    driven = Driven()
    driven.open(MAIN, SUB)
    assert driven.owner.ask_stop(Stop.CANCEL, "at once") == []
    entries, _, released = driven.flush()
    assert entries == [StopAsked(Stop.CANCEL, State.CANCELLED, "at once")]
    assert asked(released) == [AskStop(dag_run_id(WF, name), Stop.CANCEL, "at once") for name in ("d:1", "sub:1")]


def test_a_stop_that_did_not_reach_the_log_stops_no_dag_run() -> None:
    """The next owner would not know why it was stopped, and call the whole completed."""
    driven = Driven()
    driven.open(MAIN)
    assert driven.signal("stop_workflow") == []
    (ask,) = driven.owner.flush(WALL)
    assert isinstance(ask, Ask)
    assert driven.log.answered([False]) == (None, [])


def test_a_stop_that_changes_nothing_does_nothing() -> None:
    driven = Driven()
    driven.open(MAIN)
    driven.owner.ask_stop(Stop.STOP, "enough")
    driven.flush()
    assert driven.owner.ask_stop(Stop.STOP, "really") == []
    assert driven.flush() == ([], [], [])


def test_a_stop_after_the_end_was_logged_changes_nothing() -> None:
    driven = Driven(MAIN, DagEnded("d:1", State.COMPLETED))
    driven.flush()
    assert driven.owner.ask_stop(Stop.CANCEL, "too late") == []
    assert driven.fold.outcome() == (State.COMPLETED, "")


def test_a_task_that_stops_the_workflow_aborts_it_and_is_answered_when_the_log_has_it() -> None:
    driven = Driven()
    driven.open(MAIN)
    reason = "a task asked the workflow to stop"
    assert driven.signal("stop_workflow") == []
    entries, _, released = driven.flush()
    assert entries == [StopAsked(Stop.STOP, State.ABORTED, reason)]
    assert asked(released[:1]) == [AskStop(dag_run_id(WF, "d:1"), Stop.STOP, reason)]
    assert released[1:] == [answer()]


def test_a_dag_run_in_trouble_stops_the_workflow_in_its_state() -> None:
    driven = Driven()
    driven.open(MAIN)
    driven.signal("stop_workflow", state="failed", reason="task 'a' failed: broken")
    assert driven.flush()[0] == [StopAsked(Stop.STOP, State.FAILED, "task 'a' failed: broken")]


@pytest.mark.parametrize("action", ["stop_workflow", "dag_ended"])
@pytest.mark.parametrize("state", ["skipped", "running", "lost", "nonsense", 7, None, ["completed"]])
def test_a_state_in_which_no_run_can_end_is_refused(action: str, state: object) -> None:
    driven = Driven(MAIN)
    (refusal,) = driven.signal(action, name="d:1", state=state)
    assert isinstance(refusal, Send)
    assert isinstance(refusal.message, SignalAnswer)
    assert refusal.message.error == f"{action} names the state {state!r}, in which no run can end"
    assert driven.flush() == ([], [], [])


def test_one_dag_run_can_be_stopped_and_the_workflow_goes_on() -> None:
    driven = Driven()
    driven.open(MAIN, SUB)
    effects = driven.signal("stop_dag", name="sub:1")
    stop = AskStop(dag_run_id(WF, "sub:1"), Stop.STOP, "a task asked this dag run to stop")
    assert asked(effects) == [stop]
    assert effects[1:] == [answer()]
    driven.signal("dag_ended", name="sub:1", state="stopped", reason="so")
    driven.signal("dag_ended", name="d:1", state="completed")
    assert driven.flush()[0][-1] == RunEnded(State.COMPLETED, "")


@pytest.mark.parametrize("name", ["sub:1", "unknown"])
def test_stopping_a_dag_run_that_is_not_open_does_nothing(name: str) -> None:
    driven = Driven(MAIN, SUB, DagEnded("sub:1", State.COMPLETED))
    assert driven.signal("stop_dag", name=name) == [answer()]


# --- ending ---


@pytest.mark.parametrize("state", [State.FAILED, State.ABORTED])
def test_a_dag_run_that_failed_or_aborted_ends_the_workflow_so(state: State) -> None:
    driven = Driven()
    driven.open(MAIN, SUB)
    driven.signal("dag_ended", name="sub:1", state=state.value, reason="broken")
    entries, _, released = driven.flush()
    assert entries == [DagEnded("sub:1", state, "broken"), StopAsked(Stop.STOP, state, "broken")]
    assert asked(released) == [AskStop(dag_run_id(WF, "d:1"), Stop.STOP, "broken")]
    driven.signal("dag_ended", name="d:1", state="stopped")
    assert driven.flush()[0][-1] == RunEnded(state, "broken")


def test_when_no_dag_run_is_open_the_end_is_logged_and_then_the_record_becomes_final_and_the_document_goes() -> None:
    driven = Driven(MAIN, SUB, DagEnded("sub:1", State.COMPLETED, "", 3, 3))
    driven.signal("dag_ended", name="d:1", state="completed", total=2, done=1)
    entries, _, released = driven.flush()
    assert entries == [DagEnded("d:1", State.COMPLETED, "", 2, 1), RunEnded(State.COMPLETED, "")]
    final = UpdateRun(WF, 1, State.COMPLETED, "", ended_at=WALL, total=5, done=4)
    assert released[0] == answer()
    (closing,) = released[1:]
    assert isinstance(closing, Ask)
    assert closing.requests == (RemoveDocument(WF), final)
    assert driven.asks.take(closing.token) == Closing(WF)


@pytest.mark.parametrize("state", [State.FAILED, State.STOPPED])
def test_the_document_of_a_run_that_did_not_complete_stays_for_a_retry(state: State) -> None:
    driven = Driven(MAIN)
    driven.open(MAIN)
    driven.owner.stop_in(Stop.STOP, state, "enough")
    driven.signal("dag_ended", name="d:1", state=state.value)
    _, _, released = driven.flush()
    closing = next(each for each in released if isinstance(each, Ask) and len(each.requests) > 1)
    assert [type(request) for request in closing.requests] == [SetFields, UpdateRun]


def test_a_document_that_is_kept_gets_its_end_and_duration() -> None:
    driven = Driven(MAIN, keeps_data=True)
    driven.signal("dag_ended", name="d:1", state="completed")
    _, _, released = driven.flush()
    times = SetFields(WF, "meta", {"end_time": instant(WALL), "duration": 500.0})
    assert asked(released)[0] == times


def test_an_end_that_is_told_twice_is_answered_twice_and_recorded_once() -> None:
    driven = Driven(MAIN, SUB)
    driven.signal("dag_ended", key="one", name="sub:1", state="completed")
    driven.signal("dag_ended", key="two", name="sub:1", state="failed")
    entries, _, released = driven.flush()
    assert entries == [DagEnded("sub:1", State.COMPLETED)]
    assert released == [answer("one"), answer("two")]


# --- what is not heard, and what is let go ---


def test_dag_runs_that_are_not_open_in_the_store_any_more_are_missing_once_their_record_was_there() -> None:
    driven = Driven(MAIN, SUB)
    driven.owner.created("sub:1")
    assert driven.owner.missing_dags({dag_run_id(WF, "d:1"): None}) == ("sub:1",)
    assert driven.owner.missing_dags({dag_run_id(WF, "sub:1"): None}) == ()


def test_nothing_is_kept_of_a_dag_run_that_has_ended() -> None:
    driven = Driven()
    driven.open(MAIN, SUB)
    driven.owner.dag_owned("sub:1", BOB)
    driven.owner.dag_owned("unknown", BOB)
    driven.signal("join_dags", caller="sub:1", names=None, idle=True)
    driven.owner.dag_ended("sub:1", State.COMPLETED, "", 1, 1)
    driven.owner.dag_owned("sub:1", BOB)
    assert driven.owner.created("sub:1") == []
    owner = driven.owner
    assert (list(owner._created), owner._dag_owners, owner._idle) == (["d:1"], {}, {})
    driven.owner.dag_ended("d:1", State.COMPLETED, "", 1, 1)
    assert (owner._created, owner._joins) == ({}, {})
