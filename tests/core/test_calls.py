"""What tasks ask, until it is answered."""

import math

from meshflow.core.calls import Calls
from meshflow.core.effects import AnswerTask
from meshflow.core.keys import call_key, start_key
from meshflow.core.messages import Signal, SignalAnswer
from meshflow.core.records import Value
from meshflow.ids import RunId
from tests.core.builders import RUN, attempt

OTHER = RunId("other/d:1")


def calls(*actions: str) -> Calls:
    """The first attempt at task 0 makes these calls, numbered from 1."""
    made = Calls()
    for number, action in enumerate(actions, 1):
        made.add(attempt(0), number, action, {}, None)
    return made


def test_a_call_is_sent_as_a_signal_to_the_run_of_the_task() -> None:
    made = Calls()
    made.add(attempt(0), 4, "stop_dag", {"name": "d:1"}, Value(b"data"))
    (call,) = made.due(0.0)
    assert call.signal == Signal(RUN, call_key(attempt(0), 4), "stop_dag", {"name": "d:1"}, Value(b"data"))
    assert (call.attempt, made.is_empty) == (attempt(0), False)


def test_a_call_that_is_not_answered_is_sent_again_ever_less_often() -> None:
    made = calls("stop_dag")
    assert made.deadline() == -math.inf
    assert [second for second in range(30) if made.due(float(second))] == [0, 1, 3, 7, 15, 23]
    assert made.deadline() == 31.0


def test_an_answer_goes_to_the_task_once() -> None:
    made = calls("stop_dag", "flush")
    answer = SignalAnswer(call_key(attempt(0), 1), {"ok": 1}, "no")
    assert made.answered(answer) == [AnswerTask(attempt(0), 1, {"ok": 1}, "no")]
    assert made.answered(answer) == []
    assert [call.signal.action for call in made.due(0.0)] == ["flush"]


def test_nothing_open_is_nothing_to_wait_for() -> None:
    assert (Calls().is_empty, Calls().due(0.0), Calls().deadline()) == (True, [], math.inf)


def test_starts_of_dags_are_named_by_their_number_whatever_the_attempt() -> None:
    made = calls("start_dag", "flush", "start_dag")
    made.add(attempt(1, 2), 1, "start_dag", {}, None)
    starts = [call.signal.key for call in made.due(0.0) if call.signal.action == "start_dag"]
    assert starts == [start_key(attempt(0), 1), start_key(attempt(0), 2), start_key(attempt(1), 1)]


def test_a_task_lends_one_slot_until_its_last_wait_is_over() -> None:
    made = calls("join_dags", "stop_dag", "join_dags")
    lent = [made.lent_count]
    for number in (1, 3):
        made.answered(SignalAnswer(call_key(attempt(0), number), {}))
        lent.append(made.lent_count)
    assert lent == [1, 1, 0]


def test_nothing_is_kept_of_an_attempt_that_has_ended() -> None:
    made = calls("join_dags", "start_dag")
    made.add(attempt(1), 1, "stop_dag", {}, None)
    made.ended(attempt(0))
    assert (made.lent_count, made._starts) == (0, {})
    assert [call.attempt for call in made.due(0.0)] == [attempt(1)]


def test_only_the_calls_of_a_run_that_has_ended_are_forgotten() -> None:
    made = calls("stop_dag")
    made.add(attempt(0, run=OTHER), 1, "stop_dag", {}, None)
    made.run_ended(RUN)
    assert [call.attempt.run for call in made.due(0.0)] == [OTHER]


def test_only_the_calls_of_a_run_that_has_another_owner_are_sent_at_once() -> None:
    made = calls("stop_dag")
    made.add(attempt(0, run=OTHER), 1, "stop_dag", {}, None)
    made.due(0.0)
    made.send_again(RUN)
    assert [call.attempt.run for call in made.due(0.1)] == [RUN]
