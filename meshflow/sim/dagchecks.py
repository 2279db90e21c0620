"""What must hold of one dag run after any amount of trouble. See `checks.py`, invariants 4 to 8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meshflow.core.graph import DagDefinition
from meshflow.core.records import Batch, Claimed, Entry, State, StopAsked, TaskEnded, TaskStarted
from meshflow.ids import RunId
from meshflow.sim.expected import expected_states, own_state, program_of
from meshflow.sim.programs import result_of
from meshflow.sim.violation import require
from meshflow.sim.world import Execution


@dataclass(frozen=True, slots=True)
class DagHistory:
    """All that is known of a dag run that has ended."""

    run: RunId
    definition: DagDefinition
    state: State
    batches: Sequence[Batch]
    executions: Sequence[Execution]
    rows: Mapping[int, bytes]
    """What each instance of a mapped task was given; these are tasks of the definition."""
    mapped: Mapping[int, int]
    """The task of which each instance is one."""
    past: Sequence[Execution] = ()
    """Executions in the run that this one retries, and in those before."""

    def reused(self) -> dict[int, None]:
        """The tasks whose ends were taken over: they stand before the first claim."""
        found: dict[int, None] = {}
        for entry in self.entries():
            if isinstance(entry, Claimed):
                break
            if isinstance(entry, TaskEnded):
                found[entry.task] = None
        return found

    def entries(self) -> list[Entry]:
        """Its log."""
        return [entry for batch in self.batches for entry in batch.entries]

    def name(self, task: int) -> str:
        """A task's name."""
        return self.definition.spec.tasks[task].name

    def of(self, task: int) -> list[Execution]:
        """The executions of a task; of one that is reused, those in earlier runs too."""
        among = [*self.past, *self.executions] if task in self.reused() else self.executions
        return [execution for execution in among if execution.attempt.task == task]


def check_dag(history: DagHistory) -> dict[int, TaskEnded]:
    """Check one dag run. Gives the recorded end of each task.

    Raises:
        Violation: an invariant does not hold.
    """
    ends = _check_order(history)
    _check_attempts(history)
    _check_results(history, ends)
    for task, end in ends.items():
        _check_executions(history, task, end)
    _check_causes(history, ends)
    if history.state is State.COMPLETED:
        for task, state in enumerate(expected_states(history.definition)):
            found = ends[task].state
            require(found is state, f"{history.run}: {history.name(task)!r} is {found.value}, not {state.value}")
    return ends


def _check_order(history: DagHistory) -> dict[int, TaskEnded]:
    """One end for each task, and none started before the ends of its parents."""
    run, spec = history.run, history.definition.spec
    parents: dict[int, list[int]] = {}
    for edge in spec.edges:
        parents.setdefault(edge.child, []).append(edge.parent)
    for instance, mapped in history.mapped.items():
        parents.setdefault(instance, []).append(mapped)
    ends: dict[int, TaskEnded] = {}
    for entry in history.entries():
        if isinstance(entry, TaskStarted):
            early = [history.name(parent) for parent in parents.get(entry.task, ()) if parent not in ends]
            require(not early, f"{run}: {history.name(entry.task)!r} started before {early} ended")
        if isinstance(entry, TaskEnded) and not entry.retry:
            require(entry.task not in ends, f"{run}: {history.name(entry.task)!r} has two recorded ends")
            ends[entry.task] = entry
    require(len(ends) == len(spec.tasks), f"{run}: {len(ends)} of {len(spec.tasks)} tasks ended")
    return ends


def _check_attempts(history: DagHistory) -> None:
    """Each attempt that ended was the one that was under way; so a stale report was not taken for a current one."""
    under_way: dict[int, TaskStarted] = {}
    reused = history.reused()
    for entry in history.entries():
        if isinstance(entry, TaskStarted):
            other = under_way.get(entry.task)
            require(other is None, f"{history.run}: {entry} was logged while {other} was under way")
            under_way[entry.task] = entry
        if isinstance(entry, TaskEnded) and entry.attempt and entry.task not in reused:
            started = under_way.pop(entry.task, None)
            is_same = started is not None and started.attempt == entry.attempt
            require(is_same, f"{history.run}: {entry} was logged while {started} was under way")
    require(not under_way, f"{history.run}: it ended while attempts were under way: {list(under_way.values())}")


