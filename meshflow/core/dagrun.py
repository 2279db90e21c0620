"""One run of a dag, as the fold of its log: which tasks may run, which are skipped, when it has ended, and how.

Invariants:
1. The state follows from the blueprint and the log entries alone; applying a log again gives the same state, so an
   owner that takes over goes on where the log ends. Skips are consequences, recomputed, and logged only for people to
   see.
2. A task becomes ready at most once: when its last parent is done. Then it runs if it has no parents, or `force_run`,
   or some parent lets it: a skipped parent with `propagate_skip=False`, or one that ran and did not exclude it by
   `limit`. Otherwise it is skipped. (Lightflow's OR rule; spec/lightflow.md 2.5.)
3. A task has one recorded end. An entry for a task that has ended changes nothing.
4. Once a stop is asked (by a person, a failed or an aborted task), nothing new becomes ready; what runs is awaited.
   The run ends in the gravest of the states that were asked for and that its tasks call for.
5. The instances of a mapped task are tasks of the run from the entry on that has its rows, and may run at once. What
   comes after the mapped task waits for all of them, and each counts as a parent.

Source: the behaviour of Lightflow 1.11, with a failed task failing the run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from meshflow.core.graph import DagSpec, TaskSpec, instance_name
from meshflow.core.messages import Input
from meshflow.core.outcome import is_graver
from meshflow.core.records import (
    Claimed,
    DagEnded,
    DagRefused,
    DagStarted,
    Entry,
    Noted,
    RunEnded,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)
from meshflow.ids import NodeId

_UNLOCKS = (State.COMPLETED, State.SKIPPED, State.STOPPED)
_ENDS_RUN = (State.FAILED, State.ABORTED)
_NO_VALUE = Value()


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from an entry: tasks that became ready, and tasks that were skipped or stopped before they
    started."""

    ready: tuple[int, ...] = ()
    ended: tuple[TaskEnded, ...] = ()
    unknown_limits: tuple[str, ...] = ()
    """Names in a `limit` that are no successors of the task."""


_NOTHING = Step()


