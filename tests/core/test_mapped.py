"""Mapped tasks: what the entry with the rows adds to a dag run, and when its owner hands out what was added."""

from typing import Any

import pytest

from meshflow.core.dagrun import DagRun, Step
from meshflow.core.effects import Send
from meshflow.core.graph import DagSpec, check
from meshflow.core.messages import Finished, Input, Job, Work
from meshflow.core.records import Entry, State, Stop, StopAsked, TaskEnded, TasksQueued, Value
from meshflow.errors import InvalidGraph
from tests.core.builders import ANN, attempt, dag, ended, finished, started, task
from tests.core.driven import DrivenDag, asked
from tests.core.test_dagrun import fold

ROWS = (Value(b"row 0"), Value(b"row 1"))


def mapped(edges: str = "list>fit fit>sum", **fields: Any) -> DagSpec:
    """A task `fit` that is mapped over what `list` gives, `model` beside it, and `sum` behind."""
    fields.setdefault("splits", ("list",))
    return dag("list model fit sum", edges, task("fit", **fields))


LIST, MODEL, FIT, SUM, FIRST, SECOND = range(6)


def split(rows: tuple[Value, ...] = ROWS, **fields: Any) -> TaskEnded:
    return ended(FIT, value=Value(b"[]"), rows=rows, **fields)


# --- the fold ---


def test_the_entry_with_the_rows_adds_an_instance_for_each_behind_all_tasks() -> None:
    run = fold(mapped(queue="gpu", retries=3), ended(LIST), split())
    assert [each.name for each in run.tasks[FIRST:]] == ["fit[0]", "fit[1]"]
    assert {(each.queue, each.payload, each.retries, each.splits) for each in run.tasks[FIRST:]} == {
        ("gpu", "code of fit", 3, None)
    }
    assert run.total_count == 6
    assert run.ready() == (MODEL, FIRST, SECOND)
    assert (run.mapped_name(FIRST), run.mapped_name(FIT), list(run.instances(FIT))) == ("fit", "", [FIRST, SECOND])


def test_to_split_may_be_done_twice_whatever_the_instances_may() -> None:
    run = fold(mapped(at_most_once=True, retries=2), ended(LIST), split())
    assert [(each.at_most_once, each.retries) for each in (run.tasks[FIT], run.tasks[FIRST])] == [(False, 0), (True, 2)]


def test_what_follows_waits_for_all_instances_and_gets_their_results_in_order() -> None:
    run = fold(mapped(), ended(LIST), split())
    assert run.apply(ended(SECOND)) == Step()
    assert run.apply(ended(FIRST)) == Step(ready=(SUM,))
    assert run.inputs(SUM) == (
        Input("fit", None, Value(b"[]")),
        Input("fit[0]", None, Value(b"4"), is_item=True),
        Input("fit[1]", None, Value(b"5"), is_item=True),
    )


def test_of_an_empty_list_the_value_is_there_at_once() -> None:
    run = fold(mapped(), ended(LIST))
    assert run.apply(split(())) == Step(ready=(SUM,))
    assert run.inputs(SUM) == (Input("fit", None, Value(b"[]")),)


def test_an_instance_gets_its_row_and_what_is_the_same_for_all_but_not_the_list() -> None:
    run = fold(mapped("list>fit model>fit fit>sum"), ended(LIST), ended(MODEL), split())
    assert run.inputs(SECOND) == (Input("fit", None, Value(b"row 1")), Input("model", None, Value(b"1")))
    assert run.has_parents(FIRST)


def test_values_are_kept_as_long_as_an_instance_may_need_them() -> None:
    run = fold(mapped("list>fit model>fit fit>sum"), ended(LIST), ended(MODEL), split())
    assert [run.ends[each].value.inline for each in (LIST, MODEL)] == [b"", b"1"]
    run.apply(ended(FIRST))
    run.apply(ended(SECOND, State.FAILED, retry=True))
    assert run.inputs(SECOND)[0].value == ROWS[1]
    run.apply(ended(SECOND, attempt=2))
    assert run.ends[MODEL].value == Value()
    assert run.ends[FIRST].value == Value(b"4")
    run.apply(ended(SUM))
    assert {run.ends[each].value for each in (FIT, FIRST, SECOND)} == {Value()}


def test_of_a_large_run_nothing_is_remembered_that_nobody_needs() -> None:
    run = DagRun(mapped(), keeps_ends=False)
    for entry in (ended(LIST), split(), ended(FIRST), ended(SECOND), ended(SUM), ended(MODEL)):
        run.apply(entry)
    assert run.is_done
    assert not run.ends


@pytest.mark.parametrize(("chosen", "state"), [(("sum",), State.WAITING), ((), State.SKIPPED)])
def test_each_instance_lets_what_follows_run_or_not(chosen: tuple[str, ...], state: State) -> None:
    run = fold(mapped(), ended(LIST), split(), ended(FIRST, limit=()), ended(SECOND, limit=chosen))
    assert run.states[SUM] is state


def test_a_limit_of_an_instance_is_about_the_successors_of_the_mapped_task() -> None:
    run = fold(mapped(), ended(LIST), split())
    assert run.apply(ended(FIRST, limit=("sum", "plot"))).unknown_limits == ("plot",)


def test_a_mapped_task_that_is_skipped_has_no_instances_and_no_value() -> None:
    run = fold(mapped("list>fit fit>sum model>sum"), ended(MODEL), ended(LIST, limit=()))
    assert [run.states[each] for each in (FIT, SUM)] == [State.SKIPPED, State.WAITING]
    assert [each.task for each in run.inputs(SUM)] == ["model"]


