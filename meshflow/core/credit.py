"""The credit that a node has out: how many more jobs each owner may send it.

Credit is a running total of jobs granted since the two met, so that a lost or doubled message does no harm; what was
granted and has not arrived is outstanding.

Invariants:
1. Owners that said they have work are granted credit in turns. Without any, spare credit rests with the owner that gave
   work last, so that its next job needs no offer; another owner's offer takes it back.
2. Only owners that offered work have an entry here, until they are gone.

Source: TCP's window.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from meshflow.ids import NodeId


@dataclass(slots=True)
class _Owner:
    granted: int = 0
    received: int = 0
    is_hungry: bool = False
    """It said that more waits than it has credit for; not so any more once it was given some."""
    granted_at: float = -math.inf
    """When credit was last granted and told; infinity: what it has is to be told again now."""
    is_dirty: bool = False
    """Whether its totals must be told."""

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.received)

    @property
    def is_unserved(self) -> bool:
        return self.is_hungry and not self.outstanding


class Credit:
    """What each owner was granted. `linger_s`: unused credit is left with an owner at least so long before another gets
    it."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        self._owners: dict[NodeId, _Owner] = {}
        self._last: NodeId | None = None
        self._ripe_at = math.inf

    def offered(self, owner: NodeId) -> None:
        """The owner says that it has work for us. If it had credit for that, it has not heard so, or what it sent got
        lost: it is told the totals again."""
        entry = self._owners.setdefault(owner, _Owner())
        entry.is_hungry = True
        if entry.outstanding:
            entry.is_dirty, entry.granted_at = True, math.inf

    def arrived(self, owner: NodeId, count: int, *, has_more: bool) -> None:
        """So many jobs came from the owner."""
        entry = self._owners.get(owner)
        if entry is not None:
            entry.received += count
            entry.is_hungry = has_more
            self._last = owner

    def gone(self, owner: NodeId) -> None:
        """The owner is dead or has left; its credit is void."""
        self._owners.pop(owner, None)
        if self._last == owner:
            self._last = None

    def totals(self, owner: NodeId) -> tuple[int, int]:
        """Granted and received, to be told with something else."""
        entry = self._owners.get(owner)
        if entry is None:
            return 0, 0
        entry.is_dirty = False
        return entry.granted, entry.received

    def untold(self) -> Iterator[NodeId]:
        """Owners whose totals have changed since they were told."""
        return (owner for owner, entry in self._owners.items() if entry.is_dirty)

    def grant(self, room: int, now: float) -> None:
        """Grant what there is room for: `room` jobs in all, what is outstanding included."""
        entries = self._owners.values()
        for entry in entries:
            # What was not told yet, because messages gather, cannot be used yet.
            entry.granted_at = now if entry.is_dirty else min(entry.granted_at, now)
        self._share_out(room, now)
        lent_at = [entry.granted_at for entry in entries if entry.outstanding]
        has_unserved = any(entry.is_unserved for entry in entries)
        self._ripe_at = min(lent_at) + self._linger_s if lent_at and has_unserved else math.inf

    def _share_out(self, room: int, now: float) -> None:
        spare = room - sum(entry.outstanding for entry in self._owners.values())
        if spare <= 0 and any(entry.is_unserved for entry in self._owners.values()):
            spare += self._withdraw(now)
        if spare <= 0:
            return
        hungry = [entry for entry in self._owners.values() if entry.is_hungry]
        if not hungry:
            last = self._owners.get(self._last) if self._last is not None else None
            if last is not None:
                self._give(last, spare, now)
            return
        hungry.sort(key=lambda entry: not entry.is_unserved)
        share, rest = divmod(spare, len(hungry))
        for index, entry in enumerate(hungry):
            count = share + (1 if index < rest else 0)
            if count:
                self._give(entry, count, now)
        # The owner that was first in line goes to its end, so that odd credit goes round.
        first = next(iter(self._owners))
        self._owners[first] = self._owners.pop(first)

    def _withdraw(self, now: float) -> int:
        """Take back what owners have left unused for `linger_s`: they have no work, whatever they said before."""
        taken = 0
        for entry in self._owners.values():
            if entry.outstanding and entry.granted_at + self._linger_s <= now:
                taken += entry.outstanding
                entry.granted = entry.received
                entry.is_dirty, entry.is_hungry = True, False
        return taken

    def _give(self, entry: _Owner, count: int, now: float) -> None:
        entry.granted = max(entry.granted, entry.received) + count
        entry.granted_at = now
        entry.is_dirty = True
        entry.is_hungry = False

    def deadline(self) -> float:
        """When `grant` may find more to give without any input."""
        return self._ripe_at
