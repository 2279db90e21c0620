"""Calls that task processes of the own host make directly: what they are fed, and what comes of it when they end."""

import pytest

from meshflow.core.caller_settings import MARGIN_BYTES
from meshflow.core.calling import Call, Function
from meshflow.core.effects import Effect, Send
from meshflow.core.ended import Ended
from meshflow.core.leases import HALT_S, LEASE_S, LINGER_S, STALE_S
from meshflow.core.messages import Cancel, Holding, Offer, Returned
from meshflow.core.records import State
from tests.core.builders import ANN, BOB
from tests.core.calling import CODE, GPU, ONCE, SQUARE, done, failed
from tests.core.leased import Leased, data_of, made_by_mesh

LARGE = bytes(MARGIN_BYTES + 1)


# --- feeding ---


def test_a_node_of_the_own_host_is_handed_a_lease_and_its_process_is_fed() -> None:
    calling = Leased()
    attempt = calling.lease(b"7")
    (feed,) = calling.fed[attempt.task]
    assert (data_of([feed]), feed.code) == ([[b"7"]], CODE)
    calling.answer(attempt, b"49")
    assert calling.pop_ended() == [Ended(feed.calls, results=(b"49",))]
    assert not calling.caller.is_idle, "the lease has not ended"
    calling.flush(LINGER_S)
    assert calling.hung_up == [attempt.task]
    calling.report(ANN, done(attempt))
    assert calling.caller.is_idle


def test_other_nodes_make_calls_without_a_lease() -> None:
    calling = Leased(ANN, BOB)
    calling.grant(BOB, 1)
    calling.add(b"7")
    assert made_by_mesh(calling, BOB) == [b"7"]


@pytest.mark.parametrize("function", [ONCE, Function("d", "f", timeout_s=1.0)], ids=["once", "timeout"])
def test_calls_that_go_by_themselves_never_go_by_lease(function: Function) -> None:
    calling = Leased()
    attempt = calling.lease(b"first")
    calling.add(b"7", function=function)
    assert len(calling.fed[attempt.task]) == 1
    calling.grant(ANN, 2, 1)
    assert made_by_mesh(calling, ANN) == [b"7"]


def test_functions_take_turns_and_the_larger_priority_goes_first() -> None:
    calling = Leased()
    functions = [Function(name, name, priority=name == "urgent") for name in ("one", "two", "urgent")]
    for function in functions:
        calling.add(b"a", b"b", function=function)
    calling.grant(ANN, 1)
    (job,) = calling.jobs(ANN)
    calling.open(job.attempt)
    order = []
    while calling.fed[job.attempt.task]:
        order.append(calling.fed[job.attempt.task][0].calls[0].function.name)
        calling.answer(job.attempt, b"")
    assert order[:2] == ["urgent", "urgent"]
    assert sorted(order[2:]) == ["one", "one", "two", "two"]
    assert order[2] != order[3]


def test_a_process_that_is_not_waited_for_is_not_let_in() -> None:
    calling = Leased()
    assert not calling.caller.lease_opened(99, 0.0)
    attempt = calling.lease(b"7")
    assert not calling.caller.lease_opened(attempt.task, 0.0)


def test_answers_that_make_no_sense_mean_nothing() -> None:
    calling = Leased()
    attempt = calling.lease(b"7")
    for lease, packet in ((attempt.task, 99), (99, 1)):
        calling.caller.lease_answered(lease, packet, 1.0, (b"",), 0.0)
    assert calling.pop_ended() == []


def test_what_is_behind_a_long_call_is_taken_back_and_made_elsewhere() -> None:
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"long", b"short")
    assert data_of(calling.fed[attempt.task]) == [[b"long"], [b"short"]]
    calling.flush(STALE_S)
    assert data_of(calling.fed[attempt.task]) == [[b"long"]]
    assert calling.caller.deadline() > STALE_S, "and nothing more is due at once"
    calling.grant(BOB, 1, now=STALE_S)
    assert made_by_mesh(calling, BOB) == [b"short"]


def test_what_was_fed_in_one_packet_with_a_long_call_is_made_elsewhere_and_the_rest_where_it_began() -> None:
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"first")
    calling.answer(attempt, b"")
    calls = calling.add(*(b"%d" % number for number in range(40)))
    calling.pop_ended()
    packet = calling.fed[attempt.task][0]
    calling.running[attempt.task] = packet.packet
    assert len(packet.calls) > 3
    calling.flush(STALE_S)
    calling.begun_counts[packet.packet] = 3
    calling.flush(STALE_S + HALT_S)
    calling.grant(BOB, 100, now=STALE_S + HALT_S)
    assert made_by_mesh(calling, BOB) == [call.data for call in calls[3:]]
    calling.answer(attempt, b"0", b"1", seconds=5.0, now=5.0)
    (ended,) = calling.pop_ended()
    assert ended.calls == packet.calls[:3]
    calling.caller.cut_short(ended.calls, len(ended.results))
    calling.flush(5.0)
    assert made_by_mesh(calling, BOB) == [b"2"], "it was shown as begun, and not made after all"


