"""Which reports of a dag run its owner has taken, and which of them it has still to acknowledge.

Invariants:
1. A report is taken once, in the order of its number; after a gap nothing is, so that it is sent again.
2. While many attempts are under way an acknowledgement may wait for others: a message for each append and node would
   cost more than the tasks. It never waits for as long as a node waits before it sends again.
"""

import math
from collections.abc import Sequence

from meshflow.core.kept import size_of
from meshflow.core.messages import Report, Reports
from meshflow.ids import NodeId

_MAX_NUMBER = 2**62
"""Reports are numbered below; one that goes on from here still fits 64 bits."""

_GATHER_S = 0.05
"""How long acknowledgements may wait, in seconds."""

_MAX_BYTES = 1024 * 1024
"""With so much in the reports none waits: nodes send no more than eight times this ahead of acknowledgements."""


class Receipts:
    """The reports of all nodes, as the owner of one dag run has them."""

    def __init__(self) -> None:
        self._seen: dict[NodeId, int] = {}
        self._owed: dict[NodeId, None] = {}
        self._owed_bytes = 0
        self._told_at = -math.inf
        self._due_at = math.inf
        """When those that wait are due."""

    def take(self, sender: NodeId, message: Reports) -> Sequence[Report]:
        """Those that were not taken before."""
        seen = max(self._seen.get(sender, 0), message.acknowledged - 1)
        if message.first > min(seen + 1, _MAX_NUMBER):
            return ()
        new = message.reports[max(0, seen + 1 - message.first) :]
        self._seen[sender] = max(seen, message.first + len(message.reports) - 1)
        self._owed[sender] = None
        self._owed_bytes += sum(map(size_of, new))
        return new

    def gone(self, node: NodeId) -> None:
        """The node is dead and wants no word."""
        self._seen.pop(node, None)
        self._owed.pop(node, None)

    def due(self, now: float, *, is_busy: bool) -> list[tuple[NodeId, int]]:
        """Whom to tell, and below which number all reports are here; they count as told. `is_busy`: whether many
        attempts are under way."""
        due_at = self._told_at + _GATHER_S if self._owed_bytes < _MAX_BYTES else -math.inf
        if is_busy and self._owed and now < due_at:
            self._due_at = due_at
            return []
        self._due_at = math.inf
        owed = [(node, self._seen[node] + 1) for node in self._owed]
        self._owed.clear()
        self._owed_bytes = 0
        if owed:
            self._told_at = now
        return owed

    def deadline(self) -> float:
        """When `due` has something that it held back."""
        return self._due_at
