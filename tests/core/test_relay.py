"""Signals on their way from the tasks of a dag run, and from its owner, to the owner of the workflow run."""

import math
from typing import Any

import pytest

from meshflow.core.asks import Locating
from meshflow.core.attempts import Attempt
from meshflow.core.effects import Ask, Effect, Send
from meshflow.core.graph import DagSpec
from meshflow.core.keys import call_key, own_key, start_key
from meshflow.core.messages import Signal, SignalAnswer
from meshflow.core.records import Batch, RunEnded, RunRecord, State, Stop, Value
from meshflow.core.relay import Relay
from meshflow.core.requests import LoadRun, SetFields
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, RUN, WF, attempt, dag, ended, finished, started, workflow_record
from tests.core.driven import DrivenDag

BOSS, NEXT_BOSS = NodeId("boss"), NodeId("next boss")
"""Owners of the workflow run."""
LOCATE = (LoadRun(WF),)


class Relayed(DrivenDag):
    """A dag run with its relay; the workflow run is driven by BOSS unless nothing was heard of its owner."""

    def __init__(self, spec: DagSpec | None = None, *, is_parent_known: bool = True, **fields: Any) -> None:
        super().__init__(spec or dag("a b"), **fields)
        self.begin()
        self.relay = Relay(self.owner, self.asks, resend_s=1.0)
        if is_parent_known:
            self.relay.turn_to(BOSS)

    def ask(self, action: str, of: Attempt | None = None, *, now: float = 0.0, **arguments: object) -> list[Effect]:
        """The first call of an attempt on ANN, and all that is due then."""
        signal = Signal(RUN, call_key(of or attempt(0), 1), action, arguments)
        return self.relay.from_task(ANN, signal, now) + self.relay.flush(False, now)


def up(action: str, of: Attempt | None = None, *, to: NodeId = BOSS, **arguments: object) -> Send:
    return Send(to, Signal(WF, call_key(of or attempt(0), 1), action, arguments))


def join(of: Attempt, *, is_idle: bool, names: object = None) -> Send:
    return up("join_dags", of, names=names, caller="d:1", idle=is_idle)


def answer(of: Attempt, result: object = None, error: str = "") -> SignalAnswer:
    return SignalAnswer(call_key(of, 1), result, error)


# --- what the dag run answers itself ---


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_task_learns_from_its_own_dag_run_whether_it_is_stopped(is_stopped: bool) -> None:
    relayed = Relayed()
    if is_stopped:
        relayed.owner.ask_stop(Stop.STOP, "enough")
    assert relayed.ask("is_dag_stopped", dag_name="d:1") == [Send(ANN, answer(attempt(0), {"is_stopped": is_stopped}))]


def test_a_flush_is_answered_when_the_timings_are_written() -> None:
    relayed = Relayed()
    assert relayed.ask("flush") == []
    written = relayed.write()
    assert any(isinstance(request, SetFields) for request in written.requests)
    assert written.released == [Send(ANN, answer(attempt(0), {}))]


def test_an_unknown_signal_is_refused() -> None:
    refusal = answer(attempt(0), None, "unknown signal 'dance'")
    assert Relayed().ask("dance") == [Send(ANN, refusal)]


# --- what is asked of the workflow run ---


@pytest.mark.parametrize("action", ["start_dag", "stop_dag", "stop_workflow", "is_dag_completed", "is_dag_stopped"])
def test_all_else_is_asked_of_the_workflow_run_and_the_answer_handed_back(action: str) -> None:
    relayed = Relayed()
    assert relayed.ask(action, name="sub") == [up(action, name="sub")]
    assert relayed.relay.answered(answer(attempt(0), {"x": 1})) == [Send(ANN, answer(attempt(0), {"x": 1}))]
    assert relayed.relay.answered(answer(attempt(0), {"x": 1})) == []


def test_data_goes_with_the_signal() -> None:
    relayed = Relayed()
    signal = Signal(RUN, "key", "start_dag", {"name": "sub"}, Value(b"data"))
    relayed.relay.from_task(ANN, signal, 0.0)
    assert relayed.relay.flush(False, 0.0) == [
        Send(BOSS, Signal(WF, "key", "start_dag", {"name": "sub"}, Value(b"data")))
    ]


