"""One named queue of jobs that wait for a slot: larger priority first, ties first in, first out.

Removal is lazy: a removed job stays in its line until its turn comes or such jobs outnumber the others.
"""

from collections import deque
from typing import NamedTuple

from meshflow.ids import RunId

_MIN_REMOVED = 64
"""So few removed jobs are not worth being cleaned up."""


class Waiting(NamedTuple):
    """A task of a dag run that waits to be handed out."""

    run: RunId
    task: int


class JobQueue:
    """A priority queue of `Waiting` in which any job can be removed."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[Waiting]] = {}
        """Who came first, by priority; none is empty."""
        self._live: dict[Waiting, int] = {}
        """The priority of each job that was not removed."""
        self._removed: dict[tuple[int, Waiting], int] = {}
        """How many entries of a line are not valid any more. Those of a job come before the one that is."""
        self._removed_count = 0

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, job: Waiting) -> bool:
        return job in self._live

    def push(self, job: Waiting, priority: int) -> None:
        """Add `job`; one that is queued already keeps its place."""
        if job in self._live:
            return
        self._live[job] = priority
        if priority not in self._lines:
            self._lines[priority] = deque()
        self._lines[priority].append(job)

    def pop(self) -> Waiting | None:
        """The job whose turn it is, or None if none waits."""
        while self._lines:
            priority = max(self._lines)
            line = self._lines[priority]
            job = line.popleft()
            if not line:
                del self._lines[priority]
            if not self._removed or not self._was_removed((priority, job)):
                del self._live[job]
                return job
        return None

    def remove(self, job: Waiting) -> None:
        """Take `job` out, if it is queued."""
        priority = self._live.pop(job, None)
        if priority is None:
            return
        entry = (priority, job)
        self._removed[entry] = self._removed.get(entry, 0) + 1
        self._removed_count += 1
        # Jobs of runs that are stopped again and again, on a queue that nobody serves, must not gather here.
        if self._removed_count > len(self._live) + _MIN_REMOVED:
            self._clean_up()

    def _was_removed(self, entry: tuple[int, Waiting]) -> bool:
        """Whether this entry of a line, which has left it, is not valid."""
        count = self._removed.pop(entry, 0)
        if count > 1:
            self._removed[entry] = count - 1
        self._removed_count -= count > 0
        return count > 0

    def _clean_up(self) -> None:
        for priority, line in list(self._lines.items()):
            left = deque(job for job in line if not self._was_removed((priority, job)))
            if left:
                self._lines[priority] = left
            else:
                del self._lines[priority]
