"""The pulling end when the owners of runs change, die, or do not answer."""

import math

import pytest

from meshflow.core.asks import Locating
from meshflow.core.effects import Ask, Effect, Kill, Send
from meshflow.core.keys import call_key
from meshflow.core.messages import Demand, Holding, Reports, Signal
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import LoadRun
from meshflow.ids import NodeId, RunId
from tests.core.builders import ANN, BOB, RUN, attempt, dag_record, finished
from tests.core.working import Working, begun, sent

OTHER_RUN = RunId("other/d:1")


def receivers(effects: list[Effect], kind: type) -> list[NodeId]:
    return [effect.to for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def asked(effects: list[Effect]) -> list[tuple[object, ...]]:
    return [effect.requests for effect in effects if isinstance(effect, Ask)]


def busy() -> Working:
    """It runs one task, has finished another, and waits for an answer, all of a run of ANN."""
    working = Working(slots=2)
    working.run(0, 1)
    working.worker.finished(finished(attempt(1)), 0.01)
    working.worker.signal(attempt(0), 1, "stop_dag", {}, None, 0.01)
    effects = working.worker.flush(0.01)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([ANN], [ANN])
    return working


# --- another owner ---


def test_a_new_owner_is_told_what_is_held_and_gets_all_that_was_not_acknowledged() -> None:
    working = busy()
    assert working.worker.owned(BOB, RUN, 2) == [Send(BOB, Holding((attempt(0), attempt(1)), 0, 0))]
    effects = working.worker.flush(0.02)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([BOB], [BOB])
    working.worker.acknowledged(ANN, RUN, 2)
    working.worker.finished(finished(attempt(0)), 0.03)
    assert receivers(working.worker.flush(0.03), Reports) == [BOB]


def test_an_owner_of_an_earlier_epoch_is_told_what_is_held_for_it_and_believed_no_more() -> None:
    working = busy()
    working.worker.owned(BOB, RUN, 2)
    assert working.worker.owned(ANN, RUN, 1) == [Send(ANN, Holding((), 0, 0))]
    assert receivers(working.worker.flush(5.0), Reports) == [BOB]


def test_other_runs_keep_their_owner() -> None:
    working = busy()
    working.get(attempt(0, run=OTHER_RUN), now=0.02)
    working.worker.signal(attempt(0, run=OTHER_RUN), 1, "stop_dag", {}, None, 0.02)
    working.worker.flush(0.02)
    working.worker.owned(BOB, OTHER_RUN, 2)
    effects = working.worker.flush(0.03)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([], [BOB])


def test_a_job_of_an_owner_that_has_lost_the_run_is_not_taken() -> None:
    working = Working()
    working.worker.owned(BOB, RUN, 2)
    assert begun(working.get(attempt(0, epoch=1))) == []
    assert begun(working.get(attempt(0, epoch=2), of=BOB)) == [0]


def test_so_many_epochs_are_remembered() -> None:
    working = Working()
    for number in range(5000):
        working.worker.owned(ANN, RunId(f"{number}/d:1"), 1)
    assert len(working.worker._epochs) == 4096


# --- an owner that is gone, silent, or unsure ---


def test_when_an_owner_is_gone_the_store_is_asked_unless_the_next_one_tells() -> None:
    working = busy()
    working.worker.owner_gone(ANN, 0.02)
    assert asked(working.worker.flush(3.01)) == []
    assert asked(working.worker.flush(3.02)) == [(LoadRun(RUN),)]
    working = busy()
    working.worker.owner_gone(ANN, 0.02)
    working.worker.owned(BOB, RUN, 2)
    assert asked(working.worker.flush(3.0)) == []


def test_the_credit_of_an_owner_that_is_gone_goes_to_others() -> None:
    working = Working(slots=2)
    working.offer(ANN)
    working.worker.owner_gone(ANN, 0.0)
    assert working.offer(BOB) == [Demand(2, 0)]


def test_other_owners_runs_are_none_of_its_business() -> None:
    working = busy()
    working.worker.owner_gone(BOB, 0.02)
    assert asked(working.worker.flush(2.9)) == []


def test_an_owner_that_does_not_acknowledge_makes_the_store_be_asked() -> None:
    working = busy()
    assert asked(working.worker.flush(3.0)) == []
    assert asked(working.worker.flush(3.1)) == [(LoadRun(RUN),)]
    assert asked(working.worker.flush(9.0)) == [], "it is being asked"
    assert isinstance(working.asks.take(1), Locating)
    working.worker.located(RUN, dag_record(state=State.RUNNING))
    assert asked(working.worker.flush(12.0)) == [(LoadRun(RUN),)]


def test_an_acknowledgement_ends_the_doubt() -> None:
    working = busy()
    working.worker.doubt(RUN, 0.02)
    working.worker.acknowledged(ANN, RUN, 2)
    assert asked(working.worker.flush(0.03)) == []


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


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_owner_that_the_store_names_gets_everything_again(epoch: int) -> None:
    working = busy()
    record = dag_record(state=State.RUNNING, owner=BOB, epoch=epoch)
    assert working.worker.located(RUN, record) == []
    effects = working.worker.flush(0.02)
    assert (receivers(effects, Reports), receivers(effects, Signal)) == ([BOB], [BOB])


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


def test_what_is_due_next_is_known() -> None:
    working = busy()
    assert working.worker.deadline() == 1.0
    working.worker.owner_gone(ANN, -2.5)
    assert working.worker.deadline() == 0.5
    assert Working().worker.deadline() == math.inf