def test_a_signal_is_sent_again_ever_less_often_until_it_is_answered() -> None:
    relayed = Relayed()
    relayed.ask("stop_dag", name="d:1")
    sent = []
    for tenth in range(1, 400):
        if any(isinstance(effect, Send) for effect in relayed.relay.flush(False, tenth / 10)):
            sent.append(tenth / 10)
            assert relayed.relay.deadline() > tenth / 10
    assert sent == [1.0, 2.0, 4.0, 8.0, 16.0, 26.0, 36.0]
    relayed.relay.answered(answer(attempt(0)))
    assert relayed.relay.deadline() == math.inf
    assert relayed.relay.flush(False, 99.0) == []


def test_a_signal_that_comes_twice_is_asked_once() -> None:
    relayed = Relayed()
    assert len(relayed.ask("start_dag", name="sub")) == 1
    assert relayed.ask("start_dag", now=0.5, name="sub") == []


def test_the_answer_goes_to_the_node_that_asked_last() -> None:
    relayed = Relayed()
    key = start_key(attempt(0), 1)
    for node, number in [(ANN, 1), (BOB, 2)]:
        relayed.relay.from_task(node, Signal(RUN, start_key(attempt(0, number), 1), "start_dag", {}), 0.0)
    assert relayed.relay.answered(SignalAnswer(key, {})) == [Send(BOB, SignalAnswer(key, {}))]


# --- who drives the workflow run ---


def test_the_store_is_asked_who_drives_the_workflow_run_if_nobody_said() -> None:
    relayed = Relayed(is_parent_known=False)
    (ask,) = relayed.ask("stop_dag")
    assert isinstance(ask, Ask)
    assert ask.requests == LOCATE
    assert relayed.relay.deadline() == 1.0
    assert relayed.relay.flush(False, 1.0) == []
    assert relayed.asks.take(ask.token) == Locating(WF)
    assert relayed.relay.located(workflow_record(owner=BOSS)) == []
    assert relayed.relay.flush(False, 1.1) == [up("stop_dag")]


def test_the_store_is_asked_again_if_it_did_not_know() -> None:
    relayed = Relayed(is_parent_known=False)
    (ask,) = relayed.ask("stop_dag")
    assert isinstance(ask, Ask)
    relayed.asks.take(ask.token)
    relayed.relay.located(workflow_record())
    assert relayed.relay.flush(False, 0.5) == []
    (again,) = relayed.relay.flush(False, 1.0)
    assert isinstance(again, Ask)


def test_the_store_is_asked_if_the_owner_does_not_answer() -> None:
    relayed = Relayed()
    relayed.ask("stop_dag")
    for now in (1.0, 2.0):
        relayed.relay.flush(False, now)
    ask, resent = relayed.relay.flush(False, 4.0)
    assert isinstance(ask, Ask)
    assert ask.requests == LOCATE
    assert resent == up("stop_dag")
    assert relayed.relay.located(workflow_record(owner=BOSS)) == []
    assert relayed.relay.flush(False, 4.1) == []
    relayed.relay.located(workflow_record(owner=NEXT_BOSS))
    assert relayed.relay.flush(False, 4.2) == [up("stop_dag", to=NEXT_BOSS)]


def test_when_the_owner_is_gone_nothing_is_sent_until_there_is_another() -> None:
    relayed = Relayed()
    relayed.ask("stop_dag")
    relayed.relay.owner_gone(ANN)
    assert relayed.relay.parent_owner == BOSS
    relayed.relay.owner_gone(BOSS)
    assert not any(isinstance(effect, Send) for effect in relayed.relay.flush(False, 5.0))
    relayed.relay.turn_to(NEXT_BOSS)
    assert relayed.relay.flush(False, 5.1) == [up("stop_dag", to=NEXT_BOSS)]


@pytest.mark.parametrize("record", [None, workflow_record(state=State.COMPLETED)])
def test_when_the_workflow_run_has_ended_or_is_gone_all_are_told_so(record: RunRecord | None) -> None:
    relayed = Relayed()
    relayed.ask("stop_dag")
    assert relayed.relay.located(record) == [Send(ANN, answer(attempt(0), None, "the workflow run has ended"))]


# --- joins, and who only waits ---


def test_a_dag_run_whose_running_tasks_all_wait_for_all_others_is_idle() -> None:
    relayed = Relayed()
    relayed.hand_out(0, 1)
    assert relayed.ask("join_dags", attempt(0), names=None) == [join(attempt(0), is_idle=False)]
    assert relayed.ask("join_dags", attempt(1), now=0.1, names=None) == [
        join(each, is_idle=True) for each in (attempt(0), attempt(1))
    ]


