"""What stale owners and late messages must not bring about: cases that the simulator has found."""

from dataclasses import replace

from meshflow.core.effects import Ask, SendTo
from meshflow.core.messages import Holding, Reports, RunOpen, Work
from meshflow.core.records import State, Stop, TaskEnded, TasksQueued
from meshflow.core.requests import LoadRun, RegisterNode
from tests.core.builders import ANN, BOB, RUN, attempt, dag, ended, finished, member
from tests.core.driven import DrivenDag, takeover
from tests.core.noding import Noding
from tests.core.owning import WALL_OFFSET_S
from tests.core.working import CODE, Working, begun, job, reports, sent


def test_an_attempt_that_another_owner_had_ended_is_lost_and_has_not_failed() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.report(finished(attempt(0), State.CANCELLED, reason="cancelled"))
    end, queued = driven.write().entries
    assert isinstance(end, TaskEnded)
    assert (end.state, end.retry) == (State.LOST, True)
    assert queued == TasksQueued((0,))


def test_an_attempt_that_ended_because_its_run_is_cancelled_is_cancelled() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.owner.ask_stop(Stop.CANCEL, "at once")
    driven.report(finished(attempt(0), State.CANCELLED, reason="cancelled"))
    assert driven.fold.states == [State.CANCELLED]


def test_an_attempt_that_is_told_to_end_is_not_adopted_afterwards() -> None:
    """When it was listed, its parent's end was on its way; when it is listed again, its own is."""
    driven = takeover(names="a b", edges="a>b")
    assert driven.owner.held(ANN, [attempt(1)], 0.1) == []
    driven.fold.apply(ended(0))
    driven.owner.held(ANN, [attempt(1)], 0.2)
    assert not driven.owner.handouts.is_current(attempt(1), ANN)


def test_a_job_that_ended_here_is_not_run_again_when_its_double_comes_late() -> None:
    working = Working(slots=1)
    working.run(0)
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.get(attempt(0), now=0.02)) == []


def test_a_job_that_was_given_back_is_not_run_when_its_double_comes_late() -> None:
    working = Working(slots=1)
    working.get(attempt(0), attempt(1))
    working.worker.cancel([attempt(1)])
    working.worker.finished(finished(attempt(0)), 0.01)
    assert begun(working.get(attempt(1), now=0.02)) == []


def test_an_attempt_that_was_ended_on_order_is_reported_as_cancelled_unless_it_was_quicker() -> None:
    working = Working()
    working.run(0, 1)
    working.worker.cancel([attempt(0), attempt(1)])
    killed = finished(attempt(0), State.FAILED, reason="cancelled")
    working.worker.finished(killed, 0.01)
    working.worker.finished(finished(attempt(1)), 0.01)
    assert sent(working.worker.flush(0.01), Reports) == [
        reports(replace(killed, state=State.CANCELLED), finished(attempt(1)))
    ]


def test_the_owner_of_a_job_that_came_after_the_news_of_its_death_is_looked_for() -> None:
    noding = Noding()
    noding.settle()
    noding.handle(BOB, Work((job(attempt(0)),), {CODE: b"code"}, 0), 1.0)
    assert [start.job.attempt for start in noding.starts] == [attempt(0)]
    noding.do(noding.node.flush(9.0))
    assert LoadRun(RUN) in [request for ask in noding.asks for request in ask.requests]


def test_who_lists_attempts_to_a_node_that_does_not_drive_their_run_is_told_to_look() -> None:
    noding = Noding(member(ANN))
    noding.settle()
    noding.pop_sent(ANN)
    noding.handle(ANN, Holding((attempt(0),), 0, 0), 1.0)
    assert RunOpen(RUN) in noding.pop_sent(ANN)


def test_a_node_that_lost_all_others_finds_them_in_the_list_of_the_store() -> None:
    noding = Noding()
    noding.settle()
    noding.store.perform([RegisterNode(ANN, "sim://ann", WALL_OFFSET_S + 9.0)])
    noding.others.clear()
    noding.settle(20.0)
    assert [effect.address for effect in noding.others if isinstance(effect, SendTo)] == ["sim://ann"]


def test_hints_at_one_run_do_not_pile_up_while_the_store_is_away() -> None:
    """They are one question, and one more for all that came after it was asked: its answer may be older than they."""
    noding = Noding()
    hints = [noding.node.handle(ANN, RunOpen(RUN), 5.0) for _ in range(100)]
    (first,) = [effect for effects in hints for effect in effects if isinstance(effect, Ask)]
    again = [effect for effect in noding.node.answered(first.token, [None], 5.1) if isinstance(effect, Ask)]
    assert [each.requests for each in again] == [(LoadRun(RUN),)]
    assert not [effect for effect in noding.node.answered(again[0].token, [None], 5.2) if isinstance(effect, Ask)]
