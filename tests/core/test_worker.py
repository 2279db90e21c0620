"""The pulling end: what is taken, started, given back and delivered, to owners that change or do not answer.

The finer points are in `test_worker_details.py`.
"""

import math

import pytest

from meshflow.core.asks import Locating
from meshflow.core.effects import AnswerTask, Kill, Send, Start, TellStopping
from meshflow.core.keys import call_key, start_key
from meshflow.core.messages import Demand, Holding, Output, Reports, Returned, Signal, SignalAnswer, Work
from meshflow.core.records import RunRecord, State, Value
from meshflow.core.requests import LoadRun, WriteOutput
from meshflow.ids import RunId
from tests.core.builders import ANN, BOB, RUN, attempt, dag_record, finished
from tests.core.working import CODE, Working, asked, begun, busy, job, receivers, reports, sent

OTHER_RUN = RunId("other/d:1")


# --- taking and starting ---


def test_jobs_are_started_with_their_code_as_long_as_there_are_slots() -> None:
    working = Working(slots=2)
    working.worker.work(ANN, Work((job(attempt(0)),), {CODE: b"1"}, 0), 0.0)
    assert working.worker.flush(0.0)[0] == Start(job(attempt(0)), {CODE: b"1"})
    assert begun(working.get(attempt(1), attempt(2))) == [1]
    assert [which for which, _, _ in working.worker.running] == [attempt(0), attempt(1)]


def test_a_slot_that_becomes_free_gets_the_next_job() -> None:
    working = Working(slots=1)
    working.get(attempt(0), attempt(1), attempt(2))
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.worker.flush(0.01)) == [1]
    assert working.worker.running == [(attempt(1), "task 1", 0.01)]
    assert working.worker.done_count == 1


def test_the_code_of_a_job_that_waits_stays_with_it_whatever_else_comes() -> None:
    working = Working(slots=1, max_code_bytes=4)
    working.get(attempt(0), attempt(1))
    working.worker.work(ANN, Work((), {"large": bytes(100)}, 0), 0.0)
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.worker.flush(0.01)) == [1]


def test_a_job_that_comes_twice_runs_once_even_if_the_double_comes_after_its_end() -> None:
    working = Working(slots=1)
    working.get(attempt(0))
    assert working.get(attempt(0)) == []
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.get(attempt(0), now=0.01)) == []
    working.worker.acknowledged(ANN, RUN, 2)
    assert working.worker.is_idle


def test_attempts_that_ended_are_remembered_up_to_a_bound() -> None:
    working = Working(slots=5000)
    attempts = [attempt(number) for number in range(5000)]
    working.get(*attempts)
    for each in attempts:
        working.worker.finished(finished(each), 0.01)
    assert len(working.worker._ended) == 4096


def test_a_job_whose_code_is_not_at_hand_goes_back_and_says_so() -> None:
    working = Working()
    effects = working.get(attempt(0), codes=())
    assert sent(effects) == [reports(Returned(attempt(0), lacks_code=True))]


# --- credit ---


def test_an_owner_that_offers_is_granted_the_free_slots() -> None:
    assert Working(slots=2).offer() == [Demand(2, 0)]


def test_jobs_that_wait_behind_long_tasks_go_back_and_no_more_are_taken() -> None:
    working = Working(slots=1, stale_s=0.05)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    working.worker.acknowledged(ANN, RUN, 2)
    working.get(attempt(1), attempt(2), attempt(3), now=1.0)
    assert working.worker.deadline() == 1.05
    effects = working.worker.flush(1.05)
    assert sent(effects, Reports) == [Reports(RUN, 2, 2, (Returned(attempt(3)), Returned(attempt(2))), 0, 0)]
    assert working.offer(now=1.06) == []


def test_jobs_stay_while_tasks_end_however_long_they_wait() -> None:
    """A node that is slow for others' sake would give back what it is about to run, and get it again."""
    working = Working(slots=1, horizon_s=1.0, stale_s=0.05)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.01)
    working.get(*(attempt(number) for number in range(1, 5)), now=0.02)
    for number, now in ((1, 0.06), (2, 0.10)):
        working.worker.finished(finished(attempt(number)), now)
        assert "Returned" not in str(working.worker.flush(now))
    assert "Returned" in str(working.worker.flush(0.2))


