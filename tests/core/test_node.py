"""A whole node: which machine hears what, what a node tells itself, and how it comes and goes."""

import math

import pytest

from meshflow.core.client_messages import AskStatus, Drain, Draining, NodeStatus, StoreAnswers, StoreAsk, Watch, Watched
from meshflow.core.effects import Ask, Kill, SendTo, TellStopping
from meshflow.core.events import MemberDied, MemberJoined, MemberLeft, MemberUpdated, RunFinished
from meshflow.core.member import Member, Status
from meshflow.core.messages import (
    Cancel,
    Demand,
    Gossip,
    Holding,
    Message,
    News,
    Offer,
    Output,
    Owned,
    Probe,
    ProbeAck,
    Reports,
    ReportsAck,
    RunOpen,
    Signal,
    SignalAnswer,
    Stopping,
    Sync,
    Verdict,
    Work,
)
from meshflow.core.records import State
from meshflow.core.requests import AskStop, CreateRun, ForgetNode, ListNodes, LoadRun, RegisterNode, WriteOutput
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, BOB, ME, RUN, WF, attempt, dag_record, finished, member
from tests.core.noding import Noding
from tests.core.owning import WALL_OFFSET_S
from tests.core.working import job

CLIENT = NodeId("client")
CHUNK = WriteOutput(RUN, "a", 1, "stdout", 0, b"hello")


def driving() -> Noding:
    """A node that drives a run of two tasks and runs the first itself."""
    noding = Noding(member(ANN, queues=()))
    noding.submit()
    noding.settle()
    assert [start.job.name for start in noding.starts] == ["a"]
    noding.sent.clear()
    return noding


def gone(of: Member, status: Status) -> Gossip:
    """Word that a member is gone."""
    return Gossip(News(verdicts=(Verdict(of.id, of.incarnation, status),)))


# --- a run on a mesh of one ---


def test_a_node_alone_finds_drives_and_runs_a_workflow_by_itself() -> None:
    noding = Noding()
    noding.submit()
    noding.settle()
    for name in ("a", "b"):
        start = noding.starts[-1]
        assert start.job.name == name
        noding.node.task_finished(finished(start.job.attempt), 0.1)
        noding.settle(0.1)
    ends = [event for event in noding.events if isinstance(event, RunFinished)]
    assert ends == [RunFinished(RUN, "completed", ""), RunFinished(WF, "completed", "")]
    assert noding.node.status.done_count == 2
    assert noding.sent == []


def test_what_a_task_prints_is_kept_and_what_it_asks_is_answered() -> None:
    noding = driving()
    noding.node.task_output(attempt(0), CHUNK, 0.1)
    noding.node.task_signal(attempt(0), 7, "is_dag_stopped", {"dag_name": "d:1"}, None, 0.1)
    noding.settle(0.1)
    (answer,) = noding.others
    assert (answer.attempt, answer.call, answer.result) == (attempt(0), 7, {"is_stopped": False})  # type: ignore[union-attr]
    assert noding.store.perform([CHUNK]) == [True]


# --- members ---


def test_messages_about_membership_go_to_membership() -> None:
    noding = Noding(member(ANN))
    noding.handle(ANN, Probe(5))
    assert ProbeAck(5) in [
        message if not isinstance(message, ProbeAck) else ProbeAck(message.seq) for message in noding.pop_sent(ANN)
    ]


def test_a_node_joins_through_its_seeds() -> None:
    noding = Noding()
    noding.do(noding.node.start(["sim://seed"], 0.0))
    (sync,) = [effect for effect in noding.others if isinstance(effect, SendTo)]
    assert (sync.address, type(sync.message)) == ("sim://seed", Sync)


def test_a_new_member_is_offered_what_waits() -> None:
    noding = Noding(queues=("workflow", "dag"))
    noding.submit()
    noding.settle()
    noding.handle(ANN, Gossip(News(members=(member(ANN),))), 0.1)
    assert [type(event) for event in noding.events][-1] is MemberJoined
    assert Offer({"task": 1}) in noding.pop_sent(ANN)


