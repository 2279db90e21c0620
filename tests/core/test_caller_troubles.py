"""A client whose nodes go and whose messages get lost, and one that cancels its calls or leaves."""

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.calling import Function
from meshflow.core.effects import Send
from meshflow.core.ended import Ended
from meshflow.core.messages import Cancel, Holding, Offer, Owned, ReportsAck, Returned
from meshflow.core.records import State
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, RUN
from tests.core.calling import CALLS, GPU, ONCE, Calling, batch, done, failed, out

# --- nodes that go, and what gets lost ---


def test_a_call_whose_node_is_gone_is_made_elsewhere() -> None:
    calling, (call,), _ = out(b"7")
    calling.meet(BOB)
    calling.grant(BOB, 1)
    (job,) = calling.jobs(BOB)
    assert (job.calls, call.loss_count) == ((b"7",), 1)
    assert calling.pop_ended() == []


def test_a_call_that_may_be_made_once_only_fails_with_its_node() -> None:
    calling, (call,), _ = out(b"7", function=ONCE)
    calling.meet(BOB)
    assert calling.pop_ended() == [Ended((call,), reason="its node is gone, and it may be made at most once")]
    assert calling.caller.is_idle


def test_a_call_that_may_be_made_once_only_and_was_returned_has_not_begun() -> None:
    calling, _, attempt = out(b"7", function=ONCE)
    calling.report(ANN, Returned(attempt))
    calling.grant(ANN, 101, 1)
    assert calling.jobs(ANN)[0].calls == (b"7",)


def test_a_call_that_outlives_too_many_nodes_fails() -> None:
    calling = Calling(ANN)
    (call,) = calling.add(b"7")
    for round_number in range(3):
        node = NodeId(f"node {round_number}")
        calling.meet(node)
        calling.grant(node, 1)
        assert len(calling.jobs(node)) == 1
    calling.meet(ANN)
    assert calling.pop_ended() == [Ended((call,), reason="its node is gone, which has happened to it 3 times")]


def test_a_node_whose_connection_broke_is_spoken_to_if_there_are_dealings_with_it() -> None:
    calling, _, _ = out(b"7")
    assert calling.caller.broke(ANN) == [Send(ANN, Owned(CALLS, 1))]
    assert calling.caller.broke(NodeId("stranger")) == []


def test_a_node_that_comes_back_is_told_to_end_what_was_given_to_another() -> None:
    calling, _, attempt = out(b"7")
    calling.meet(BOB)
    calling.meet(ANN, BOB)
    calling.pop(ANN)
    calling.hear(ANN, Holding((attempt, Attempt(RUN, 1, 1, 1)), 0, 0))
    assert calling.pop(ANN, ReportsAck, Cancel) == [ReportsAck(CALLS, 1), Cancel((attempt,))]


def test_what_a_node_holds_is_answered_so_that_it_knows_that_the_client_is_there() -> None:
    calling, _, attempt = out(b"7")
    calling.hear(ANN, Holding((attempt,), 0, 0), 1.0)
    assert calling.pop(ANN) == [ReportsAck(CALLS, 1)]


def test_a_batch_that_its_node_does_not_list_is_lost_once_it_cannot_be_on_its_way() -> None:
    calling, (call,), _ = out(b"7")
    calling.hear(ANN, Holding((), 0, 0), 1.9)
    assert call.loss_count == 0
    calling.hear(ANN, Holding((), 0, 0), 2.1)
    assert call.loss_count == 1
    calling.grant(ANN, 101, 1, now=2.2)
    assert calling.jobs(ANN)[0].calls == (b"7",)


def test_a_silent_node_is_asked_and_not_more_often_than_need_be() -> None:
    calling, _, attempt = out(b"7")
    assert calling.caller.deadline() == 3.0
    calling.flush(3.0)
    assert calling.pop(ANN) == [Owned(CALLS, 1)]
    calling.flush(3.1)
    assert calling.pop(ANN) == []
    assert calling.caller.deadline() == 6.0
    calling.hear(ANN, Holding((attempt,), 0, 0, CALLS), 4.0)
    assert calling.caller.deadline() == 7.0


# --- cancelling and leaving ---


def test_a_call_that_waits_is_taken_out() -> None:
    calling = Calling(ANN)
    first, second = calling.add(b"1", b"2")
    assert calling.caller.cancel([first]) == []
    calling.grant(ANN, 5)
    assert [job.calls for job in calling.jobs(ANN)] == [(second.data,)]
    assert calling.pop_ended() == []


def test_if_all_that_wait_are_cancelled_nothing_is_left_in_line() -> None:
    calling = Calling(ANN)
    calling.caller.cancel(calling.add(b"1", b"2"))
    calling.flush()
    assert calling.caller.is_idle


