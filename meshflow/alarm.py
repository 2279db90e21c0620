"""What wakes a thread that waits for descriptors, rung by other threads."""

import os
import threading
from contextlib import suppress


class Alarm:
    """A descriptor that is readable once it has rung. Any thread may ring it at any time, also one that does not know
    yet that it was closed: the descriptor may be another's by then, and is left alone."""

    def __init__(self) -> None:
        """Raises OSError: no descriptors are left."""
        self._fileno = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """The descriptor to wait for; -1 once closed."""
        return self._fileno

    def ring(self) -> None:
        """Wake who waits, or let the next not wait."""
        with self._lock:
            if self._fileno >= 0:
                os.eventfd_write(self._fileno, 1)

    def quiet(self) -> None:
        """Forget that it has rung."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._fileno)

    def close(self) -> None:
        """Let go of the descriptor."""
        with self._lock:
            if self._fileno >= 0:
                os.close(self._fileno)
                self._fileno = -1
