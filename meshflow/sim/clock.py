"""Virtual time: a heap of what is going to happen, and the instant that it is now."""

import heapq
from collections.abc import Callable


class Clock:
    """Time passes only in `run`, from one action to the next. Actions of one instant happen in the order in which they
    were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""
        self.step_count = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Have `action` called `seconds` from now."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + seconds, self._count, action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None, every_s: float = 0.01) -> bool:
        """Let at most `seconds` pass, less if `until` holds, which is looked at every `every_s`. Gives whether it
        does."""
        end = self.now + seconds
        while until is None or not until():
            look_at = end if until is None else min(end, self.now + every_s)
            while self._heap and self._heap[0][0] <= look_at:
                self.now, _, action = heapq.heappop(self._heap)
                self.step_count += 1
                action()
            self.now = look_at
            if look_at >= end:
                return until is None or until()
        return True