def test_a_dag_run_becomes_idle_when_its_last_other_task_has_ended() -> None:
    relayed = Relayed()
    relayed.hand_out(0, 1)
    relayed.ask("join_dags", attempt(0), names=None)
    relayed.report(finished(attempt(1)))
    assert relayed.relay.flush(False, 0.1) == [join(attempt(0), is_idle=True)]
    assert relayed.relay.flush(False, 0.2) == []


def test_a_dag_run_with_a_task_that_waits_for_a_slot_is_not_idle() -> None:
    relayed = Relayed()
    relayed.hand_out(0)
    assert relayed.ask("join_dags", attempt(0), names=None) == [join(attempt(0), is_idle=False)]


def test_who_waits_for_dags_by_name_is_not_idle() -> None:
    relayed = Relayed(dag("a"))
    relayed.hand_out(0)
    assert relayed.ask("join_dags", names=["sub:1"]) == [join(attempt(0), is_idle=False, names=["sub:1"])]


def test_a_join_of_an_attempt_that_was_lost_does_not_make_the_next_one_idle() -> None:
    relayed = Relayed(dag("a"))
    relayed.hand_out(0)
    relayed.ask("join_dags", attempt(0), names=None)
    relayed.owner.node_gone(ANN)
    relayed.hand_out(0, to=BOB)
    assert relayed.relay.flush(False, 0.1) == [join(attempt(0), is_idle=False)]


def test_a_dag_run_is_not_idle_any_more_once_a_join_was_answered() -> None:
    relayed = Relayed(dag("a b"))
    relayed.hand_out(0, 1)
    for each in (attempt(0), attempt(1)):
        relayed.ask("join_dags", each, names=None)
    relayed.relay.answered(answer(attempt(0)))
    assert relayed.relay.flush(False, 0.1) == [join(attempt(1), is_idle=False)]


# --- trouble, and the end ---


def own(what: str, action: str, **arguments: object) -> Send:
    return Send(BOSS, Signal(WF, own_key(RUN, what), action, arguments))


@pytest.mark.parametrize("state", [State.FAILED, State.ABORTED])
def test_a_run_in_trouble_stops_the_workflow_when_the_log_has_it(state: State) -> None:
    relayed = Relayed()
    relayed.hand_out(0, 1)
    relayed.report(finished(attempt(0), state, reason="broken"))
    assert relayed.relay.flush(False, 0.0) == []
    relayed.relay.logged(Batch(RUN, 1, "token", (ended(0, state, retry=True),)))
    assert relayed.relay.flush(False, 0.0) == []
    relayed.relay.logged(Batch(RUN, 2, "token", (ended(0, state),)))
    reason = f"task 'a' {state.value}: broken"
    assert relayed.relay.flush(False, 0.0) == [own("trouble", "stop_workflow", state=state.value, reason=reason)]
    assert relayed.relay.answered(SignalAnswer(own_key(RUN, "trouble"), {})) == []
    assert relayed.relay.flush(False, 9.0) == []


def test_the_end_is_told_when_the_log_has_it_and_heard_before_all_is_done() -> None:
    relayed = Relayed()
    relayed.fold.apply(ended(0, State.STOPPED))
    relayed.fold.apply(RunEnded(State.STOPPED, "enough"))
    assert relayed.relay.flush(False, 0.0) == []
    end = own("ended", "dag_ended", name="d:1", state="stopped", reason="enough", total=2, done=1)
    assert relayed.relay.flush(True, 0.1) == [end]
    assert not relayed.relay.is_done
    assert relayed.relay.flush(True, 1.1) == [end]
    relayed.relay.answered(SignalAnswer(own_key(RUN, "ended"), {}))
    assert relayed.relay.flush(True, 9.9) == []
    assert relayed.relay.is_done


def test_what_lost_tasks_have_asked_does_not_outlive_the_dag_run() -> None:
    relayed = Relayed()
    relayed.ask("join_dags", names=None)
    relayed.fold.apply(started(0))
    effects = relayed.relay.flush(True, 5.0)
    assert [effect.message.action for effect in effects if isinstance(effect, Send)] == ["dag_ended"]  # type: ignore[union-attr]
    relayed.relay.answered(SignalAnswer(own_key(RUN, "ended"), {}))
    assert relayed.relay.is_done
