"""What makes calls on a mesh, as those see it who submit them."""

from collections.abc import Sequence
from typing import Protocol

from meshflow.core.calling import Call


class CallMaker(Protocol):
    """Makes calls in a thread of its own; `runtime.caller_thread.CallerThread` is one."""

    def make(self, calls: Sequence[Call], code: bytes) -> None:
        """Have calls of one function made, whose pickled code is `code`; the `mark` of each is its future, or
        has at least `set_result` and `set_exception` of one."""

    def end(self, calls: Sequence[Call]) -> None:
        """Cancel the futures of calls, and end the calls even if they run."""

    def close(self) -> None:
        """End all that has not ended, and let go."""
