"""The pulling end: the finer points of credit, of lent slots, of what is delivered, and of owners that change."""

from meshflow.core.messages import Demand, Reports, Returned
from meshflow.core.requests import LoadRun
from meshflow.ids import RunId
from tests.core.builders import ANN, BOB, RUN, attempt, finished
from tests.core.working import Working, asked, begun, busy, reports, sent

OTHER_RUN = RunId("other/d:1")


# --- credit and slots ---


def test_what_is_held_takes_up_credit() -> None:
    working = Working(slots=2)
    working.run(0)
    assert working.offer() == [Demand(1, 0)]


def test_short_tasks_have_jobs_held_beyond_the_slots() -> None:
    working = Working(slots=2, horizon_s=0.01)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.001)
    working.worker.flush(0.001)
    assert working.offer(now=0.001) == [Demand(22, 0)]


def test_credit_is_told_with_reports_if_there_are_any() -> None:
    working = Working(slots=1)
    working.offer()
    working.get(attempt(0), backlog=1)
    working.worker.finished(finished(attempt(0)), 0.5)
    effects = working.worker.flush(0.5)
    assert sent(effects) == [reports(finished(attempt(0)), granted=2, received=1)]


def test_a_node_without_slots_gives_jobs_back() -> None:
    working = Working(slots=0)
    working.get(attempt(0))
    assert sent(working.worker.flush(0.05), Reports) == [reports(Returned(attempt(0)))]
    assert working.offer(now=0.06) == []


def test_a_lent_slot_is_granted_to_owners_too() -> None:
    working = Working(slots=1)
    working.run(0)
    assert working.offer() == []
    working.worker.signal(attempt(0), 1, "join_dags", {}, None, 0.0)
    assert working.offer() == [Demand(1, 0)]


def test_a_task_that_ends_while_it_waits_gives_its_own_slot_back_only() -> None:
    working = Working(slots=1)
    working.run(0)
    working.worker.signal(attempt(0), 1, "join_dags", {}, None, 0.0)
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.get(attempt(1), attempt(2), now=0.01)) == [1]


# --- delivering ---


def test_a_later_report_of_a_run_has_a_number_of_its_own() -> None:
    working = Working(slots=1)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.0)
    working.worker.flush(0.0)
    working.worker.acknowledged(ANN, RUN, 2)
    working.run(1)
    working.worker.finished(finished(attempt(1)), 0.0)
    assert sent(working.worker.flush(0.0), Reports) == [Reports(RUN, 2, 2, (finished(attempt(1)),), 0, 0)]


# --- owners ---


def test_a_job_of_an_owner_that_has_lost_the_run_is_not_taken() -> None:
    working = Working()
    working.worker.owned(BOB, RUN, 2)
    assert begun(working.get(attempt(0, epoch=1))) == []
    assert begun(working.get(attempt(0, epoch=2), of=BOB)) == [0]


def test_the_credit_of_an_owner_that_is_gone_goes_to_others() -> None:
    working = Working(slots=2)
    working.offer(ANN)
    working.worker.owner_gone(ANN, 0.0)
    assert working.offer(BOB) == [Demand(2, 0)]


def test_other_owners_runs_are_none_of_its_business() -> None:
    working = busy()
    working.worker.owner_gone(BOB, 0.02)
    assert asked(working.worker.flush(2.9)) == []


def test_an_acknowledgement_does_not_end_a_doubt_for_it_may_be_that_of_a_stale_owner() -> None:
    working = busy()
    working.worker.doubt(RUN, 0.02)
    working.worker.acknowledged(ANN, RUN, 2)
    assert asked(working.worker.flush(0.03)) == [(LoadRun(RUN),)]


def test_jobs_far_beyond_what_is_worth_holding_go_back_at_once() -> None:
    """Tasks take longer than the whole horizon, so nothing is worth holding; the second job came by crossed credit."""
    working = Working(slots=1)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 1.0)
    working.worker.flush(1.0)
    effects = working.get(attempt(1), attempt(2), now=1.0)
    assert begun(effects) == [1]
    assert reports(Returned(attempt(2)), first=2) in sent(effects, Reports)
