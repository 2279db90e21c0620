"""Whose turn it is: functions that wait on queues, those of the largest priority first, and of these one after the
other. What is done for a function does not grow with the number of functions."""

from collections import OrderedDict

from meshflow.core.calling import Function


class Turns:
    """Functions in line, by queue."""

    def __init__(self) -> None:
        # Not plain dicts: the first key of one from which many were taken is looked for behind the gaps they left.
        self._queues: dict[str, dict[int, OrderedDict[Function, None]]] = {}

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that have functions."""
        return tuple(self._queues)

    def join(self, function: Function) -> None:
        """A function is in line: as last, unless it is there already."""
        self._queues.setdefault(function.queue, {}).setdefault(function.priority, OrderedDict())[function] = None

    def leave(self, function: Function) -> None:
        """A function is not in line any more."""
        priorities = self._queues.get(function.queue, {})
        line = priorities.get(function.priority, OrderedDict())
        line.pop(function, None)
        if not line and priorities.pop(function.priority, None) is not None and not priorities:
            del self._queues[function.queue]

    def had_turn(self, function: Function) -> None:
        """Others go before it from here on."""
        self.leave(function)
        self.join(function)

    def all_of(self, queue: str) -> dict[Function, None]:
        """All functions of a queue."""
        return {function: None for line in self._queues.get(queue, {}).values() for function in line}

    def first(self, queue: str) -> Function:
        """The next of a queue that has functions."""
        priorities = self._queues[queue]
        return next(iter(priorities[max(priorities)]))
