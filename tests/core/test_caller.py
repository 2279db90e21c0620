"""A client's end of calling: what it hands to nodes, and what it makes of what they say."""

from typing import Any

import pytest

from meshflow.core.caller import MARGIN_BYTES, Caller, CallerSettings, Ended
from meshflow.core.calling import Call, Function
from meshflow.core.dispatch import DispatchSettings
from meshflow.core.effects import Effect, Send
from meshflow.core.messages import (
    AskStatus,
    Attempt,
    Cancel,
    Demand,
    Finished,
    Holding,
    Job,
    Message,
    Offer,
    Output,
    Owned,
    Report,
    Reports,
    ReportsAck,
    Returned,
    Work,
)
from meshflow.core.records import State, Value
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, calls_of
from tests.core.builders import ANN, BOB, RUN, member

CLIENT = NodeId("client")
CALLS = calls_of(CLIENT)
SQUARE = Function("square's code", "square")
GPU = Function("square's code", "square", queue="gpu")
ONCE = Function("once's code", "once", at_most_once=True)
CODE = b"code"


class Calling:
    """A client, and what it sends."""

    def __init__(self, *nodes: NodeId, **settings: Any) -> None:
        self.caller = Caller(CLIENT, CallerSettings(**settings), DispatchSettings())
        self.sent: list[Send] = []
        self._numbers: dict[NodeId, int] = {}
        self.meet(*nodes)

    def meet(self, *nodes: NodeId, now: float = 0.0) -> None:
        """These are the nodes that are alive."""
        self.caller.set_members([member(node) for node in nodes])
        self.flush(now)

    def add(self, *data: bytes, function: Function = SQUARE, now: float = 0.0) -> list[Call]:
        """Calls with these arguments."""
        calls = [Call(function, each) for each in data]
        self.caller.add(calls, CODE)
        self.flush(now)
        return calls

    def hear(self, sender: NodeId, message: Message, now: float = 0.0) -> None:
        self._do(self.caller.handle(sender, message, now))
        self.flush(now)

    def grant(self, node: NodeId, granted: int, received: int = 0, now: float = 0.0) -> None:
        self.hear(node, Demand(granted, received), now)

    def report(self, node: NodeId, *reports: Report, now: float = 0.0, first: int = 0, acknowledged: int = 1) -> None:
        """The node tells these; it grants nothing more."""
        first = first or self._numbers.get(node, 0) + 1
        self._numbers[node] = max(self._numbers.get(node, 0), first + len(reports) - 1)
        self.hear(node, Reports(CALLS, first, acknowledged, reports, 0, 0), now)

    def flush(self, now: float = 0.0) -> None:
        self._do(self.caller.flush(now))

    def _do(self, effects: list[Effect]) -> None:
        self.sent += [effect for effect in effects if isinstance(effect, Send)]

    def pop(self, to: NodeId, *kinds: type) -> list[Any]:
        """What was sent to a node since the last call."""
        messages = [each.message for each in self.sent if each.to == to]
        self.sent = [each for each in self.sent if each.to != to]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    def jobs(self, to: NodeId) -> list[Job]:
        """The jobs that were sent to a node."""
        return [job for work in self.pop(to, Work) for job in work.jobs]

    def pop_ended(self) -> list[Ended]:
        ended, self.caller.ended = self.caller.ended, []
        return ended


def done(attempt: Attempt, value: bytes = b"", seconds: float = 1e-6) -> Finished:
    return Finished(attempt, State.COMPLETED, Value(value), None, "", 100.0, 100.0 + seconds)


def failed(attempt: Attempt, reason: str = "killed by SIGKILL", state: State = State.FAILED) -> Finished:
    return Finished(attempt, state, Value(), None, reason, 100.0, 100.1)


def out(data: bytes, function: Function = SQUARE) -> tuple[Calling, list[Call], Attempt]:
    """A call that is out with ANN, which has granted credit for more."""
    calling = Calling(ANN)
    calling.grant(ANN, 100)
    calls = calling.add(data, function=function)
    (job,) = calling.jobs(ANN)
    return calling, calls, job.attempt


def batch() -> tuple[Calling, list[Call], Attempt]:
    """Two calls that are out with ANN in one batch, and two more that wait."""
    calling = Calling(ANN)
    calling.caller.set_members([member(ANN, slots=1)])
    calling.grant(ANN, 1)
    calling.add(b"first")
    (job,) = calling.jobs(ANN)
    calls = calling.add(b"a", b"b", b"c", b"d")
    calling.report(ANN, done(job.attempt))
    calling.grant(ANN, 2, 1)
    (job,) = calling.jobs(ANN)
    assert job.calls == (b"a", b"b")
    calling.pop_ended()
    return calling, calls, job.attempt


# --- handing out ---


def test_without_anything_to_do_nothing_is_due() -> None:
    calling = Calling(ANN)
    assert calling.caller.is_idle
    assert calling.caller.deadline() == float("inf")
    assert calling.sent == []


