"""One named queue of jobs that wait for a slot: larger priority first, ties first in, first out.

Removal is lazy: a removed job stays in the heap, unreachable, until it surfaces or such jobs outnumber the others.
"""

import heapq
from dataclasses import dataclass

from meshflow.ids import RunId

_MIN_REMOVED = 64
"""A heap this small is not worth being cleaned up."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task of a dag run that waits to be handed out."""

    run: RunId
    task: int


class JobQueue:
    """A priority queue of `Waiting` in which any job can be removed."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Waiting]] = []
        self._live: dict[Waiting, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._live)

    def push(self, job: Waiting, priority: int) -> None:
        """Add `job`; one that is queued already keeps its place."""
        if job in self._live:
            return
        self._count += 1
        self._live[job] = self._count
        heapq.heappush(self._heap, (-priority, self._count, job))

    def pop(self) -> Waiting | None:
        """The job whose turn it is, or None if none waits."""
        while self._heap:
            _, number, job = heapq.heappop(self._heap)
            if self._live.get(job) == number:
                del self._live[job]
                return job
        return None

    def remove(self, job: Waiting) -> None:
        """Take `job` out, if it is queued."""
        if self._live.pop(job, None) is None:
            return
        # Jobs of runs that are stopped again and again, on a queue that nobody serves, must not gather here.
        if len(self._heap) > 2 * len(self._live) + _MIN_REMOVED:
            self._heap = [entry for entry in self._heap if self._live.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)