def test_a_member_that_changes_what_it_serves_is_offered_that() -> None:
    noding = Noding(member(ANN, queues=()), queues=("workflow", "dag"))
    noding.submit()
    noding.settle()
    noding.sent.clear()
    noding.handle(ANN, Gossip(News(members=(member(ANN, incarnation=1),))), 0.1)
    assert isinstance(noding.events[-1], MemberUpdated)
    assert Offer({"task": 1}) in noding.pop_sent(ANN)


def handed_to_ann() -> Noding:
    """A node that drives a run whose first task ANN has."""
    noding = Noding(member(ANN, queues=("task",)), queues=("workflow", "dag"))
    noding.submit()
    noding.settle()
    noding.handle(ANN, Demand(1, 0), 0.1)
    assert any(isinstance(message, Work) for message in noding.pop_sent(ANN))
    assert noding.node.status.waiting == {}
    return noding


def test_what_a_member_had_that_has_left_is_queued_again() -> None:
    noding = handed_to_ann()
    noding.handle(ANN, gone(member(ANN), Status.LEFT), 1.0)
    assert MemberLeft in [type(event) for event in noding.events]
    assert noding.node.status.waiting == {"task": 1}


def test_what_a_member_had_that_does_not_answer_any_more_is_queued_again() -> None:
    noding = handed_to_ann()
    for tenth in range(2, 300):
        noding.do(noding.node.flush(tenth / 10))
        noding.answer(tenth / 10)
    assert MemberDied in [type(event) for event in noding.events]
    assert noding.node.status.waiting == {"task": 1}


def test_a_broken_connection_makes_the_peer_be_probed() -> None:
    noding = Noding(member(ANN))
    noding.do(noding.node.disconnected(ANN, 0.1))
    assert any(isinstance(message, Probe) for message in noding.pop_sent(ANN))


# --- the store's list of nodes ---


def test_a_node_registers_now_and_then_but_not_before_the_last_time_was_answered() -> None:
    noding = Noding()

    def registered(now: float) -> list[RegisterNode]:
        noding.asks.clear()
        noding.do(noding.node.flush(now))
        return [each for ask in noding.asks for each in ask.requests if isinstance(each, RegisterNode)]

    noding.settle()
    assert registered(9.9) == []
    assert noding.node.deadline() <= 10.0
    assert registered(10.0) == [RegisterNode(ME, "sim://me", 10.0 + WALL_OFFSET_S, "me's")]
    assert registered(20.0) == []


def test_nodes_that_the_store_lists_and_that_are_no_members_are_contacted() -> None:
    noding = Noding()
    noding.store.perform([RegisterNode(ANN, "sim://ann", WALL_OFFSET_S)])
    noding.do(noding.node.flush(10.0))
    noding.answer(10.0)
    noding.do(noding.node.flush(10.1))
    assert "sim://ann" in [effect.address for effect in noding.others if isinstance(effect, SendTo)]


def test_a_node_that_has_left_is_not_contacted() -> None:
    noding = Noding()
    noding.store.perform([RegisterNode(ANN, "sim://ann", WALL_OFFSET_S), ForgetNode(ANN)])
    noding.do(noding.node.flush(10.0))
    noding.answer(10.0)
    noding.do(noding.node.flush(10.1))
    assert [effect for effect in noding.others if isinstance(effect, SendTo)] == []


def test_nodes_that_are_gone_keep_the_names_that_the_store_has_of_them() -> None:
    """A node that starts after all others were killed would know the nodes of earlier attempts by ids only."""
    noding = Noding(member(BOB))
    noding.store.perform([RegisterNode(ANN, "sim://ann", WALL_OFFSET_S - 3 * 86400, "lab1")])
    noding.store.perform([RegisterNode(BOB, "sim://bob", WALL_OFFSET_S, "an earlier name")])
    noding.settle()
    assert noding.node.status.names == {ANN: "lab1"}
    assert [effect for effect in noding.others if isinstance(effect, SendTo)] == []


def test_only_a_few_nodes_look_through_the_stores_list() -> None:
    listing = []
    for others in ("ab", "abc"):
        noding = Noding(*(member(NodeId(name)) for name in others))
        noding.settle()
        noding.do(noding.node.flush(10.0))
        requests = [request for ask in noding.asks for request in ask.requests]
        listing.append(any(isinstance(request, ListNodes) for request in requests))
    assert listing == [True, False]


# --- who hears what ---