def test_calls_are_offered_as_those_of_a_client_and_handed_out_for_credit() -> None:
    calling = Calling(ANN)
    (call,) = calling.add(b"7")
    assert calling.pop(ANN) == [Offer({"task": 1}, is_caller=True)]
    assert not calling.caller.is_idle
    assert not call.has_begun
    calling.grant(ANN, 1)
    attempt = Attempt(CALLS, 1, 1, 1)
    job = Job(attempt, "square", "", "task", SQUARE.digest, (), None, None, (b"7",))
    assert calling.pop(ANN) == [Work((job,), {SQUARE.digest: CODE}, 0)]
    assert call.has_begun


def test_code_is_sent_to_a_node_once_unless_it_says_that_it_lacks_it() -> None:
    calling = Calling(ANN)
    calling.grant(ANN, 1)
    calling.add(b"1")
    (work,) = calling.pop(ANN, Work)
    calling.grant(ANN, 2, 1)
    calling.add(b"2")
    (second,) = calling.pop(ANN, Work)
    assert (list(work.codes), list(second.codes)) == ([SQUARE.digest], [])
    calling.report(ANN, Returned(second.jobs[0].attempt, lacks_code=True))
    calling.grant(ANN, 3, 2)
    (third,) = calling.pop(ANN, Work)
    assert (third.jobs[0].calls, list(third.codes)) == ((b"2",), [SQUARE.digest])


def test_a_timeout_travels_with_the_job() -> None:
    calling = Calling(ANN)
    calling.grant(ANN, 1)
    calling.add(b"1", function=Function("d", "f", timeout_s=2.5))
    assert calling.jobs(ANN)[0].timeout_s == 2.5


def test_the_larger_priority_goes_first() -> None:
    calling = Calling(ANN)
    calling.add(b"low", function=Function("d", "f"))
    calling.add(b"high", function=Function("d", "f", priority=5))
    calling.grant(ANN, 1)
    assert calling.jobs(ANN)[0].calls == (b"high",)


def test_places_in_line_are_bounded_and_filled_up_again() -> None:
    calling = Calling(ANN, max_batches=2)
    calling.add(b"a", b"b", b"c")
    assert calling.pop(ANN, Offer)[0].queues == {"task": 2}
    calling.grant(ANN, 3)
    assert [job.calls for job in calling.jobs(ANN)] == [(b"a",), (b"b",), (b"c",)]


def test_places_are_given_up_where_batches_grow() -> None:
    """Four calls, each in a place of its own, of which two went together; so one of the places was too many."""
    calling, _, _ = batch()
    assert len(calling.caller._places) == 2


def test_large_arguments_go_in_messages_of_their_own() -> None:
    calling = Calling(ANN)
    calling.grant(ANN, 10)
    big = bytes(5 * MARGIN_BYTES)
    calling.add(b"s", big, b"t", big, big)
    assert [[len(job.calls[0]) for job in work.jobs] for work in calling.pop(ANN, Work)] == [
        [1, len(big), 1],
        [len(big)],
        [len(big)],
    ]


def test_code_counts_for_the_size_of_a_message() -> None:
    calling = Calling(ANN)
    calling.caller.add([Call(SQUARE, bytes(5 * MARGIN_BYTES))], CODE)
    calling.caller.add([Call(ONCE, b"")], bytes(5 * MARGIN_BYTES))
    calling.grant(ANN, 10)
    assert [list(work.codes) for work in calling.pop(ANN, Work)] == [[SQUARE.digest], [ONCE.digest]]


def test_a_call_that_fits_into_no_message_fails_at_once_and_alone() -> None:
    calling = Calling(ANN, max_message_bytes=2 * MARGIN_BYTES)
    room = MARGIN_BYTES - len(CODE)
    small, large = calling.add(bytes(room), bytes(room + 1))
    (ended,) = calling.pop_ended()
    assert ended.calls == (large,)
    assert str(room + 1) in ended.reason
    assert "max_message_bytes" in ended.reason
    calling.grant(ANN, 2)
    assert [len(job.calls[0]) for job in calling.jobs(ANN)] == [len(small.data)]


def test_if_no_call_fits_nothing_is_left() -> None:
    calling = Calling(ANN, max_message_bytes=2 * MARGIN_BYTES)
    calling.add(bytes(2 * MARGIN_BYTES))
    assert calling.caller.is_idle
    assert len(calling.pop_ended()) == 1


def test_queues_that_no_node_serves_are_told() -> None:
    calling = Calling(ANN)
    calling.add(b"1", b"2", function=GPU)
    calling.add(b"3")
    assert calling.caller.unserved == {"gpu": 2}
    calling.caller.set_members([member(ANN, queues=("gpu", "task")), member(BOB, queues=("gpu",), is_draining=True)])
    assert calling.caller.unserved == {}


def test_a_node_that_drains_is_handed_nothing() -> None:
    calling = Calling(ANN)
    calling.grant(ANN, 1)
    calling.caller.set_members([member(ANN, is_draining=True)])
    calling.add(b"1")
    assert calling.pop(ANN) == []
    assert calling.caller.unserved == {"task": 1}


# --- what comes of them ---