def test_an_instance_that_fails_ends_the_run_and_those_that_have_not_started() -> None:
    run = fold(mapped(), ended(MODEL), ended(LIST), split(), started(FIRST))
    step = run.apply(ended(FIRST, State.FAILED, reason="broken"))
    assert [(each.task, each.state) for each in step.ended] == [(SUM, State.STOPPED), (SECOND, State.STOPPED)]
    assert run.outcome() == (State.FAILED, "task 'fit[0]' failed: broken")
    assert run.is_done


def test_a_mapped_task_can_be_mapped_over_another() -> None:
    spec = dag("fit twice", "fit>twice", task("fit", splits=()), task("twice", splits=("fit",)))
    run = fold(spec, ended(0, rows=ROWS[:1]), ended(2), ended(1, rows=ROWS), ended(3), ended(4))
    assert [each.name for each in run.tasks] == ["fit", "twice", "fit[0]", "twice[0]", "twice[1]"]
    assert run.is_done


def test_no_task_may_be_named_like_an_instance() -> None:
    with pytest.raises(InvalidGraph, match=r"task 'fit\[1\]' is named like an instance of the mapped task 'fit'"):
        check(dag("fit fit[1]", "", task("fit", splits=())))


# --- the owner ---


def driven(**fields: Any) -> DrivenDag:
    given = DrivenDag(mapped(**fields), ended(MODEL), ended(LIST))
    given.begin()
    return given


def reported(**fields: Any) -> Finished:
    return finished(attempt(FIT), value=Value(b"[]"), rows=ROWS, **fields)


def test_instances_are_not_handed_out_before_the_log_has_them() -> None:
    given = driven()
    given.hand_out(FIT)
    given.report(reported())
    given.owner.flush(0.0, 0.0)
    assert given.queued() == []
    batch, effects = given.log.answered([True, True])
    given.owner.logged(batch, effects, 0.0)
    assert given.queued() == [FIRST, SECOND]
    assert given.write().entries == [TasksQueued((FIRST, SECOND))]


def test_the_job_of_an_instance_names_the_task_whose_code_it_is() -> None:
    given = driven()
    given.hand_out(FIT)
    given.report(reported())
    given.write()
    job = given.owner.hand_out(FIRST, ANN, 0.0)
    assert isinstance(job, Job)
    assert (job.name, job.mapped, job.payload) == ("fit[0]", "fit", "code of fit")
    assert job.inputs == (Input("fit", None, ROWS[0]),)


def test_an_instance_that_may_run_at_most_once_is_logged_before_it_leaves() -> None:
    given = driven(at_most_once=True)
    assert given.hand_out(FIT) == [attempt(FIT)], "to split may be done twice"
    given.report(reported())
    given.write()
    assert given.owner.hand_out(FIRST, ANN, 0.0) is None
    (work,) = given.write().released
    assert isinstance(work, Send)
    assert isinstance(work.message, Work)


def test_a_run_that_is_to_stop_gets_no_instances() -> None:
    given = driven()
    given.hand_out(FIT)
    given.owner.ask_stop(Stop.STOP, "enough")
    given.report(reported())
    (end,) = [each for each in given.write().entries if isinstance(each, TaskEnded) and each.task == FIT]
    assert (end.state, end.rows) == (State.COMPLETED, None)
    assert given.fold.is_done


def test_rows_of_a_task_that_is_not_mapped_are_dropped() -> None:
    given = DrivenDag(dag("a"))
    given.begin()
    given.hand_out(0)
    given.report(finished(attempt(0), rows=ROWS))
    given.write()
    assert given.fold.total_count == 1


def test_who_takes_over_after_the_split_goes_on_with_the_same_instances() -> None:
    log: list[Entry] = [ended(MODEL), ended(LIST), split(), ended(FIRST), started(SECOND)]
    given = DrivenDag(mapped(), *log, epoch=2)
    given.begin(is_takeover=True)
    given.owner.held(ANN, [attempt(SECOND)], 0.0)
    given.report(finished(attempt(SECOND)))
    given.write()
    assert [given.fold.states[each] for each in (FIRST, SECOND)] == [State.COMPLETED] * 2
    given.owner.wake(1.0)
    assert given.queued() == [SUM]


def test_who_takes_over_before_the_split_was_logged_cancels_what_it_does_not_know() -> None:
    given = DrivenDag(mapped(), ended(MODEL), ended(LIST), epoch=2)
    given.begin(is_takeover=True)
    given.owner.held(ANN, [attempt(FIRST)], 0.0)
    given.write()
    assert FIRST not in given.owner.handouts


def test_a_run_that_is_stopped_after_the_split_ends_its_instances() -> None:
    run = fold(mapped(), ended(MODEL), ended(LIST), split(), StopAsked(Stop.CANCEL, State.CANCELLED, "at once"))
    assert {run.states[each] for each in (FIRST, SECOND, SUM)} == {State.CANCELLED}
    assert run.is_done


def test_rows_count_with_what_is_put_into_one_append() -> None:
    given = driven()
    given.hand_out(FIT)
    big = tuple(Value(b"x" * 1024 * 1024) for _ in range(5))
    given.report(finished(attempt(FIT), rows=big))
    given.log.add(TasksQueued(()))
    effects = given.owner.flush(0.0, 0.0)
    (append,) = [request for request in asked(effects) if hasattr(request, "batch")]
    assert TasksQueued(()) not in append.batch.entries