def test_reports_bring_credit_and_are_shown_to_who_watches() -> None:
    noding = driving()
    noding.handle(ANN, Watch(WF, 60.0))
    noding.handle(ANN, Reports(RUN, 1, 1, (Output(attempt(0), CHUNK),), 3, 0))
    noding.settle()
    sent = noding.pop_sent(ANN)
    assert Watched(None, (CHUNK,)) in sent
    assert ReportsAck(RUN, 2) in sent
    noding.handle(ANN, Reports(RUN, 2, 1, (), 3, 0))
    assert not any(isinstance(message, Watched) for message in noding.pop_sent(ANN))


def test_jobs_are_run_and_results_delivered_until_they_are_acknowledged() -> None:
    noding = Noding(member(ANN))
    of = attempt(0, run=RunId("other/d:1"))
    noding.handle(ANN, Offer({"task": 1}))
    assert Demand(2, 0) in noding.pop_sent(ANN)
    noding.handle(ANN, Work((job(of),), {"digest": b"code"}, 0))
    assert [start.job.attempt for start in noding.starts] == [of]
    noding.node.task_finished(finished(of), 0.1)
    noding.settle(0.1)
    assert Reports(of.run, 1, 1, (finished(of),), 3, 1) in noding.pop_sent(ANN)
    noding.handle(ANN, ReportsAck(of.run, 2), 0.2)
    assert noding.node._worker.is_idle


def test_offers_of_strangers_are_not_taken_up() -> None:
    noding = Noding(member(ANN))
    for sender in (CLIENT, NodeId("stranger")):
        noding.handle(sender, Offer({"task": 1}))
        assert noding.pop_sent(sender) == []
    noding.handle(ANN, gone(member(ANN), Status.LEFT))
    noding.handle(ANN, Offer({"task": 1}))
    assert not any(isinstance(message, Demand) for message in noding.pop_sent(ANN))


def test_an_owner_may_cancel_and_stop_what_runs_here() -> None:
    noding = Noding(member(ANN))
    of = attempt(0, run=RunId("other/d:1"))
    noding.handle(ANN, Work((job(of),), {"digest": b"code"}, 0))
    assert noding.node.handle(ANN, Cancel((of,)), 0.1) == [Kill(of, "cancelled", 3.0)]
    assert noding.node.handle(ANN, Stopping(of.run), 0.1) == [TellStopping(of)]
    assert Holding((of,), 0, 0, of.run) in [effect.message for effect in noding.node.handle(BOB, Owned(of.run, 9), 0.1)]  # type: ignore[union-attr]


def test_what_a_node_holds_is_judged() -> None:
    noding = driving()
    stale = attempt(0, 7)
    noding.handle(ANN, Holding((stale, attempt(0, run=RunId("other/d:1"))), 0, 0))
    noding.settle()
    sent = noding.pop_sent(ANN)
    assert Cancel((stale,)) in sent
    assert RunOpen(RunId("other/d:1")) in sent


def test_a_hint_leads_to_a_look_at_the_record() -> None:
    noding = Noding()
    noding.settle()
    noding.handle(CLIENT, RunOpen(WF))
    assert [ask.requests for ask in noding.asks] == [(LoadRun(WF),)]


def test_signals_and_answers_find_their_way() -> None:
    noding = driving()
    noding.handle(ANN, Signal(WF, "key", "is_dag_completed", {"name": "d:1"}))
    noding.handle(ANN, SignalAnswer("nobody asked", {}))
    assert SignalAnswer("key", {"is_completed": False}) in noding.pop_sent(ANN)


def test_a_run_that_does_not_answer_is_located_for_both_ends() -> None:
    noding = Noding(member(ANN))
    of = attempt(0, run=RunId("other/d:1"))
    noding.handle(ANN, Work((job(of),), {"digest": b"code"}, 0))
    noding.settle()
    noding.handle(ANN, RunOpen(of.run), 0.1)
    asks = [ask for ask in noding.asks if ask.requests == (LoadRun(of.run),)]
    assert len(asks) == 2, "one for the owner's end, one for the worker's"
    noding.answer(0.1)
    assert Kill(of, "cancelled", 3.0) in noding.others