def test_calls_that_were_cancelled_in_line_cost_no_credit() -> None:
    """Their futures may be cancelled by another thread at any moment."""
    calling = Calling(ANN)
    calling.add(b"1")[0].is_cancelled = True
    calling.grant(ANN, 1)
    assert calling.jobs(ANN) == []
    assert calling.caller.is_idle
    calling.add(b"2")
    assert calling.jobs(ANN)[0].calls == (b"2",)


def test_a_call_that_runs_by_itself_is_ended() -> None:
    calling, (call,), attempt = out(b"7")
    assert calling.caller.cancel([call]) == [Send(ANN, Cancel((attempt,)))]
    assert calling.caller.is_idle
    calling.report(ANN, failed(attempt, state=State.CANCELLED))
    assert calling.pop_ended() == []


def test_one_message_ends_all_that_a_node_has() -> None:
    calling = Calling(ANN)
    calling.grant(ANN, 3)
    calls = calling.add(b"1", b"2", b"3")
    attempts = tuple(job.attempt for job in calling.jobs(ANN))
    assert calling.caller.cancel(calls) == [Send(ANN, Cancel(attempts))]


def test_a_call_that_shares_its_batch_goes_on_for_nobody() -> None:
    calling, calls, attempt = batch()
    assert calling.caller.cancel(calls[:1]) == []
    calling.report(ANN, done(attempt, b"results"))
    assert calling.pop_ended() == [Ended(tuple(calls[:2]), b"results")]


@pytest.mark.parametrize("is_death", [True, False])
def test_a_cancelled_call_is_not_made_again(is_death: bool) -> None:
    calling, calls, attempt = batch()
    calling.caller.cancel(calls[:1])
    if is_death:
        calling.meet(BOB)
        calling.grant(BOB, 9)
    else:
        calling.report(ANN, failed(attempt))
        calling.grant(ANN, 9, 2)
    made = [data for node in (ANN, BOB) for job in calling.jobs(node) for data in job.calls]
    assert sorted(made) == [b"b", b"c", b"d"]


def test_to_cancel_a_call_that_has_ended_or_was_cancelled_changes_nothing() -> None:
    calling, calls, attempt = out(b"7")
    calling.report(ANN, done(attempt))
    assert calling.caller.cancel(calls) == []
    calling, calls, attempt = out(b"7")
    assert calling.caller.cancel(calls) != []
    assert calling.caller.cancel(calls) == []


def test_when_the_client_leaves_all_calls_end_and_nodes_are_told_goodbye() -> None:
    calling, calls, _ = batch()
    calling.caller.cancel(calls[1:2])
    assert calling.caller.close() == [Send(ANN, Offer({}, is_caller=True))]
    (ended,) = calling.pop_ended()
    assert ended == Ended((calls[0], calls[2], calls[3]), reason="its client was closed")
    calling.flush()
    assert calling.caller.is_idle
    assert (calling.caller.close(), calling.pop_ended()) == ([], [])


def test_goodbye_is_said_only_to_those_that_know_the_client() -> None:
    calling = Calling(ANN, BOB)
    calling.add(b"1", function=GPU)
    assert calling.caller.close() == []
    calling.add(b"2")
    assert {effect.to for effect in calling.caller.close() if isinstance(effect, Send)} == {ANN, BOB}


# --- what is kept ---


def test_functions_that_are_called_once_each_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshflow.core.waiting_calls._MAX_IDLE_LINES", 10)
    calling = Calling(ANN)
    calling.caller._waiting._max_lines = 10
    calling.add(b"waits", function=GPU)
    for number in range(100):
        calling.grant(ANN, number + 1, number)
        calling.add(b"1", function=Function(str(number), "lambda"))
        (job,) = calling.jobs(ANN)
        calling.report(ANN, done(job.attempt))
        assert len(calling.caller._waiting._lines) <= 22
    assert GPU in calling.caller._waiting._lines


def test_of_nodes_that_are_gone_nothing_is_kept() -> None:
    calling, _, attempt = out(b"7")
    calling.report(ANN, done(attempt))
    calling.meet(BOB)
    assert calling.caller._seen == {}
    assert len(calling.caller._handouts) == 0


def test_what_is_with_living_nodes_stays_there_when_another_dies() -> None:
    calling = Calling(ANN, BOB)
    calling.grant(ANN, 1)
    calling.grant(BOB, 1)
    calls = calling.add(b"1", b"2")
    calling.meet(ANN)
    assert sorted(call.loss_count for call in calls) == [0, 1]


def test_a_call_that_was_cancelled_and_comes_back_as_not_begun_is_forgotten() -> None:
    calling, calls, attempt = out(b"7")
    calling.caller.cancel(calls)
    calling.report(ANN, Returned(attempt))
    assert calling.caller.is_idle