def test_calls_of_a_function_wait_for_no_lease_that_another_has_taken() -> None:
    """Each saw the idle lease and wanted no place."""
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"long")
    calling.answer(attempt, b"")
    others = [Function(str(number), str(number)) for number in range(4)]
    for function in others:
        calling.caller.add([Call(function, function.name.encode())], CODE)
    calling.flush()
    calling.flush(STALE_S)
    calling.grant(BOB, 4, now=STALE_S)
    fed = [data for packet in data_of(calling.fed[attempt.task]) for data in packet if isinstance(data, bytes)]
    assert sorted([*fed, *made_by_mesh(calling, BOB)]) == [b"0", b"1", b"2", b"3"]


# --- the end of a lease ---


def test_a_lease_whose_time_is_over_ends_and_others_go_on() -> None:
    calling = Leased()
    attempt = calling.lease(b"a", b"b", b"c")
    calling.flush(LEASE_S)
    assert calling.hung_up == [attempt.task]
    assert data_of(calling.fed[attempt.task]) == [[b"a"]]
    calling.answer(attempt, b"", now=LEASE_S)
    assert calling.fed[attempt.task] == []
    calling.report(ANN, done(attempt), now=LEASE_S)
    calling.grant(ANN, 2, 1, now=LEASE_S)
    (job,) = calling.jobs(ANN)
    calling.open(job.attempt, LEASE_S)
    assert data_of(calling.fed[job.attempt.task])[0] == [b"b"]


@pytest.mark.parametrize("is_closed_first", [True, False])
def test_the_call_with_which_a_process_dies_fails_and_what_is_behind_it_is_made_again(is_closed_first: bool) -> None:
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"deadly", b"behind")
    (deadly,) = calling.fed[attempt.task][0].calls
    if is_closed_first:
        calling.caller.leasing.broke(attempt.task)
    calling.report(ANN, failed(attempt))
    calling.caller.leasing.broke(attempt.task)
    assert calling.pop_ended() == [Ended((deadly,), reason="killed by SIGKILL")]
    calling.grant(BOB, 1)
    assert made_by_mesh(calling, BOB) == [b"behind"]


def test_of_calls_that_were_begun_together_each_goes_by_itself() -> None:
    calling = Leased()
    calling.meet(ANN)
    attempt = calling.lease(b"first")
    calling.answer(attempt, b"", seconds=1e-6)
    calls = calling.add(*(b"%d" % number for number in range(40)))
    packet = calling.fed[attempt.task][0].calls
    assert len(packet) > 1
    calling.running[attempt.task] = calling.fed[attempt.task][0].packet
    calling.pop_ended()
    calling.report(ANN, failed(attempt))
    assert calling.pop_ended() == []
    assert [call.is_alone for call in calls] == [call in packet for call in calls]
    calling.grant(ANN, 2, 1)
    (job,) = calling.jobs(ANN)
    calling.open(job.attempt)
    assert data_of(calling.fed[job.attempt.task])[0] == [packet[0].data]


def test_a_process_that_ended_well_and_left_something_has_it_made_again() -> None:
    """As one that could not be fed."""
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"7")
    calling.report(ANN, done(attempt))
    assert calling.pop_ended() == []
    calling.grant(BOB, 1)
    assert made_by_mesh(calling, BOB) == [b"7"]


def test_where_processes_find_no_door_calls_go_through_the_mesh_from_then_on() -> None:
    calling = Leased()
    calling.grant(ANN, 1)
    calling.add(b"7")
    (job,) = calling.jobs(ANN)
    calling.report(ANN, failed(job.attempt, "NotThere: the client cannot be reached"))
    calling.caller.leasing.set_near([ANN])
    calling.meet(ANN)
    calling.grant(ANN, 2, 1)
    assert made_by_mesh(calling, ANN) == [b"7"]
    calling.caller.leasing.set_near([])
    calling.caller.leasing.set_near([ANN])
    assert calling.caller.leasing.may_serve(ANN, SQUARE), "another node of that name may find it"


@pytest.mark.parametrize("end", ["returned", "died", "gone", "lost"])
def test_calls_do_not_wait_for_a_lease_that_came_to_nothing(end: str) -> None:
    calling = Leased(ANN, BOB)
    calling.grant(ANN, 1)
    calling.add(b"7")
    (job,) = calling.jobs(ANN)
    match end:
        case "returned":
            calling.report(ANN, Returned(job.attempt))
        case "died":
            calling.report(ANN, failed(job.attempt))
        case "gone":
            calling.meet(BOB)
        case "lost":
            calling.hear(ANN, Holding((), 0, 0), now=10.0)
    calling.grant(BOB, 1, now=10.0)
    assert made_by_mesh(calling, BOB) == [b"7"]


