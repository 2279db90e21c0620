"""What follows from each entry of a dag run's log: Lightflow's rules (spec/lightflow.md 2.5, 2.7, 2.8).

Any dag with any outcomes is in `test_dagrun_any.py`.
"""

import pytest

from meshflow.core.dagrun import DagRun, Step
from meshflow.core.graph import DagSpec
from meshflow.core.messages import Input
from meshflow.core.records import (
    Claimed,
    DagEnded,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    Value,
)
from tests.core.builders import ANN, BOB, dag, ended, started, task

STOP = StopAsked(Stop.STOP, State.STOPPED, "enough")
CANCEL = StopAsked(Stop.CANCEL, State.CANCELLED, "at once")


def fold(spec: DagSpec, *entries: Entry) -> DagRun:
    run = DagRun(spec)
    for entry in entries:
        run.apply(entry)
    return run


def skipped(*tasks: int) -> tuple[TaskEnded, ...]:
    return tuple(TaskEnded(each, 0, State.SKIPPED, reason="no parent selected it") for each in tasks)


# --- what may run (2.5) ---


def test_tasks_without_parents_are_ready_at_once_in_definition_order() -> None:
    assert fold(dag("b a c", "a>c")).ready() == (0, 1)


def test_an_empty_dag_is_done_at_once() -> None:
    run = fold(dag(""))
    assert run.is_done
    assert run.outcome() == (State.COMPLETED, "")


def test_a_task_is_ready_when_its_last_parent_is_done_and_not_before() -> None:
    run = fold(dag("a b join", "a>join b>join"))
    assert run.apply(ended(0)) == Step()
    assert run.apply(ended(1)) == Step(ready=(2,))


def test_siblings_become_ready_in_definition_order_whatever_the_order_of_the_edges() -> None:
    assert fold(dag("a b c d", "a>d a>b a>c")).apply(ended(0)) == Step(ready=(1, 2, 3))


def test_what_was_queued_or_given_back_is_ready_again_and_what_runs_is_not() -> None:
    run = fold(dag("a b c"), TasksQueued((0, 1)), started(0))
    assert run.states == [State.RUNNING, State.QUEUED, State.WAITING]
    assert run.ready() == (1, 2)


def test_an_entry_that_queues_a_task_that_runs_or_has_ended_changes_nothing() -> None:
    run = fold(dag("a b"), started(0), ended(1), TasksQueued((0, 1)))
    assert run.states == [State.RUNNING, State.COMPLETED]


@pytest.mark.parametrize(
    ("limits", "runs"),
    [
        ((None, None), True),
        ((None, ()), True),
        ((("join",), ()), True),
        (((), ("join",)), True),
        (((), ()), False),
        ((("other",), ()), False),
    ],
)
def test_a_join_runs_if_any_parent_lets_it(limits: tuple[tuple[str, ...] | None, ...], runs: bool) -> None:
    run = fold(dag("a b join other", "a>join b>join a>other"), ended(0, limit=limits[0]))
    step = run.apply(ended(1, limit=limits[1]))
    assert step == (Step(ready=(2,)) if runs else Step(ended=skipped(2)))


def test_a_limit_selects_among_the_successors_and_the_others_are_skipped() -> None:
    run = fold(dag("a b c d", "a>b a>c a>d"))
    assert run.apply(ended(0, limit=("c",))) == Step(ready=(2,), ended=skipped(1, 3))
    assert run.states[1] is State.SKIPPED


def test_an_unknown_name_in_a_limit_is_told_and_otherwise_ignored() -> None:
    run = fold(dag("a b c", "a>b"))
    step = run.apply(ended(0, limit=("b", "nobody", "c")))
    assert step == Step(ready=(1,), unknown_limits=("nobody", "c"))


def test_skipping_goes_on_through_all_that_hangs_on_a_skipped_task() -> None:
    run = fold(dag("a b c d e", "a>b b>c c>d a>e"))
    assert run.apply(ended(0, limit=("e",))) == Step(ready=(4,), ended=skipped(1, 2, 3))


