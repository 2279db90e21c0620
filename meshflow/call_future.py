"""The outcome of one call: a `concurrent.futures.Future` that costs little when there are a hundred thousand.

Most of what a `Future` costs, in time and memory, is its condition variable, which is needed only if somebody waits for
it, or wants to be called back, before it has ended. So it is made when it is first asked for.

Invariants:
1. Whether there is a condition is looked at, and it is made, under one lock for all futures. Whoever ends a future
   under that lock has nobody to tell.
2. Once it is there, all goes as in any `Future`.
"""

import threading
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from meshflow.core.calling import Call

T = TypeVar("T")

_making = threading.Lock()


class CallFuture(Future[T], Generic[T]):
    """The outcome of one call, a `concurrent.futures.Future`."""

    is_cached: bool = False
    """Whether it is the result of an earlier call that was kept (`cache=True`)."""

    def __init__(self, call: Call) -> None:
        # Not that of Future, which makes the condition.
        self._lazy_condition: threading.Condition | None = None
        self._state = PENDING
        self._result: Any = None
        self._exception: BaseException | None = None
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self.call = call
        """What it is the outcome of."""

    if not TYPE_CHECKING:  # For type checkers it is the attribute that every Future has.

        @property
        def _condition(self) -> threading.Condition:
            if self._lazy_condition is None:
                with _making:
                    if self._lazy_condition is None:
                        self._lazy_condition = threading.Condition()
            return self._lazy_condition

    def running(self) -> bool:
        """Whether the call is on its way to a node, or runs there."""
        return self.call.has_begun and not self.done()

    def cancel(self) -> bool:
        """Cancel the call if it still waits here. False: it does not; `Client.cancel` ends calls that run, too."""
        if self.call.has_begun and not self.cancelled():
            return False
        if not super().cancel():
            return False
        self.call.is_cancelled = True
        with suppress(RuntimeError):  # It was cancelled before, and who waits for it was told.
            self.set_running_or_notify_cancel()
        return True

    def result(self, timeout: float | None = None) -> T:
        """What the call returned; waits for it, for at most `timeout` seconds.

        Raises:
            TimeoutError: it has not ended by then.
            CancelledError: it was cancelled.
            Whatever the call raised.
        """
        if self._state == FINISHED and self._exception is None:
            result: T = self._result
            return result
        return super().result(timeout)

    def set_result(self, result: T) -> None:
        """The call returned."""
        if not self._end_unseen(result, None):
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """The call raised, or came to nothing."""
        if not self._end_unseen(None, exception):
            super().set_exception(exception)

    def _end_unseen(self, result: Any, exception: BaseException | None) -> bool:
        """End it if nobody has looked closely yet. False: somebody has."""
        with _making:
            if self._lazy_condition is not None or self._state == FINISHED:
                return False
            self._result, self._exception = result, exception
            self._state = FINISHED
            return True
