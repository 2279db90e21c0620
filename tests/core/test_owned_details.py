"""All runs of one node: whole runs from end to end, and several nodes that want the same run."""

from meshflow.core.events import StoreProblem
from meshflow.core.messages import Offer
from meshflow.core.records import DagStarted, State
from meshflow.core.requests import Append, UpdateRun
from tests.core.builders import BOB, ME, RUN, WF, dag, member
from tests.core.owning import Blueprints, Owning, driving


def test_what_was_appended_is_published_for_those_who_watch() -> None:
    owning = driving()
    published = owning.runs.published
    assert [batch.run for batch in published] == [WF, RUN]
    assert published[0].entries == (DagStarted("d:1", "d", "autostart/d"),)


def test_a_failed_task_fails_its_dag_run_and_the_workflow_run_with_the_reason() -> None:
    owning = driving(Blueprints(dag("a b", "a>b")))
    (job,) = owning.work()
    owning.report(job.attempt, first=1, state=State.FAILED)
    assert [owning.record(run).state for run in (RUN, WF)] == [State.FAILED, State.FAILED]
    assert owning.record(WF).reason == "task 'a' failed: so"


def test_an_empty_dag_run_ends_by_itself() -> None:
    owning = Owning(Blueprints(dag("")))
    owning.submit()
    owning.settle()
    assert owning.record(WF).state is State.COMPLETED


def test_a_dag_run_whose_definition_is_broken_fails_and_its_workflow_run_with_it() -> None:
    blueprints = Blueprints(dag("a"))
    blueprints.dags.clear()
    owning = Owning(blueprints)
    owning.submit()
    owning.settle()
    owning.settle(now=3.0)
    reason = f"it cannot be driven: run {RUN} has no definition in the store"
    assert [owning.record(run).state for run in (RUN, WF)] == [State.FAILED, State.FAILED]
    assert owning.record(WF).reason == reason
    assert StoreProblem(f"run {RUN} has failed: {reason}") in owning.events


def test_two_nodes_that_claim_at_once_do_not_both_drive() -> None:
    first = Owning(members=(member(ME),))
    second = Owning(first.blueprints, me=BOB, store=first.store, members=(member(BOB),))
    first.submit()
    for step in ("flush", "answer", "answer", "answer", "answer"):
        for node in (first, second):
            getattr(node, step)()
    assert [owning.runs.runs for owning in (first, second)] == [(WF,), ()]


def test_a_record_is_updated_with_the_claim() -> None:
    owning = Owning(members=(member(ME, queues=("workflow",)),))
    owning.submit()
    owning.flush()
    for _ in range(2):
        owning.answer()
    (claim,) = owning.asked()
    assert isinstance(claim, Append)
    owning.answer()
    owning.flush()
    assert UpdateRun(WF, 1, State.RUNNING, owner=ME, started_at=2000.0) in owning.asked()


def test_who_may_take_what_waits_is_told() -> None:
    owning = Owning(Blueprints(dag("a")))
    owning.submit()
    owning.settle()
    assert owning.pop_sent() == [Offer({"task": 1})]
    assert owning.runs.deadline() <= 1.0