def test_a_node_that_is_well_supplied_with_short_tasks_gathers_what_it_has_to_tell() -> None:
    working = Working(slots=1, horizon_s=0.01, gather_s=0.004)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    assert len(sent(working.worker.flush(0.001), Reports)) == 1
    working.offer(BOB, now=0.001)
    working.get(*(attempt(number) for number in range(1, 10)), now=0.002)
    working.worker.finished(finished(attempt(1)), 0.003)
    working.worker.offered(BOB, 100)
    assert (sent(working.worker.flush(0.003)), working.worker.deadline()) == ([], 0.005)
    assert [type(message) for message in sent(working.worker.flush(0.005))] == [Reports, Demand]
    for number in range(2, 8):
        working.worker.finished(finished(attempt(number)), 0.006)
        effects = working.worker.flush(0.006)
    assert len(sent(effects, Reports)) == 1, "what is left here may not last as long"


# --- what tasks do ---


def test_a_result_and_what_was_printed_are_delivered_in_order_until_they_are_acknowledged() -> None:
    working = Working()
    working.run(0)
    chunk = WriteOutput(RUN, "a", 1, "stdout", 0, b"hello")
    working.worker.output(attempt(0), chunk)
    working.worker.output(attempt(99), chunk)
    working.worker.finished(finished(attempt(0)), 0.01)
    working.worker.finished(finished(attempt(99)), 0.01)
    expected = reports(Output(attempt(0), chunk), finished(attempt(0)))
    assert sent(working.worker.flush(0.01), Reports) == [expected]
    assert sent(working.worker.flush(0.5), Reports) == []
    assert sent(working.worker.flush(1.01), Reports) == [expected]
    working.worker.acknowledged(BOB, RUN, 3)
    working.worker.acknowledged(ANN, OTHER_RUN, 3)
    assert sent(working.worker.flush(3.01), Reports) == [expected]
    working.worker.acknowledged(ANN, RUN, 3)
    assert working.worker.is_idle
    assert working.worker.flush(9.0) == []
    assert working.worker.deadline() == math.inf


def test_what_is_not_acknowledged_yet_is_kept() -> None:
    working = Working()
    working.run(0, 1)
    for each in (attempt(0), attempt(1)):
        working.worker.finished(finished(each), 0.01)
    working.worker.flush(0.01)
    working.worker.acknowledged(ANN, RUN, 2)
    working.worker.flush(0.02)
    assert sent(working.worker.flush(1.02), Reports) == [Reports(RUN, 2, 2, (finished(attempt(1)),), 0, 0)]


def test_a_signal_goes_to_the_owner_until_it_is_answered() -> None:
    working = Working()
    working.run(0)
    data = Value(b"data")
    working.worker.signal(attempt(0), 4, "stop_dag", {"name": "d:1"}, data, 0.0)
    working.worker.signal(attempt(99), 4, "stop_dag", {}, None, 0.0)
    signal = Signal(RUN, call_key(attempt(0), 4), "stop_dag", {"name": "d:1"}, data)
    assert working.worker.deadline() == -math.inf
    times = [now for now in range(20) if signal in sent(working.worker.flush(float(now)), Signal)]
    assert times == [0, 1, 3, 7, 15]
    answer = SignalAnswer(signal.key, {"ok": 1}, "no")
    assert working.worker.signal_answered(answer) == [AnswerTask(attempt(0), 4, {"ok": 1}, "no")]
    assert working.worker.signal_answered(answer) == []
    assert sent(working.worker.flush(99.0), Signal) == []


def test_starts_of_dags_are_named_by_their_number_within_the_task() -> None:
    working = Working()
    working.get(attempt(0, 2))
    for call in (3, 5):
        working.worker.signal(attempt(0, 2), call, "start_dag", {}, None, 0.0)
    keys = [message.key for message in sent(working.worker.flush(0.0)) if isinstance(message, Signal)]
    assert keys == [start_key(attempt(0), 1), start_key(attempt(0), 2)]


def test_what_an_attempt_asked_is_forgotten_when_it_has_ended() -> None:
    working = Working()
    working.run(0, 1)
    for each in (attempt(0), attempt(1)):
        working.worker.signal(each, 1, "join_dags", {}, None, 0.0)
    working.worker.finished(finished(attempt(0)), 0.0)
    (signal,) = sent(working.worker.flush(0.0), Signal)
    assert isinstance(signal, Signal)
    assert signal.key == call_key(attempt(1), 1)


# --- slots that are lent ---


def test_a_task_that_waits_for_dags_lends_its_slot_and_takes_it_back() -> None:
    working = Working(slots=1)
    working.run(0)
    working.get(attempt(1))
    working.worker.signal(attempt(0), 1, "join_dags", {}, None, 0.0)
    assert begun(working.worker.flush(0.01)) == [1]
    working.worker.signal_answered(SignalAnswer(call_key(attempt(0), 1), {}))
    assert begun(working.get(attempt(2), now=0.01)) == []
    working.worker.finished(finished(attempt(1)), 0.02)
    assert begun(working.worker.flush(0.02)) == []
    working.worker.finished(finished(attempt(0)), 0.03)
    assert begun(working.worker.flush(0.03)) == [2]


