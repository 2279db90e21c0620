"""What a host lacks for the moment: descriptors, memory, processes. Who meets with it waits, and tries again."""

import asyncio
import errno
from collections.abc import Callable

from meshflow.runtime.event_log import log_problem

_PASSING = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.ETOOMANYREFS,
)
"""Errors of this moment and this host, and no fault of the task."""

_PAUSE_S = 1.0


class Want:
    """Whether task processes cannot be had now; `look_again` is called when that may be over."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look_again: Callable[[], None]) -> None:
        self._loop = loop
        self._look_again = look_again
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_felt(self) -> bool:
        """Whether something was lacking a moment ago."""
        return self._timer is not None

    def is_cause(self, problem: OSError) -> bool:
        """Whether this error will pass. If so, it is told, and what failed is to be tried again at `look_again`."""
        if problem.errno not in _PASSING:
            return False
        if self._timer is None:
            log_problem(f"tasks wait, for no task process can be given any: {problem}")
            self._timer = self._loop.call_later(_PAUSE_S, self._end)
        return True

    def close(self) -> None:
        """Don't look again."""
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self._timer = None
        self._look_again()