def test_what_a_process_had_begun_counts_as_lost_with_its_node_and_the_rest_does_not() -> None:
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"begun", b"behind")
    begun, behind = (feed.calls[0] for feed in calling.fed[attempt.task])
    calling.meet(BOB)
    assert (begun.loss_count, behind.loss_count) == (1, 0)
    calling.grant(BOB, 2)
    assert made_by_mesh(calling, BOB) == [b"begun", b"behind"]


# --- cancelling and leaving ---


def test_a_call_that_was_fed_and_has_not_begun_is_taken_out() -> None:
    calling = Leased()
    attempt = calling.lease(b"runs", b"waits")
    (waits,) = calling.fed[attempt.task][1].calls
    assert calling.caller.cancel([waits]) == []
    calling.flush()
    assert data_of(calling.fed[attempt.task]) == [[b"runs"]]


def test_a_call_that_runs_is_ended_with_its_process_and_what_is_behind_it_is_made() -> None:
    calling = Leased(ANN, BOB)
    attempt = calling.lease(b"runs", b"behind")
    (runs,) = calling.fed[attempt.task][0].calls
    ends: list[Effect] = [Send(ANN, Cancel((attempt,)))]
    assert calling.caller.cancel([runs]) == ends
    calling.report(ANN, failed(attempt, "cancelled", State.CANCELLED))
    assert calling.pop_ended() == []
    calling.grant(BOB, 1)
    assert made_by_mesh(calling, BOB) == [b"behind"]


def test_a_node_that_has_not_heard_that_a_lease_is_to_end_is_told_again() -> None:
    calling = Leased()
    attempt = calling.lease(b"runs")
    calling.caller.cancel(list(calling.fed[attempt.task][0].calls))
    calling.hear(ANN, Holding((attempt,), 0, 0))
    assert calling.pop(ANN, Cancel) == [Cancel((attempt,))]


def test_when_the_client_leaves_all_that_leases_have_ends() -> None:
    calling = Leased()
    attempt = calling.lease(b"runs", b"behind")
    calls = [feed.calls[0] for feed in calling.fed[attempt.task]]
    assert calling.caller.close() == [Send(ANN, Offer({}, is_caller=True))]
    (ended,) = calling.pop_ended()
    assert list(ended.calls) == calls
    calling.flush()
    assert calling.caller.is_idle


# --- bounds ---


def test_a_lease_counts_as_one_of_those_that_may_be_out() -> None:
    calling = Leased(max_out=1)
    attempt = calling.lease(b"a", b"b")
    calling.grant(ANN, 5, 1)
    calling.add(b"c", function=ONCE)
    assert calling.jobs(ANN) == []
    for _ in range(2):
        calling.answer(attempt, b"")
    calling.flush(LINGER_S)
    calling.report(ANN, done(attempt), now=LINGER_S)
    calling.grant(ANN, 5, 1, now=LINGER_S)
    assert made_by_mesh(calling, ANN) == [b"c"]


# --- calls that are too large for a message ---


def test_a_call_too_large_for_a_message_is_made_by_a_process_of_this_host() -> None:
    calling = Leased(ANN, BOB)
    calling.grant(BOB, 1)
    attempt = calling.lease(LARGE)
    assert data_of(calling.fed[attempt.task]) == [[LARGE]]
    assert calling.jobs(BOB) == []


def test_without_a_node_of_this_host_it_fails_at_once() -> None:
    calling = Leased(near=())
    calling.add(LARGE)
    assert "max_message_bytes" in calling.pop_ended()[0].reason
    calling = Leased()
    calling.add(LARGE, function=ONCE)
    calling.add(LARGE, function=GPU)
    assert ["max_message_bytes" in ended.reason for ended in calling.pop_ended()] == [True, True]


@pytest.mark.parametrize("end", ["waits", "runs", "no door"])
def test_it_fails_when_the_last_node_of_this_host_is_gone(end: str) -> None:
    calling = Leased(ANN, BOB)
    if end == "runs":
        calling.lease(LARGE)
    else:
        calling.add(LARGE)
    if end == "no door":
        calling.grant(ANN, 1)
        (job,) = calling.jobs(ANN)
        calling.report(ANN, failed(job.attempt, "NotThere: no"))
    else:
        calling.meet(BOB)
    (ended,) = calling.pop_ended()
    assert "no node of this host is left" in ended.reason
    calling.flush()
    assert (calling.caller.is_idle, calling.caller.unserved) == (True, {})


def test_queues_that_nobody_serves_are_named_as_the_program_knows_them() -> None:
    calling = Leased(ANN)
    calling.add(LARGE)
    calling.add(b"7", function=GPU)
    calling.caller._waiting.slots = {}
    assert calling.caller.unserved == {"task": 1, "gpu": 1}
