"""Reports are delivered in order, again and again, until they are acknowledged."""

import math

from meshflow.core.messages import Output, Report, Returned
from meshflow.core.outbox import Outbox
from meshflow.core.records import Value
from meshflow.core.requests import WriteOutput
from tests.core.builders import ANN, BOB, RUN, attempt, finished


def returned(count: int, first: int = 0) -> tuple[Report, ...]:
    return tuple(Returned(attempt(number)) for number in range(first, first + count))


def outbox(count: int, first: int = 1) -> Outbox:
    made = Outbox(RUN, ANN, 1, first, resend_s=1.0)
    for report in returned(count):
        made.add(report)
    return made


def test_an_empty_outbox_has_nothing_to_send_and_nothing_to_wait_for() -> None:
    made = outbox(0, first=7)
    assert (made.is_empty, made.next, made.due(0.0), made.stalled_s(9.0), made.deadline()) == (
        True,
        7,
        [],
        0.0,
        math.inf,
    )


def test_new_reports_are_due_at_once_and_together() -> None:
    made = outbox(2, first=7)
    assert made.deadline() == -math.inf
    assert made.due(0.0) == [(7, returned(2))]
    assert (made.due(0.1), made.next, made.ended) == ([], 9, [each.attempt for each in returned(2)])


def test_only_what_is_new_is_sent_until_the_rest_is_late() -> None:
    made = outbox(1)
    made.due(0.0)
    made.add(returned(1, first=1)[0])
    assert made.due(0.5) == [(2, returned(1, first=1))]
    assert made.deadline() == 1.0
    assert made.due(1.0) == [(1, returned(2))]


def test_reports_that_keep_coming_do_not_keep_the_first_from_being_sent_again() -> None:
    made = outbox(1)
    sent = made.due(0.0)
    for tenth in range(1, 11):
        made.add(returned(1, first=tenth)[0])
        sent = made.due(tenth / 10)
    assert sent == [(1, returned(11))]


def test_it_is_sent_again_ever_less_often_until_something_is_acknowledged() -> None:
    made = outbox(2)
    assert [second for second in range(40) if made.due(float(second))] == [0, 1, 3, 7, 15, 23, 31, 39]
    made.acknowledge(2)
    assert [made.due(39.5), made.due(40.0), made.due(40.5)] == [[], [], [(2, returned(1, first=1))]]


def test_many_reports_go_in_several_messages() -> None:
    messages = outbox(1100).due(0.0)
    assert [(first, len(reports)) for first, reports in messages] == [(1, 512), (513, 512), (1025, 76)]


def large_outbox() -> Outbox:
    """Five reports of 3 MiB each."""
    made = Outbox(RUN, ANN, 1, 1)
    data = bytes(3 * 1024 * 1024)
    for number in range(2):
        made.add(Output(attempt(0), WriteOutput(RUN, "a", 1, "stdout", number, data)))
    for number in range(3):
        made.add(finished(attempt(number), value=Value(data)))
    return made


def test_no_more_is_sent_ahead_of_acknowledgements_than_an_owner_can_keep() -> None:
    made = large_outbox()
    assert [(first, len(reports)) for first, reports in made.due(0.0)] == [(1, 2)]
    assert (made.due(0.1), made.deadline()) == ([], 1.0)
    made.acknowledge(2)
    assert made.deadline() == -math.inf
    assert [(first, len(reports)) for first, reports in made.due(0.2)] == [(3, 1)]
    assert [(first, len(reports)) for first, reports in made.due(1.2)] == [(2, 2)], "the same again, not more"


def test_another_owner_is_sent_as_much_as_the_first() -> None:
    made = large_outbox()
    made.due(0.0)
    made.turn_to(BOB, 2)
    assert [(first, len(reports)) for first, reports in made.due(0.1)] == [(1, 2)]


def test_a_report_that_is_larger_than_all_that_may_be_ahead_is_sent_alone() -> None:
    made = Outbox(RUN, ANN, 1, 1)
    for number in range(2):
        made.add(finished(attempt(number), value=Value(bytes(9 * 1024 * 1024))))
    assert [(first, len(reports)) for first, reports in made.due(0.0)] == [(1, 1)]
    made.acknowledge(2)
    assert [(first, len(reports)) for first, reports in made.due(0.1)] == [(2, 1)]


def test_what_is_acknowledged_is_forgotten_and_its_numbers_are_not_used_again() -> None:
    made = outbox(3)
    made.due(0.0)
    made.acknowledge(3)
    assert (made.ended, made.first, made.next) == ([attempt(2)], 3, 4)
    assert made.due(0.5) == []
    assert made.due(1.5) == [(3, returned(1, first=2))]


def test_an_acknowledgement_of_what_is_gone_or_was_never_there_does_no_harm() -> None:
    made = outbox(2, first=5)
    made.acknowledge(3)
    assert made.first == 5
    made.acknowledge(99)
    assert (made.is_empty, made.first, made.next) == (True, 7, 7)


def test_an_acknowledgement_that_overtakes_the_sending_of_the_rest_sends_only_that() -> None:
    made = outbox(1)
    made.due(0.0)
    made.add(returned(1, first=1)[0])
    made.acknowledge(2)
    assert made.due(0.1) == [(2, returned(1, first=1))]


def test_another_owner_is_sent_everything() -> None:
    made = outbox(2)
    made.due(0.0)
    made.turn_to(BOB, 2)
    assert (made.owner, made.epoch) == (BOB, 2)
    assert made.due(0.1) == [(1, returned(2))]


def test_it_is_stalled_from_the_first_sending_until_something_is_acknowledged() -> None:
    made = outbox(2)
    assert made.stalled_s(5.0) == 0.0
    made.due(0.0)
    made.due(1.0)
    assert made.stalled_s(4.0) == 4.0
    made.acknowledge(2)
    assert made.stalled_s(4.0) == 0.0
    made.due(5.0)
    assert made.stalled_s(5.5) == 0.5


def test_a_new_report_does_not_hide_that_the_others_are_not_acknowledged() -> None:
    made = outbox(1)
    made.due(0.0)
    made.add(returned(1, first=1)[0])
    made.due(0.9)
    assert made.stalled_s(4.0) == 4.0
    assert made.deadline() == 1.0