def test_a_task_with_several_waits_lends_one_slot_until_the_last_is_over() -> None:
    working = Working(slots=1)
    working.run(0)
    for call in (1, 2):
        working.worker.signal(attempt(0), call, "join_dags", {}, None, 0.0)
    assert begun(working.get(attempt(1), attempt(2))) == [1]
    working.worker.signal_answered(SignalAnswer(call_key(attempt(0), 1), {}))
    working.worker.finished(finished(attempt(1)), 0.01)
    assert begun(working.worker.flush(0.01)) == [2]
    working.worker.signal_answered(SignalAnswer(call_key(attempt(0), 2), {}))
    working.worker.finished(finished(attempt(2)), 0.02)
    assert begun(working.get(attempt(3), now=0.02)) == []


# --- stopping ---


def test_cancelled_attempts_are_killed_if_they_run_and_go_back_if_not() -> None:
    working = Working(slots=1, kill_grace_s=7.0)
    working.get(attempt(0), attempt(1))
    kill = Kill(attempt(0), "cancelled", 7.0)
    assert working.worker.cancel([attempt(0), attempt(1), attempt(99)]) == [kill]
    assert working.worker.cancel([attempt(0)]) == [kill]
    assert sent(working.worker.flush(0.0), Reports) == [reports(Returned(attempt(1)))]


def test_what_a_cancelled_attempt_reports_is_no_failure_unless_it_came_to_its_end() -> None:
    working = Working(slots=2)
    working.run(0, 1)
    working.worker.cancel([attempt(0), attempt(1)])
    working.worker.finished(finished(attempt(0), State.FAILED), 0.0)
    working.worker.finished(finished(attempt(1)), 0.0)
    told = reports(finished(attempt(0), State.CANCELLED), finished(attempt(1)))
    assert sent(working.worker.flush(0.0), Reports) == [told]


def test_only_the_running_tasks_of_a_run_that_stops_are_told() -> None:
    working = Working(slots=2)
    working.get(attempt(0), attempt(0, run=OTHER_RUN), attempt(1))
    assert working.worker.stopping(RUN) == [TellStopping(attempt(0))]


def test_a_node_that_drains_gives_back_what_has_not_started_and_takes_nothing() -> None:
    working = Working(slots=1)
    working.get(attempt(0), attempt(1))
    working.worker.give_back_all()
    assert sent(working.worker.flush(0.0), Reports) == [reports(Returned(attempt(1)))]
    assert sent(working.get(attempt(2)), Reports) == [Reports(RUN, 2, 1, (Returned(attempt(2)),), 0, 0)]
    assert working.offer() == []
    assert not working.worker.is_idle
    working.worker.finished(finished(attempt(0)), 0.0)
    working.worker.flush(0.0)
    working.worker.acknowledged(ANN, RUN, 4)
    assert working.worker.is_idle


# --- telling what is held ---


def test_owners_are_told_every_second_what_is_held_as_long_as_something_is() -> None:
    working = Working(slots=1, holding_s=1.0)
    working.get(attempt(0), attempt(1))
    working.get(attempt(0, run=OTHER_RUN), of=BOB)
    working.worker.output(attempt(0), WriteOutput(RUN, "a", 1, "stdout", 0, b"hello"))
    working.worker.finished(finished(attempt(0)), 0.01)
    working.worker.flush(0.01)
    assert sent(working.worker.flush(0.9), Holding) == []
    told = [Send(ANN, Holding((attempt(1), attempt(0)), 0, 0)), Send(BOB, Holding((attempt(0, run=OTHER_RUN),), 0, 0))]
    assert working.worker.flush(1.0)[-2:] == told


@pytest.mark.parametrize("settings", [{"holding_s": 1.0}, {"holding_s": 5.0}])
def test_nothing_is_told_when_nothing_is_held(settings: dict[str, float]) -> None:
    working = Working(**settings)
    working.worker.flush(0.0)
    assert working.worker.deadline() == math.inf


# --- owners that change, die, or do not answer ---


def test_a_new_owner_is_told_what_is_held_and_gets_all_that_was_not_acknowledged() -> None:
    working = busy()
    assert working.worker.owned(BOB, RUN, 2) == [Send(BOB, Holding((attempt(0), attempt(1)), 0, 0, RUN))]
    effects = working.worker.flush(0.02)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([BOB], [BOB])
    working.worker.acknowledged(ANN, RUN, 2)
    working.worker.finished(finished(attempt(0)), 0.03)
    assert receivers(working.worker.flush(0.03), Reports) == [BOB]


