"""After a take-over: which members have told the new owner what they hold of its run, and which tasks wait for that.

1. A task is held back until every member has told, for one of them may be running it already; but no longer than until
   `until`, for a member may be dead.
2. A member that has not told may not have heard of the take-over. It keeps what it holds for the owner before, so what
   it does not list is not lost.
"""

import math
from collections.abc import Sequence

from meshflow.ids import NodeId


class Inquiry:
    """The inquiry of one take-over; of a run that nobody drove before there is none, and nothing waits."""

    def __init__(self) -> None:
        self._untold: dict[NodeId, None] = {}
        self._held_back: list[int] = []
        self._until = -math.inf
        self._is_over = True

    def begin(self, members: Sequence[NodeId], until: float) -> None:
        """These members are asked now."""
        self._untold = dict.fromkeys(members)
        self._until = until
        self._is_over = not self._untold

    def awaits(self, node: NodeId) -> bool:
        """Whether `node` was asked and has not told."""
        return node in self._untold

    def settle(self, node: NodeId) -> None:
        """`node` has told, or never will."""
        self._untold.pop(node, None)
        self._is_over = self._is_over or not self._untold

    def hold_back(self, tasks: Sequence[int]) -> bool:
        """Keep these tasks until the inquiry is over; False if it is."""
        if not self._is_over:
            self._held_back += tasks
        return not self._is_over

    def release(self, now: float) -> list[int]:
        """The tasks that have waited long enough."""
        if not self._held_back or (not self._is_over and now < self._until):
            return []
        self._is_over = True
        released, self._held_back = self._held_back, []
        return released

    def deadline(self) -> float:
        """When there may be something to release."""
        return self._until if self._held_back else math.inf