def test_a_chain_of_ten_thousand_skipped_tasks_needs_no_recursion() -> None:
    names = " ".join(f"t{number}" for number in range(10_000))
    edges = " ".join(f"t{number}>t{number + 1}" for number in range(9_999))
    run = fold(dag(names, edges))
    assert len(run.apply(ended(0, limit=())).ended) == 9_999
    assert run.is_done


def test_a_join_runs_if_one_lane_was_skipped_and_the_other_ran() -> None:
    run = fold(dag("a b c join", "a>b a>c b>join c>join"), ended(0, limit=("b",)))
    assert run.apply(ended(1)) == Step(ready=(3,))


def test_a_task_is_skipped_if_all_its_parents_were() -> None:
    run = fold(dag("a b c join", "a>b a>c b>join c>join"))
    assert run.apply(ended(0, limit=())) == Step(ended=skipped(1, 2, 3))
    assert run.is_done
    assert run.outcome() == (State.COMPLETED, "")


def test_a_task_with_force_run_runs_whatever_its_parents_chose() -> None:
    spec = dag("a b forced", "a>b b>forced a>forced", task("forced", force_run=True))
    assert fold(spec).apply(ended(0, limit=())) == Step(ready=(2,), ended=skipped(1))


def test_a_skipped_task_that_does_not_propagate_lets_its_successors_run() -> None:
    spec = dag("a b c", "a>b b>c", task("b", propagate_skip=False))
    assert fold(spec).apply(ended(0, limit=())) == Step(ready=(2,), ended=skipped(1))


def test_propagate_skip_of_a_task_that_ran_means_nothing() -> None:
    spec = dag("a b", "a>b", task("a", propagate_skip=False))
    assert fold(spec).apply(ended(0, limit=())) == Step(ended=skipped(1))


def test_force_run_does_not_override_a_stop() -> None:
    spec = dag("a forced", "a>forced", task("forced", force_run=True))
    run = fold(spec, started(0), STOP)
    assert run.apply(ended(0)) == Step()
    assert run.states == [State.COMPLETED, State.STOPPED]


# --- how tasks end (2.7) ---


def test_a_run_whose_tasks_all_returned_has_completed() -> None:
    run = fold(dag("a b", "a>b"), ended(0), ended(1))
    assert run.is_done
    assert run.outcome() == (State.COMPLETED, "")


def test_a_task_that_stopped_itself_has_its_successors_skipped_and_the_run_completes() -> None:
    run = fold(dag("a b", "a>b"))
    assert run.apply(ended(0, State.STOPPED, limit=())) == Step(ended=skipped(1))
    assert run.states == [State.STOPPED, State.SKIPPED]
    assert run.outcome() == (State.COMPLETED, "")


def test_a_task_that_stopped_itself_without_skipping_lets_its_successors_run() -> None:
    assert fold(dag("a b", "a>b")).apply(ended(0, State.STOPPED)) == Step(ready=(1,))


@pytest.mark.parametrize("state", [State.FAILED, State.ABORTED])
def test_a_task_that_failed_or_aborted_ends_the_run_and_what_runs_is_awaited(state: State) -> None:
    run = fold(dag("a b c d", "a>c b>d"), started(1))
    step = run.apply(ended(0, state, reason="division by zero\nTraceback ..."))
    reason = f"task 'a' {state.value}: division by zero"
    stopped = tuple(TaskEnded(each, 0, State.STOPPED, reason=f"not started: {reason}") for each in (2, 3))
    assert step == Step(ended=stopped)
    assert run.outcome() == (state, reason + "\nTraceback ...")
    assert (run.done_count, run.total_count) == (3, 4)
    assert run.apply(ended(1)) == Step()
    assert run.is_done
    assert run.outcome() == (state, reason + "\nTraceback ...")


def test_of_two_failures_the_first_is_the_reason() -> None:
    run = fold(dag("a b"), started(0), started(1), ended(0, State.FAILED, reason="one"))
    run.apply(ended(1, State.FAILED, reason="two"))
    assert run.outcome() == (State.FAILED, "task 'a' failed: one")