class DagRun:
    """The state of one dag run. Tasks are named by their index in the blueprint; instances have the numbers above.
    `keeps_ends`: whether to remember how tasks ended also when no other task needs that any more."""

    def __init__(self, spec: DagSpec, *, keeps_ends: bool = True) -> None:
        count = len(spec.tasks)
        # To split lists calls no code of the task: it may be done twice, and gives the same each time.
        self.tasks: list[TaskSpec] = [
            task if task.splits is None else replace(task, retries=0, at_most_once=False) for task in spec.tasks
        ]
        self.spec = spec
        self.states: list[State] = [State.WAITING] * count
        self.attempts: list[int] = [0] * count
        """The number of the last attempt that was started, 0 for none."""
        self.failures: list[int] = [0] * count
        """Attempts that failed and were tried again."""
        self.losses: list[int] = [0] * count
        self.started_on: dict[int, tuple[int, int, NodeId]] = {}
        """`{task: (attempt, epoch, node)}` of running attempts as far as the log knows."""
        self.ends: dict[int, TaskEnded] = {}
        """How tasks ended; without their value, or not at all, once no task can need it any more."""
        self.stop = Stop.NONE
        self.end_state = State.COMPLETED
        self.reason = ""
        self.ended: State | None = None
        self.done_count = 0
        self._keeps_ends = keeps_ends
        parents: dict[int, list[tuple[int, str | None]]] = {}
        children: dict[int, list[int]] = {}
        for edge in spec.edges:
            parents.setdefault(edge.child, []).append((edge.parent, edge.slot))
            children.setdefault(edge.parent, []).append(edge.child)
        # Tasks without any share one empty tuple.
        self._parents: list[Sequence[tuple[int, str | None]]] = [parents.get(task, ()) for task in range(count)]
        self._children: list[Sequence[int]] = [children.get(task, ()) for task in range(count)]
        self._undone = [len(of) for of in self._parents]
        self._unserved = [len(of) for of in self._children]
        """How many children may still need the value of the task."""
        self._limits: dict[int, dict[str, None]] = {}
        """`{task: the successors it chose}`, of tasks that ended with a limit."""
        self._instances: dict[int, range] = {}
        """`{mapped task: its instances}`, once it was split."""
        self._unended: dict[int, int] = {}
        """`{mapped task: how many of its instances have not ended well}`."""
        self._mapped: dict[int, int] = {}
        """`{instance: its mapped task}`."""
        self._rows: dict[int, Value] = {}
        """What each instance that has not ended gets."""

    @property
    def total_count(self) -> int:
        """Tasks of this run."""
        return len(self.states)

    @property
    def is_done(self) -> bool:
        """Whether every task has ended, so that the run can be ended."""
        return self.done_count == len(self.states)

    def outcome(self) -> tuple[State, str]:
        """The final state the run has, or would have if it ended now, and the reason."""
        return self.end_state, self.reason

    def is_open(self, task: int) -> bool:
        """Whether the task may run: its parents are done, it has not ended, and nothing stops the run."""
        return self._undone[task] == 0 and not self.states[task].is_final and self.stop is Stop.NONE

    def has_parents(self, task: int) -> bool:
        """Whether the task is not a root."""
        return bool(self._parents[task]) or task in self._mapped

    def mapped_name(self, task: int) -> str:
        """The name of the mapped task of which this is an instance; empty if it is none."""
        return self.tasks[self._mapped[task]].name if task in self._mapped else ""

    def instances(self, task: int) -> Sequence[int]:
        """The instances of a mapped task that was split."""
        return self._instances.get(task, ())

    def ready(self) -> tuple[int, ...]:
        """All tasks that may run now and have no running attempt, in definition order."""
        if self.stop is not Stop.NONE:
            return ()
        return tuple(
            task
            for task, state in enumerate(self.states)
            if state in (State.WAITING, State.QUEUED) and self._undone[task] == 0
        )

    def inputs(self, task: int) -> tuple[Input, ...]:
        """The results of the parents that were not skipped, in the order of the edges; before them the row of an
        instance."""
        row = self._rows.get(task)
        inputs = [] if row is None else [Input(self.mapped_name(task), None, row)]
        for parent, slot in self._parents[task]:
            if self.states[parent] is State.SKIPPED:
                continue
            inputs.append(Input(self.tasks[parent].name, slot, self.ends[parent].value))
            items = self.instances(parent)
            inputs += [Input(self.tasks[item].name, None, self.ends[item].value, is_item=True) for item in items]
        return tuple(inputs)

    def apply(self, entry: Entry) -> Step:
        """Fold one entry of the log; the entries that only other kinds of run have change nothing."""
        match entry:
            case TaskStarted():
                self._start(entry)
            case TaskEnded():
                return self._end(entry)
            case StopAsked():
                return self._stop(entry.stop, entry.state, entry.reason)
            case RunEnded(state=state, reason=reason):
                self.ended, self.end_state, self.reason = state, state, reason
            case TasksQueued(tasks=tasks):
                for task in tasks:
                    if self.states[task] is State.WAITING:
                        self.states[task] = State.QUEUED
            case Claimed() | Noted() | DagStarted() | DagRefused() | DagEnded():
                pass
            case _:
                assert_never(entry)
        return _NOTHING

    def _start(self, entry: TaskStarted) -> None:
        if self.states[entry.task].is_final:
            return
        self.states[entry.task] = State.RUNNING
        self.attempts[entry.task] = max(self.attempts[entry.task], entry.attempt)
        self.started_on[entry.task] = (entry.attempt, entry.epoch, entry.node)

    def _end(self, entry: TaskEnded) -> Step:
        task = entry.task
        if self.states[task].is_final:
            return _NOTHING
        self.attempts[task] = max(self.attempts[task], entry.attempt)
        self.started_on.pop(task, None)
        if entry.retry:
            self._await_retry(entry)
            # A stop that came while the attempt ran lets no further attempt begin.
            return self._end_unstarted((task,)) if self.stop is not Stop.NONE else _NOTHING
        if entry.rows is not None:
            self._add_instances(task, entry.rows)
            entry = replace(entry, rows=None)
        self._become_final(entry)
        if entry.state in _ENDS_RUN:
            name = self.tasks[task].name
            return self._stop(Stop.STOP, entry.state, f"task {name!r} {entry.state.value}: {entry.reason}")
        if entry.state not in _UNLOCKS or self.stop is not Stop.NONE:
            return _NOTHING
        return self._unlock(entry)

    def _await_retry(self, entry: TaskEnded) -> None:
        if entry.state is State.LOST:
            self.losses[entry.task] += 1
        elif entry.state is State.FAILED:
            self.failures[entry.task] += 1
        # One that was given back before it started counts as neither. Its number is not used again: late words about it
        # must not be taken for words about another.
        self.states[entry.task] = State.QUEUED

    def _become_final(self, entry: TaskEnded) -> None:
        task = entry.task
        self.states[task] = entry.state
        self.ends[task] = entry
        self.done_count += 1
        if entry.limit is not None:
            self._limits[task] = dict.fromkeys(entry.limit)
        self._rows.pop(task, None)
        if not self._unserved[self._mapped.get(task, task)]:
            self._release(task)
        for parent, _ in self._parents[task]:
            self._unserved[parent] -= 1
            if not self._unserved[parent]:
                for served in (parent, *self.instances(parent)):
                    if served in self.ends:
                        self._release(served)

    def _add_instances(self, task: int, rows: Sequence[Value]) -> None:
        spec, count = self.spec.tasks[task], len(rows)
        splits = spec.splits or ()
        shared = tuple(edge for edge in self._parents[task] if self.tasks[edge[0]].name not in splits)
        for parent, _ in shared:
            self._unserved[parent] += count
        added = self._instances[task] = range(self.total_count, self.total_count + count)
        self._unended[task] = count
        self._mapped.update(dict.fromkeys(added, task))
        self._rows.update(zip(added, rows, strict=True))
        self.tasks += [replace(spec, name=instance_name(spec.name, index), splits=None) for index in range(count)]
        self.states += [State.WAITING] * count
        for counts in (self.attempts, self.failures, self.losses, self._undone, self._unserved):
            counts += [0] * count
        self._parents += [shared] * count
        self._children += [()] * count

    def _release(self, task: int) -> None:
        """Values of up to 64 KiB for each of many thousand tasks would fill the memory; the log has them."""
        if not self._keeps_ends:
            del self.ends[task]
        elif self.ends[task].value != _NO_VALUE:
            self.ends[task] = replace(self.ends[task], value=_NO_VALUE)

    def _unlock(self, entry: TaskEnded) -> Step:
        """Judge the children of a task that is done; skips cascade, breadth first, without recursion."""
        parent = self._mapped.get(entry.task, entry.task)
        if parent != entry.task:
            self._unended[parent] -= 1
        if not self._children[parent] and not entry.limit:
            return _NOTHING
        ready: list[int] = []
        skipped: list[TaskEnded] = []
        done = [] if self._unended.get(parent) else [parent]
        for task in done:
            for child in self._children[task]:
                self._undone[child] -= 1
                if self._undone[child] > 0 or self.states[child].is_final:
                    continue
                if self._may_run(child):
                    ready.append(child)
                else:
                    end = TaskEnded(child, 0, State.SKIPPED, reason="no parent selected it")
                    self._become_final(end)
                    skipped.append(end)
                    done.append(child)
        return Step(tuple(sorted(ready)), tuple(skipped), self._unknown_limits(parent, entry))

    def _may_run(self, task: int) -> bool:
        spec = self.tasks[task]
        if spec.force_run:
            return True
        for parent, _ in self._parents[task]:
            if self.states[parent] is State.SKIPPED:
                if not self.tasks[parent].propagate_skip:
                    return True
            elif any(self._selects(each, spec.name) for each in self.instances(parent) or (parent,)):
                return True
        return False

    def _selects(self, task: int, child: str) -> bool:
        limit = self._limits.get(task)
        return limit is None or child in limit

    def _unknown_limits(self, parent: int, entry: TaskEnded) -> tuple[str, ...]:
        if not entry.limit:
            return ()
        names = {self.tasks[child].name for child in self._children[parent]}
        return tuple(name for name in entry.limit if name not in names)

    def _stop(self, stop: Stop, state: State, reason: str) -> Step:
        is_first = self.stop is Stop.NONE
        if self.stop is not Stop.CANCEL:
            self.stop = stop
        if is_graver(state, self.end_state):
            self.end_state, self.reason = state, reason
        return self._end_unstarted(range(self.total_count)) if is_first else _NOTHING

    def _end_unstarted(self, tasks: Iterable[int]) -> Step:
        state = State.CANCELLED if self.stop is Stop.CANCEL else State.STOPPED
        # The traceback that follows the first line is told by the task that failed, not by each that did not start.
        reason = "not started: " + self.reason.partition("\n")[0]
        ended = []
        for task in tasks:
            if not self.states[task].is_final and task not in self.started_on:
                end = TaskEnded(task, 0, state, reason=reason)
                self._become_final(end)
                ended.append(end)
        return Step(ended=tuple(ended))
