"""Which members there is news of, and how often it still has to be sent.

The queue holds members, not messages: what is sent is what is believed when it is sent, so newer news replaces older by
itself and the queue is never longer than the view.

Invariants:
1. What was sent least often goes first; of equals, what has waited longest.
2. Each update is sent `transmit_limit` times and then forgotten; with high probability everyone has it by then, and
   sync finds those who have not.

Source: infection-style dissemination (SWIM, section 4.1) with a count of transmits per update.
"""

import math

from meshflow.ids import NodeId


def transmit_limit(mult: float, member_count: int) -> int:
    """How often one node sends one update in a mesh of `member_count`: grows with the logarithm, at least 1.

    Without the one beside the logarithm, one change in twenty missed somebody in a mesh of nine.
    """
    return max(1, math.ceil(mult * (1 + math.log10(member_count + 1))))


class GossipQueue:
    """Members with news, by how often it was sent."""

    def __init__(self) -> None:
        self._levels: list[dict[NodeId, None]] = [{}]
        """`_levels[n]` holds those that were sent n times."""
        self._level_of: dict[NodeId, int] = {}

    def __len__(self) -> int:
        return len(self._level_of)

    def add(self, member: NodeId) -> None:
        """There is news of `member`, not sent so far."""
        self.drop(member)
        self._levels[0][member] = None
        self._level_of[member] = 0

    def drop(self, member: NodeId) -> None:
        """Spread nothing about `member`."""
        level = self._level_of.pop(member, None)
        if level is not None:
            del self._levels[level][member]

    def take(self, count: int, limit: int) -> list[NodeId]:
        """Up to `count` members to send news of now; those sent `limit` times with this are forgotten."""
        taken = self._first(count)
        for member in taken:
            level = self._level_of[member] + 1
            self.drop(member)
            if level < limit:
                if level == len(self._levels):
                    self._levels.append({})
                self._levels[level][member] = None
                self._level_of[member] = level
        return taken

    def _first(self, count: int) -> list[NodeId]:
        first: list[NodeId] = []
        for level in self._levels:
            for member in level:
                if len(first) == count:
                    return first
                first.append(member)
        return first
