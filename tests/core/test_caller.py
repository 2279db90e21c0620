"""A client's end of calling: what it hands to nodes, and what it makes of what they say."""

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.caller_settings import MARGIN_BYTES
from meshflow.core.calling import Call, Function
from meshflow.core.client_messages import AskStatus
from meshflow.core.ended import Ended
from meshflow.core.messages import Job, Offer, Output, Reports, ReportsAck, Returned, Work
from meshflow.core.records import State
from meshflow.core.requests import WriteOutput
from tests.core.builders import ANN, BOB, RUN, member
from tests.core.calling import CALLS, CODE, GPU, ONCE, SQUARE, Calling, batch, done, failed, out

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
    assert len(calling.caller._waiting._places) == 2


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
    assert calling.pop_ended() == [Ended((call,), reason=told)]


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
    calling.caller.cut_short(ended.calls, 1)
    calling.grant(ANN, 3, 2)
    assert calling.jobs(ANN)[0].calls == (calls[1].data,)