def test_results_go_to_the_owner_that_the_store_names() -> None:
    noding = Noding(member(ANN), member(BOB))
    noding.handle(ANN, Work((job(attempt(0)),), {"digest": b"code"}, 0))
    noding.store.perform([CreateRun(dag_record(owner=BOB, epoch=5, state=State.RUNNING), {})])
    noding.handle(ANN, RunOpen(RUN), 0.1)
    noding.answer(0.1)
    noding.node.task_finished(finished(attempt(0)), 0.2)
    noding.do(noding.node.flush(0.2))
    assert any(isinstance(message, Reports) for message in noding.pop_sent(BOB))


# --- clients ---


def test_a_client_is_answered_by_the_store_or_told_why_not() -> None:
    noding = Noding()
    noding.settle()
    stop = AskStop(WF, 1, "x")  # type: ignore[arg-type]
    noding.handle(CLIENT, StoreAsk(7, (LoadRun(WF), stop)))
    (ask,) = noding.asks
    assert noding.node.is_for_client(ask.token)
    noding.do(noding.node.answered(ask.token, [None, False], 0.0))
    noding.handle(CLIENT, StoreAsk(8, (LoadRun(WF),)))
    ask = noding.asks[-1]
    noding.do(noding.node.refused(ask.token, "disk full", 0.0))
    assert noding.pop_sent(CLIENT) == [StoreAnswers(7, (None, False)), StoreAnswers(8, (), "disk full")]
    assert not noding.node.is_for_client(ask.token)
    assert noding.node.refused(ask.token, "disk full", 0.0) == []
    assert noding.node.answered(ask.token, [None], 0.0) == []


def test_the_status_says_what_a_node_does() -> None:
    noding = driving()
    noding.node.store_error, noding.node.children = "disk full", (4711,)
    noding.handle(CLIENT, AskStatus(7), 5.0)
    (status,) = noding.pop_sent(CLIENT)
    assert isinstance(status, NodeStatus)
    assert (status.number, status.version, status.uptime_s, status.done_count) == (7, "1.2.3", 5.0, 0)
    assert status.running == ((attempt(0), "a", 5.0),)
    assert sorted(status.owned) == sorted((WF, RUN))
    assert (status.store_error, status.children, status.waiting) == ("disk full", (4711,), {})
    assert [each.id for each in status.members] == [ME, ANN]


@pytest.mark.parametrize(
    "message", [Draining(1), StoreAnswers(1, ()), NodeStatus(1, member(ANN), "", (), {}, (), (), 0, 0.0)]
)
def test_what_is_meant_for_clients_means_nothing_to_a_node(message: Message) -> None:
    noding = Noding(member(ANN))
    assert noding.node.handle(ANN, message, 0.1) == []


# --- going ---


def test_a_node_that_is_drained_gives_back_what_waits_ends_what_runs_and_is_done_when_all_is_told() -> None:
    noding = Noding(member(ANN))
    run = RunId("other/d:1")
    noding.handle(ANN, Work(tuple(job(attempt(index, run=run)) for index in range(3)), {"digest": b"code"}, 0))
    noding.handle(CLIENT, Drain(7), 0.1)
    assert noding.pop_sent(CLIENT) == [Draining(7)]
    assert noding.node.is_draining
    assert noding.node.drain(0.1) == []
    assert noding.node.status.member.is_draining
    for index in range(2):
        assert not noding.node.is_drained
        if index:
            noding.node.task_returned(attempt(index, run=run))
        else:
            noding.node.task_finished(finished(attempt(index, run=run)), 0.2)
    noding.settle(0.2)
    noding.handle(ANN, ReportsAck(run, 4), 0.3)
    noding.settle(0.3)
    assert noding.node.is_drained


def test_a_node_that_leaves_says_so_to_members_and_store_and_registers_no_more() -> None:
    noding = Noding(member(ANN))
    noding.settle()
    effects = noding.node.leave(5.0)
    assert isinstance(effects[0], Ask)
    assert effects[0].requests == (ForgetNode(ME),)
    noding.do(effects)
    assert any(isinstance(message, Gossip) for message in noding.pop_sent(ANN))
    noding.answer(5.0)
    noding.do(noding.node.flush(99.0))
    assert not any(isinstance(request, RegisterNode) for ask in noding.asks for request in ask.requests)
    noding.settle(99.0)
    assert noding.node.deadline() < math.inf, "it still looks after its runs until the shell stops"
