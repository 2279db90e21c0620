"""A table of deadlines: what is due next, without looking at what is not.

A deadline that was moved or dropped stays in the heap until it surfaces, and is then told from a valid one by the
table. The heap is rebuilt when more than half of it is stale, so it stays within twice the table.
"""

import heapq
import math
from typing import Generic, TypeVar

Key = TypeVar("Key")

_MIN_REBUILD = 64
"""Stale entries that are not worth a rebuild."""


class Deadlines(Generic[Key]):
    """Instants by key; earliest first, ties in the order in which they were set."""

    def __init__(self) -> None:
        self._count = 0
        self._entries: dict[Key, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, key: Key, at: float) -> None:
        """Make `key` due at `at`, instead of any earlier arrangement."""
        self._count += 1
        self._entries[key] = (at, self._count)
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 2 * len(self._entries) + _MIN_REBUILD:
            self._heap = [(at, number, key) for key, (at, number) in self._entries.items()]
            heapq.heapify(self._heap)

    def drop(self, key: Key) -> None:
        """Forget `key`, if it is there."""
        self._entries.pop(key, None)

    def next_at(self) -> float:
        """When the first key is due; infinity if there is none."""
        heap, entries = self._heap, self._entries
        while heap:
            at, number, key = heap[0]
            if entries.get(key) == (at, number):
                return at
            heapq.heappop(heap)
        return math.inf

    def pop_due(self, now: float) -> list[Key]:
        """Take out the keys that are due, earliest first."""
        due: list[Key] = []
        while self.next_at() <= now:
            key = heapq.heappop(self._heap)[2]
            del self._entries[key]
            due.append(key)
        return due
