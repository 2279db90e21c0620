"""Which runs are to be looked at in a flush: those that were touched, and those whose time has come.

A run's times are a lower bound: one that was noted and is of no interest any more costs a look, and no entry is ever
removed before it is due.
"""

import heapq
import math

from meshflow.ids import RunId


class Agenda:
    """Runs with something to do, now or later."""

    def __init__(self) -> None:
        self._touched: dict[RunId, None] = {}
        self._due: list[tuple[float, RunId]] = []
        self._due_at: dict[RunId, float] = {}
        """The earliest time in `_due` that counts, by run."""

    def touch(self, run: RunId) -> None:
        """Something happened in the run."""
        self._touched[run] = None

    def touch_due(self, now: float) -> None:
        """Touch the runs whose time has come."""
        while self._due and self._due[0][0] <= now:
            at, run = heapq.heappop(self._due)
            if self._due_at.get(run) == at:
                del self._due_at[run]
                self._touched[run] = None

    @property
    def touched(self) -> tuple[RunId, ...]:
        """The runs that were touched since `take`, in the order in which they were."""
        return tuple(self._touched)

    def take(self) -> tuple[RunId, ...]:
        """The same, which then count as looked at."""
        touched, self._touched = self._touched, {}
        return tuple(touched)

    def look_at(self, run: RunId, at: float) -> None:
        """Have the run touched at `at`; infinity: not at all."""
        if at < self._due_at.get(run, math.inf):
            self._due_at[run] = at
            heapq.heappush(self._due, (at, run))

    def drop(self, run: RunId) -> None:
        """The run is none of ours any more."""
        self._touched.pop(run, None)
        self._due_at.pop(run, None)

    def deadline(self) -> float:
        """When `touch_due` may find something."""
        return self._due[0][0] if self._due else math.inf