def test_a_result_ends_its_call_once_and_is_acknowledged() -> None:
    calling, (call,), attempt = out(b"7")
    calling.report(ANN, done(attempt, b"49"))
    assert calling.pop_ended() == [Ended((call,), b"49")]
    assert calling.pop(ANN) == [ReportsAck(CALLS, 2)]
    calling.report(ANN, done(attempt, b"49"), first=1)
    assert calling.pop_ended() == []
    assert calling.pop(ANN) == [ReportsAck(CALLS, 2)]
    assert calling.caller.is_idle


def test_a_report_that_follows_a_lost_one_waits_for_it() -> None:
    calling, _, attempt = out(b"7")
    calling.report(ANN, done(attempt), first=2)
    assert (calling.pop_ended(), calling.pop(ANN)) == ([], [])
    calling.report(ANN, Output(attempt, chunk("x")), done(attempt), first=1)
    assert len(calling.pop_ended()) == 1
    assert calling.pop(ANN, ReportsAck) == [ReportsAck(CALLS, 3)]


def test_reports_that_were_acknowledged_to_somebody_else_are_not_waited_for() -> None:
    calling, _, attempt = out(b"7")
    calling.report(ANN, done(attempt), first=50, acknowledged=50)
    assert len(calling.pop_ended()) == 1


def test_reports_about_other_runs_and_other_messages_mean_nothing() -> None:
    calling, _, attempt = out(b"7")
    calling.hear(ANN, Reports(RUN, 1, 1, (done(attempt),), 0, 0))
    calling.hear(ANN, AskStatus(1))
    assert (calling.pop_ended(), calling.pop(ANN)) == ([], [])


def test_only_the_node_that_has_a_call_can_end_it() -> None:
    calling = Calling(ANN, BOB)
    calling.grant(ANN, 1)
    calling.add(b"7")
    (job,) = calling.jobs(ANN)
    calling.report(BOB, done(job.attempt), Returned(job.attempt))
    assert calling.pop_ended() == []
    assert not calling.caller.is_idle


def chunk(text: str) -> WriteOutput:
    return WriteOutput(CALLS, "square", 1, "stdout", 0, text.encode())


def test_what_a_call_prints_is_handed_on() -> None:
    calling, _, attempt = out(b"7")
    calling.report(ANN, Output(attempt, chunk("hello")))
    assert [each.data for each in calling.caller.printed] == [b"hello"]


@pytest.mark.parametrize(("reason", "told"), [("killed by SIGKILL", "killed by SIGKILL"), ("", "it ended cancelled")])
def test_a_call_whose_process_dies_fails(reason: str, told: str) -> None:
    calling, (call,), attempt = out(b"7")
    calling.report(ANN, failed(attempt, reason, State.CANCELLED))
    assert calling.pop_ended() == [Ended((call,), b"", told)]


def test_a_batch_whose_process_dies_is_taken_apart() -> None:
    calling, calls, attempt = batch()
    calling.report(ANN, failed(attempt))
    calling.grant(ANN, 9, 2)
    assert calling.pop_ended() == []
    assert [job.calls for job in calling.jobs(ANN)][:2] == [(b"a",), (b"b",)]
    assert [call.is_alone for call in calls] == [True, True, False, False]


def test_what_is_returned_is_made_again_first_of_all() -> None:
    calling, _, attempt = batch()
    calling.report(ANN, Returned(attempt))
    calling.grant(ANN, 3, 2)
    assert calling.jobs(ANN)[0].calls == (b"a", b"b")


def test_calls_of_a_batch_that_was_cut_short_are_made_again() -> None:
    calling, calls, attempt = batch()
    calling.report(ANN, done(attempt, b"results"))
    (ended,) = calling.pop_ended()
    calling.caller.again(ended.calls[1:])
    calling.caller.again(())
    calling.grant(ANN, 3, 2)
    assert calling.jobs(ANN)[0].calls[0] == calls[1].data


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
    assert calling.pop_ended() == [Ended((call,), b"", "its node is gone, and it may be made at most once")]
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
    assert calling.pop_ended() == [Ended((call,), b"", "its node is gone, which has happened to it 3 times")]


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
    assert ended == Ended((calls[0], calls[2], calls[3]), b"", "its client was closed")
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
    monkeypatch.setattr("meshflow.core.caller._MAX_IDLE_LINES", 10)
    calling = Calling(ANN)
    calling.caller._max_lines = 10
    calling.add(b"waits", function=GPU)
    for number in range(100):
        calling.grant(ANN, number + 1, number)
        calling.add(b"1", function=Function(str(number), "lambda"))
        (job,) = calling.jobs(ANN)
        calling.report(ANN, done(job.attempt))
        assert len(calling.caller._lines) <= 22
    assert GPU in calling.caller._lines


def test_of_nodes_that_are_gone_nothing_is_kept() -> None:
    calling, _, attempt = out(b"7")
    calling.report(ANN, done(attempt))
    calling.meet(BOB)
    assert calling.caller._seen == {}
    assert len(calling.caller._handouts) == 0
