"""Whose turn it is to write to the embedded store: first come, first served among the processes of a host.

SQLite alone lets waiting writers ask again and again, and whoever asks at the right moment wins: of four busy processes
one was seen to wait for three seconds while another committed two thousand batches. The kernel's queue of waiters for
a `flock` is fair, and wakes the next one at once. This is about fairness alone: SQLite's own lock keeps the file safe.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meshflow.errors import StoreUnavailable


class Turns:
    """Turns at the store at `path`; who waits for longer than `wait_s` seconds gives up."""

    def __init__(self, path: Path, wait_s: float) -> None:
        self._path = path
        self._lock_path = path.with_name(path.name + ".lock")
        self._wait_s = wait_s

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Hold the turn.

        Raises:
            StoreUnavailable: it did not come in time, or the lock file cannot be opened.
        """
        try:
            descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StoreUnavailable(f"the store {self._path} cannot be locked: {problem}") from problem
        if not _take(descriptor, self._wait_s):
            raise StoreUnavailable(
                f"the store {self._path} cannot be used now: "
                f"another process has been writing to it for {self._wait_s:g} seconds"
            )
        try:
            yield
        finally:
            os.close(descriptor)


def _take(descriptor: int, wait_s: float) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        waiter = _Waiter(descriptor)
        threading.Thread(target=waiter.wait, name="meshflow-store-turn", daemon=True).start()
        return waiter.has_come(wait_s)


class _Waiter:
    """Waits in the kernel, which knows no timeout, on behalf of someone who has one; who gave up leaves the descriptor
    to it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._come = threading.Event()
        self._is_given_up = False

    def wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._mutex:
            if self._is_given_up:
                os.close(self._descriptor)
            self._come.set()

    def has_come(self, wait_s: float) -> bool:
        if self._come.wait(wait_s):
            return True
        with self._mutex:
            self._is_given_up = not self._come.is_set()
            return not self._is_given_up