@pytest.mark.parametrize("first", [STOP, CANCEL])
def test_a_task_that_fails_while_the_run_stops_fails_the_run(first: StopAsked) -> None:
    run = fold(dag("a b"), started(0), started(1), first)
    assert run.apply(ended(0, State.FAILED, reason="broken")) == Step()
    run.apply(ended(1, State.CANCELLED))
    assert run.is_done
    assert run.outcome() == (State.FAILED, "task 'a' failed: broken")


def test_the_end_of_a_task_is_recorded_once() -> None:
    run = fold(dag("a b", "a>b"), ended(0))
    assert run.apply(ended(0, State.FAILED)) == Step()
    assert run.states[0] is State.COMPLETED
    assert run.done_count == 1


def test_a_start_after_the_end_changes_nothing() -> None:
    run = fold(dag("a"), ended(0), started(0, 2))
    assert run.states == [State.COMPLETED]
    assert run.started_on == {}


# --- trying again ---


def test_a_failed_attempt_that_is_tried_again_leaves_the_task_queued_and_counts_as_a_failure() -> None:
    run = fold(dag("a b", "a>b"), started(0))
    assert run.apply(ended(0, State.FAILED, retry=True)) == Step()
    assert (run.states[0], run.failures[0], run.losses[0], run.attempts[0]) == (State.QUEUED, 1, 0, 1)
    assert run.ready() == (0,)


def test_a_lost_attempt_counts_as_a_loss_and_not_as_a_failure() -> None:
    run = fold(dag("a"), started(0), ended(0, State.LOST, retry=True))
    assert (run.states[0], run.failures[0], run.losses[0], run.attempts[0]) == (State.QUEUED, 0, 1, 1)


def test_an_attempt_given_back_before_it_started_is_no_failure_and_its_number_is_not_used_again() -> None:
    run = fold(dag("a"), started(0, 3), ended(0, State.QUEUED, attempt=3, retry=True))
    assert (run.states[0], run.failures[0], run.losses[0], run.attempts[0]) == (State.QUEUED, 0, 0, 3)


def test_the_current_attempt_is_known_with_its_node() -> None:
    run = fold(dag("a b"), started(0), ended(0, State.LOST, retry=True), started(0, 2, 5, BOB), started(1))
    assert run.started_on == {0: (2, 5, BOB), 1: (1, 1, ANN)}


def test_an_attempt_that_ends_without_a_start_in_the_log_counts() -> None:
    run = fold(dag("a"), ended(0, State.FAILED, attempt=4, retry=True))
    assert run.attempts == [4]


@pytest.mark.parametrize(("asked", "state"), [(STOP, State.STOPPED), (CANCEL, State.CANCELLED)], ids=["stop", "cancel"])
def test_no_further_attempt_begins_once_the_run_stops(asked: StopAsked, state: State) -> None:
    run = fold(dag("a b"), started(0), started(1), asked)
    step = run.apply(ended(0, State.LOST, retry=True))
    assert step == Step(ended=(TaskEnded(0, 0, state, reason=f"not started: {asked.reason}"),))
    assert run.states == [state, State.RUNNING]


# --- stopping (2.10) ---


def test_a_stop_ends_what_has_not_started_and_awaits_what_runs() -> None:
    run = fold(dag("a b c", "a>c"), TasksQueued((0, 1)), started(0))
    step = run.apply(STOP)
    assert step == Step(ended=tuple(TaskEnded(each, 0, State.STOPPED, reason="not started: enough") for each in (1, 2)))
    assert run.ready() == ()
    assert not run.is_open(0)
    run.apply(ended(0))
    assert run.is_done
    assert run.outcome() == (State.STOPPED, "enough")


def test_a_cancel_outranks_a_stop_and_a_stop_no_cancel() -> None:
    run = fold(dag("a"), started(0), STOP)
    assert run.apply(CANCEL) == Step()
    assert (run.stop, run.outcome()) == (Stop.CANCEL, (State.CANCELLED, "at once"))
    assert run.apply(STOP) == Step()
    assert (run.stop, run.outcome()) == (Stop.CANCEL, (State.CANCELLED, "at once"))


