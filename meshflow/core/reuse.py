"""What a retry takes over of one dag run that has ended: which tasks keep their end, and whose values those need that
run again.

Invariants:
1. A task keeps its end if it completed, unless it was refused a dag run, or not split since the run was stopping; if it
   ended itself early (StopTask) before anything stopped the run; or if it was skipped and all its parents keep theirs.
   Every other task is open again.
2. What an open task gets must be readable. A parent whose value is gone is open again too, whatever its own end was;
   then what it needs must be readable, and so on. Its other children keep their ends.
3. A mapped task whose rows are gone is split again. Until then it has no instances, so none of them keeps its end.
4. Work and memory are linear in tasks and edges; values themselves are not kept here.
"""

from collections.abc import Collection, Iterable, Sequence

from meshflow.core.graph import DagSpec, instance_name
from meshflow.core.records import Entry, State, StopAsked, TaskEnded, TaskStarted, Value

_ENDS_RUN = (State.FAILED, State.ABORTED)


class PastDag:
    """One dag run that has ended. Feed its log to `read`, entry by entry; then ask for the rest."""

    def __init__(self, spec: DagSpec) -> None:
        self.spec = spec
        self.total_count = len(spec.tasks)
        """Tasks of the run, instances included."""
        self._read_count = 0
        self._kept: dict[int, State] = {}
        """How those tasks ended that keep their end."""
        self._places: dict[int, int] = {}
        """Where in the log they did."""
        self._blobs: dict[int, Value] = {}
        self._row_blobs: dict[int, Value] = {}
        """Of instances, what they get of the lists that were split."""
        self._instances: dict[int, range] = {}
        self._mapped: dict[int, int] = {}
        """`{instance: its mapped task}`."""
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
        self._read_count += 1
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
        is_unsplit = (
            end.task < len(self.spec.tasks) and self.spec.tasks[end.task].splits is not None and end.rows is None
        )
        is_own_end = end.state is State.STOPPED and end.attempt > 0 and not self._is_stopping
        is_completed = end.state is State.COMPLETED and not is_unsplit
        if is_completed or is_own_end or end.state is State.SKIPPED:
            self._kept[end.task] = end.state
            self._places[end.task] = self._read_count - 1
            if end.value.blob:
                self._blobs[end.task] = end.value
            if end.rows is not None:
                self._split(end.task, end.rows)
        self._is_stopping |= end.state in _ENDS_RUN

    def _split(self, task: int, rows: Sequence[Value]) -> None:
        added = self._instances[task] = range(self.total_count, self.total_count + len(rows))
        self.total_count += len(rows)
        self._mapped.update(dict.fromkeys(added, task))
        self._row_blobs.update((instance, row) for instance, row in zip(added, rows, strict=True) if row.blob)

    def refuse(self, task: int) -> None:
        """The task was refused a dag run that it asked for; to be told after its log."""
        self._kept.pop(task, None)

    # --- what follows ---

    @property
    def kept(self) -> Collection[int]:
        """The tasks that keep their end."""
        return self._kept.keys()

    @property
    def other_blobs(self) -> tuple[Value, ...]:
        """The values in the blobs of the run that `open` did not give, of tasks that keep their end."""
        return tuple(value for task, value in self._blobs.items() if task in self._kept)

    @property
    def has_open_root(self) -> bool:
        """Whether a task without parents runs again."""
        return any(task not in self._parents and task not in self._mapped for task in self._open)

    @property
    def ran_at_most_once(self) -> tuple[str, ...]:
        """Names of the open tasks that may run at most once, and may have run. To split a list is to run nothing."""
        may_have_run = {**self._ran, **self._under_way}
        names = []
        for task in sorted(self._open):
            spec = self.spec.tasks[self._mapped.get(task, task)]
            if task in may_have_run and spec.at_most_once and (task in self._mapped or spec.splits is None):
                names.append(self.name(task))
        return tuple(names)

    def name(self, task: int) -> str:
        """The name of a task or instance."""
        mapped = self._mapped.get(task)
        if mapped is None:
            return self.spec.tasks[task].name
        return instance_name(self.spec.tasks[mapped].name, task - self._instances[mapped].start)

    def keeps(self, end: TaskEnded, place: int) -> bool:
        """Whether this is an end that a task keeps; `place` counts the entries of the log from 0."""
        return end.task in self._kept and self._places[end.task] == place

    def place(self, task: int) -> tuple[int, int | None]:
        """Where the task is: itself, or the mapped task of which it is an instance, and which one."""
        mapped = self._mapped.get(task)
        return (task, None) if mapped is None else (mapped, task - self._instances[mapped].start)

    def open(self, gone: Iterable[int] | None = None) -> dict[str, tuple[int, Value]]:
        """Have those tasks run again that gave values which are `gone`; None, to begin with: those that did not end
        well. Gives the values that must be readable for what runs again and were not given before, by their keys, each
        with the task that gave it."""
        if gone is None:
            self._open += [task for task in range(self.total_count) if task not in self._kept]
        else:
            self._reopen(gone)
        needed: dict[str, tuple[int, Value]] = {}
        while self._spread_count < len(self._open):
            task = self._open[self._spread_count]
            self._spread_count += 1
            mapped = self._mapped.get(task, task)
            self._reopen(child for child in self._children.get(mapped, ()) if self._kept.get(child) is State.SKIPPED)
            if task not in self._mapped:
                self._need(self._parents.get(task, ()), needed)
            elif mapped in self._kept:
                row = self._row_blobs.pop(task, None)
                needed |= {} if row is None else {row.blob: (mapped, row)}
                splits = self.spec.tasks[mapped].splits or ()
                shared = [each for each in self._parents.get(mapped, ()) if self.spec.tasks[each].name not in splits]
                self._need(shared, needed)
        return needed

    def _need(self, parents: Sequence[int], needed: dict[str, tuple[int, Value]]) -> None:
        for parent in parents:
            for each in (parent, *self._instances.get(parent, ())):
                if each in self._kept and each in self._blobs:
                    value = self._blobs.pop(each)
                    needed[value.blob] = (each, value)

    def _reopen(self, tasks: Iterable[int]) -> None:
        for task in tasks:
            if self._kept.pop(task, None) is not None:
                self._open.append(task)
                self._reopen(self._instances.get(task, ()))