def _check_results(history: DagHistory, ends: dict[int, TaskEnded]) -> None:
    """Each recorded result is what the task makes of its parents' recorded results."""
    for task, end in ends.items():
        if end.state is not State.COMPLETED:
            continue
        parents = [edge.parent for edge in history.definition.spec.edges if edge.child == task]
        inputs = [ends[parent].value.inline for parent in parents if ends[parent].state is not State.SKIPPED]
        result = result_of(history.name(task), ([history.rows[task]] if task in history.rows else []) + inputs)
        is_right = end.value.inline == result
        require(is_right, f"{history.run}: the result of {history.name(task)!r} is not that of its inputs")
        rows = None if end.rows is None else tuple(row.inline for row in end.rows)
        is_split = rows == program_of(history.definition, task).split(result) or history.state is not State.COMPLETED
        require(is_split, f"{history.run}: the rows of {history.name(task)!r} are not those of its result: {rows}")


def _check_executions(history: DagHistory, task: int, end: TaskEnded) -> None:
    """What is recorded has happened, and happened once if it may happen only once."""
    run, name, mine = history.run, history.name(task), history.of(task)
    if task in history.reused():
        again = [each for each in history.executions if each.attempt.task == task]
        require(not again, f"{run}: {name!r} had ended in the run that is retried, and ran again: {again}")
    if history.definition.spec.tasks[task].at_most_once:
        require(len(mine) <= 1, f"{run}: {name!r} may run at most once and ran {len(mine)} times")
    if end.state is State.COMPLETED:
        done = [each for each in mine if each.ended_at == end.ended_at and each.attempt.attempt == end.attempt]
        require(bool(done), f"{run}: {name!r} is completed, but that attempt was never executed to its end")
        others = [each for each in mine if each.result != end.value.inline]
        require(not others, f"{run}: {name!r} was executed with other inputs: {others}")
    require(end.state is not State.SKIPPED or not mine, f"{run}: {name!r} was skipped, and executed: {mine}")


def _check_causes(history: DagHistory, ends: dict[int, TaskEnded]) -> None:
    """The run ended as its tasks did, and none failed that had not to: by itself, by being lost when it may not be
    tried again, or because the run was ending and gives no second chance."""
    of = {state: [task for task, end in ends.items() if end.state is state] for state in State}
    is_well = not of[State.FAILED] and not of[State.ABORTED]
    require(history.state is not State.COMPLETED or is_well, f"{history.run} is completed, but tasks have failed")
    has_aborted = history.state is not State.ABORTED or bool(of[State.ABORTED])
    require(has_aborted, f"{history.run} is aborted, but no task has done so")
    has_failed = history.state is not State.FAILED or bool(of[State.FAILED])
    require(has_failed, f"{history.run} has failed, but no task has")
    is_ending = False
    for entry in history.entries():
        if isinstance(entry, TaskEnded) and entry.state is State.FAILED and not entry.retry:
            text = f"{history.run}: {history.name(entry.task)!r} has failed without a cause: {entry.reason}"
            require(_may_fail(history, entry, is_ending), text)
        is_ending |= isinstance(entry, StopAsked)
        is_ending |= isinstance(entry, TaskEnded) and entry.state in (State.FAILED, State.ABORTED) and not entry.retry


def _may_fail(history: DagHistory, end: TaskEnded, is_ending: bool) -> bool:
    spec, program = history.definition.spec.tasks[end.task], program_of(history.definition, end.task)
    if own_state(spec, program) is State.FAILED or (is_ending and program.failures > 0):
        return True
    return "was lost" in end.reason and (spec.at_most_once or "that makes" in end.reason)