def test_an_owner_of_an_earlier_epoch_is_told_what_is_held_for_it_and_believed_no_more() -> None:
    working = busy()
    working.worker.owned(BOB, RUN, 2)
    assert working.worker.owned(ANN, RUN, 1) == [Send(ANN, Holding((), 0, 0, RUN))]
    assert receivers(working.worker.flush(5.0), Reports) == [BOB]


def test_so_many_epochs_are_remembered() -> None:
    working = Working()
    for number in range(5000):
        working.worker.owned(ANN, RunId(f"{number}/d:1"), 1)
    assert len(working.worker._epochs) == 4096


def test_when_an_owner_is_gone_the_store_is_asked_unless_the_next_one_tells() -> None:
    working = busy()
    working.worker.owner_gone(ANN, 0.02)
    assert asked(working.worker.flush(3.01)) == []
    assert asked(working.worker.flush(3.02)) == [(LoadRun(RUN),)]
    working = busy()
    working.worker.owner_gone(ANN, 0.02)
    working.worker.owned(BOB, RUN, 2)
    assert asked(working.worker.flush(3.0)) == []


def test_an_owner_that_does_not_acknowledge_makes_the_store_be_asked() -> None:
    working = busy()
    assert asked(working.worker.flush(3.0)) == []
    assert asked(working.worker.flush(3.1)) == [(LoadRun(RUN),)]
    assert asked(working.worker.flush(9.0)) == [], "it is being asked"
    assert isinstance(working.asks.take(1), Locating)
    working.worker.located(RUN, dag_record(state=State.RUNNING))
    assert asked(working.worker.flush(12.0)) == [(LoadRun(RUN),)]


def test_a_node_that_says_the_run_is_not_its_own_makes_the_store_be_asked() -> None:
    working = busy()
    working.worker.doubt(OTHER_RUN, 0.02)
    working.worker.doubt(RUN, 0.02)
    working.worker.doubt(RUN, 0.02)
    assert asked(working.worker.flush(0.02)) == [(LoadRun(RUN),)]


def test_nobody_is_looked_for_once_nothing_is_left_to_tell() -> None:
    working = Working()
    working.run(0)
    working.worker.doubt(RUN, 0.02)
    working.worker.finished(finished(attempt(0)), 0.01)
    working.worker._outboxes.clear()
    assert asked(working.worker.flush(0.02)) == []
    assert working.worker._locate_at == {}


@pytest.mark.parametrize("fields", [{"owner": BOB, "epoch": 0}, {"owner": None, "epoch": 9}])
def test_a_record_that_knows_less_changes_nothing(fields: dict[str, object]) -> None:
    working = busy()
    working.worker.located(RUN, dag_record(state=State.RUNNING, **fields))
    assert receivers(working.worker.flush(0.02), Reports) == []


@pytest.mark.parametrize("record", [None, dag_record(state=State.FAILED)])
def test_a_run_that_has_ended_or_is_gone_wants_nothing_more(record: RunRecord | None) -> None:
    working = busy()
    working.get(attempt(0, run=OTHER_RUN), attempt(2), now=0.02)
    working.worker.signal(attempt(0, run=OTHER_RUN), 1, "stop_dag", {}, None, 0.02)
    working.worker.flush(0.02)
    assert working.worker.located(RUN, record) == [Kill(attempt(0), "cancelled", 3.0)]
    effects = working.worker.flush(2.0)
    keys = [message.key for message in sent(effects) if isinstance(message, Signal)]
    assert keys == [call_key(attempt(0, run=OTHER_RUN), 1)]


def test_other_runs_keep_their_owner() -> None:
    working = busy()
    working.get(attempt(0, run=OTHER_RUN), now=0.02)
    working.worker.signal(attempt(0, run=OTHER_RUN), 1, "stop_dag", {}, None, 0.02)
    working.worker.flush(0.02)
    working.worker.owned(BOB, OTHER_RUN, 2)
    effects = working.worker.flush(0.03)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([], [BOB])


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_owner_that_the_store_names_gets_everything_again(epoch: int) -> None:
    working = busy()
    record = dag_record(state=State.RUNNING, owner=BOB, epoch=epoch)
    assert working.worker.located(RUN, record) == []
    effects = working.worker.flush(0.02)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([BOB], [BOB])


def test_what_is_due_next_is_known() -> None:
    working = busy()
    assert working.worker.deadline() == 1.0
    working.worker.owner_gone(ANN, -2.5)
    assert working.worker.deadline() == 0.5
    assert Working().worker.deadline() == math.inf