def test_a_cancel_of_a_run_that_has_failed_leaves_it_failed() -> None:
    run = fold(dag("a b"), started(1), ended(0, State.FAILED, reason="broken"), CANCEL)
    assert run.stop is Stop.CANCEL
    assert run.outcome() == (State.FAILED, "task 'a' failed: broken")


def test_a_task_is_open_from_its_last_parents_end_to_its_own() -> None:
    run = fold(dag("a b", "a>b"))
    assert [run.is_open(0), run.is_open(1)] == [True, False]
    run.apply(ended(0))
    assert [run.is_open(0), run.is_open(1)] == [False, True]
    run.apply(started(1))
    assert run.is_open(1)


# --- inputs (2.8) ---


def test_inputs_come_in_the_order_of_the_edges_with_their_slots() -> None:
    run = fold(dag("a b join", "b>join:slot a>join"), ended(0), ended(1))
    assert run.inputs(2) == (Input("b", "slot", Value(b"1")), Input("a", None, Value(b"0")))


def test_a_skipped_parent_gives_no_input_and_one_that_excluded_the_task_does() -> None:
    spec = dag("a b c join", "a>b a>c b>join c>join a>join")
    run = fold(spec, ended(0, limit=("b",)), ended(1, State.STOPPED))
    assert [each.task for each in run.inputs(3)] == ["b", "a"]


def test_a_task_that_runs_although_all_its_parents_were_skipped_has_no_inputs() -> None:
    spec = dag("a b c", "a>b b>c", task("c", force_run=True))
    assert fold(spec, ended(0, limit=())).inputs(2) == ()


def test_a_value_is_let_go_when_no_task_can_need_it_any_more() -> None:
    run = fold(dag("a b c", "a>b a>c"), ended(0), ended(1, State.FAILED, retry=True), ended(2))
    assert [run.ends[0].value, run.ends[2].value] == [Value(b"0"), Value()]
    run.apply(ended(1))
    assert [run.ends[0].value, run.ends[1].value] == [Value(), Value()]


def test_tasks_that_a_stop_ended_before_their_parents_need_no_values() -> None:
    run = fold(dag("a b", "a>b"), started(0), STOP)
    assert run.states == [State.RUNNING, State.STOPPED]
    run.apply(ended(0))
    assert run.ends[0].value == Value()


def test_only_tasks_with_edges_to_them_have_parents() -> None:
    run = fold(dag("a b", "a>b"))
    assert [run.has_parents(0), run.has_parents(1)] == [False, True]


# --- other entries ---


def test_the_end_of_the_run_is_folded() -> None:
    run = fold(dag("a"), ended(0), RunEnded(State.COMPLETED, "well"))
    assert run.ended is State.COMPLETED
    assert run.outcome() == (State.COMPLETED, "well")


@pytest.mark.parametrize(
    "entry",
    [Claimed(ANN, 2), Noted("hm"), DagStarted("d:1", "d", "key"), DagEnded("d:1", State.COMPLETED)],
    ids=lambda entry: type(entry).__name__,
)
def test_entries_about_other_things_change_nothing(entry: Entry) -> None:
    run = fold(dag("a"))
    assert run.apply(entry) == Step()
    assert run.states == [State.WAITING]


def test_what_is_no_entry_is_refused() -> None:
    with pytest.raises(AssertionError):
        fold(dag("a")).apply(object())  # type: ignore[arg-type]


def test_counts_tasks_and_ends() -> None:
    run = fold(dag("a b c", "a>b"), ended(0, limit=()))
    assert (run.done_count, run.total_count, run.is_done) == (2, 3, False)


def test_a_large_dag_keeps_of_its_ends_what_other_tasks_still_need() -> None:
    run = DagRun(dag("a b c", "a>b"), keeps_ends=False)
    run.apply(ended(0, value=Value(b"a")))
    run.apply(ended(2))
    assert (list(run.ends), run.inputs(1)) == ([0], (Input("a", None, Value(b"a")),))
    run.apply(ended(1))
    assert (run.ends, run.is_done) == ({}, True)
