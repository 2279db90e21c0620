"""Whose turn it is: functions that wait on queues, those of the largest priority first, and of these one after the
other. What is done for a function does not grow with the number of functions."""

from collections import OrderedDict
from collections.abc import Iterator

from meshflow.core.calling import Function


class Turns:
    """Functions in line, by queue. `has_one_queue`: all are in the line of the queue "", wherever they wait."""

    def __init__(self, *, has_one_queue: bool = False) -> None:
        self._has_one_queue = has_one_queue
        # Not plain dicts: the first key of one from which many were taken is looked for behind the gaps they left.
        self._queues: dict[str, dict[int, OrderedDict[Function, None]]] = {}

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that have functions."""
        return tuple(self._queues)

    def join(self, function: Function) -> None:
        """A function is in line: as last, unless it is there already."""
        self._queues.setdefault(self._queue_of(function), {}).setdefault(function.priority, OrderedDict())[function] = (
            None
        )

    def leave(self, function: Function) -> None:
        """A function is not in line any more."""
        queue = self._queue_of(function)
        priorities = self._queues.get(queue, {})
        line = priorities.get(function.priority, OrderedDict())
        line.pop(function, None)
        if not line and priorities.pop(function.priority, None) is not None and not priorities:
            del self._queues[queue]

    def had_turn(self, function: Function) -> None:
        """Others go before it from here on."""
        self.leave(function)
        self.join(function)

    def in_order(self, queue: str = "") -> Iterator[Function]:
        """The functions of a queue, the next first; nothing may be changed meanwhile."""
        for _, line in sorted(self._queues.get(queue, {}).items(), reverse=True):
            yield from line

    def all_of(self, queue: str) -> dict[Function, None]:
        """All functions of a queue."""
        return {function: None for line in self._queues.get(queue, {}).values() for function in line}

    def first(self, queue: str) -> Function:
        """The next of a queue that has functions."""
        return next(self.in_order(queue))

    def _queue_of(self, function: Function) -> str:
        return "" if self._has_one_queue else function.queue
