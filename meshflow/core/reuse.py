"""What a retry takes over of one dag run that has ended: which tasks keep their end, and whose values those need that
run again.

Invariants:
1. A task keeps its end if it completed, unless it was refused a dag run; if it ended itself early (StopTask) before
   anything stopped the run; or if it was skipped and all its parents keep theirs. Every other task is open again.
2. What an open task gets from its parents must be readable. A parent whose value is gone is open again too, whatever
   its own end was; then what it needs must be readable, and so on. Its other children keep their ends.
3. Work and memory are linear in tasks and edges; values themselves are not kept here.
"""

from collections.abc import Iterable

from meshflow.core.graph import DagSpec
from meshflow.core.records import Entry, State, StopAsked, TaskEnded, TaskStarted, Value

_ENDS_RUN = (State.FAILED, State.ABORTED)


class PastDag:
    """One dag run that has ended. Feed its log to `read`, entry by entry; then ask for the rest."""

    def __init__(self, spec: DagSpec) -> None:
        self.spec = spec
        self._kept: dict[int, State] = {}
        """How those tasks ended that keep their end, in the order of the log."""
        self._blobs: dict[int, Value] = {}
        self._under_way: dict[int, int] = {}
        self._ran: dict[int, None] = {}
        self._is_stopping = False
        self._spread_count = 0
        """How many of the open tasks have been looked at for what follows from them."""
        self._open: list[int] = []
        self._parents: dict[int, list[int]] = {}
        self._children: dict[int, list[int]] = {}
        for edge in spec.edges:
            self._parents.setdefault(edge.child, []).append(edge.parent)
            self._children.setdefault(edge.parent, []).append(edge.child)

    # --- reading ---

    def read(self, entry: Entry) -> None:
        """Take note of the next entry of the log."""
        match entry:
            case TaskStarted(task=task, attempt=attempt):
                self._under_way[task] = attempt
            case TaskEnded(retry=True, state=State.QUEUED | State.CANCELLED):
                self._under_way.pop(entry.task, None)  # given back before it started
            case TaskEnded():
                self._end(entry)
            case StopAsked():
                self._is_stopping = True
            case _:
                pass

    def _end(self, end: TaskEnded) -> None:
        if end.attempt:
            self._under_way.pop(end.task, None)
            self._ran[end.task] = None
        if end.retry or end.task in self._kept:
            return
        is_own_end = end.state is State.STOPPED and end.attempt > 0 and not self._is_stopping
        if is_own_end or end.state in (State.COMPLETED, State.SKIPPED):
            self._kept[end.task] = end.state
            if end.value.blob:
                self._blobs[end.task] = end.value
        self._is_stopping |= end.state in _ENDS_RUN

    def refuse(self, task: int) -> None:
        """The task was refused a dag run that it asked for; to be told after its log."""
        self._kept.pop(task, None)

    # --- what follows ---

    @property
    def kept_count(self) -> int:
        """How many tasks keep their end."""
        return len(self._kept)

    @property
    def other_blobs(self) -> tuple[Value, ...]:
        """The values in the blobs of the run that `open` did not give, of tasks that keep their end."""
        return tuple(value for task, value in self._blobs.items() if task in self._kept)

    def is_kept(self, task: int) -> bool:
        """Whether the task keeps its end."""
        return task in self._kept

    def open(self, tasks: Iterable[int] | None = None) -> dict[int, Value]:
        """Have `tasks`, whose values are gone, run again; None, to begin with: those that did not end well. Gives the
        values that must be readable for what runs again, and were not given before."""
        if tasks is None:
            self._open += [task for task in range(len(self.spec.tasks)) if task not in self._kept]
        else:
            self._reopen(tasks)
        needed: dict[int, Value] = {}
        while self._spread_count < len(self._open):
            task = self._open[self._spread_count]
            self._spread_count += 1
            self._reopen(child for child in self._children.get(task, ()) if self._kept.get(child) is State.SKIPPED)
            for parent in self._parents.get(task, ()):
                if parent in self._kept and parent in self._blobs:
                    needed[parent] = self._blobs.pop(parent)
        return needed

    def _reopen(self, tasks: Iterable[int]) -> None:
        for task in tasks:
            if self._kept.pop(task, None) is not None:
                self._open.append(task)

    @property
    def has_open_root(self) -> bool:
        """Whether a task without parents runs again."""
        return any(task not in self._parents for task in self._open)

    @property
    def ran_at_most_once(self) -> tuple[str, ...]:
        """Names of the open tasks that may run at most once, and may have run."""
        may_have_run = {**self._ran, **self._under_way}
        tasks = [task for task in sorted(self._open) if task in may_have_run]
        return tuple(self.spec.tasks[task].name for task in tasks if self.spec.tasks[task].at_most_once)
