"""The credit that a node has out: how many more jobs each owner may send it.

Credit is a running total of jobs granted since the two met, so that a lost or doubled message does no harm; what was
granted and has not arrived is outstanding.

Invariants:
1. Owners that said they have work are granted credit in turns, for slots that are free. Without any, it rests with the
   owner that gave work last, so that its next job needs no offer; another owner's offer takes back what it needs.
2. Credit for more than the free slots goes only to an owner that has more than a job for each node, and not for more
   than that: a job must not be bound to a busy slot while another may be idle.
3. Only owners that offered work have an entry here, until they are gone. What is done for a message does not grow with
   their number.

Source: TCP's window; the share of each node is that of guided self-scheduling (Polychronopoulos & Kuck 1987).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from meshflow.ids import NodeId


@dataclass(slots=True)
class _Owner:
    granted: int = 0
    received: int = 0
    share: int = 0
    """How many jobs it said wait there for each node, rounded up: it is hungry. 0 once it was given some credit."""
    turn: int = 0
    """Its place in line: since it got the odd credit of a deal, it is behind those that got it before."""
    granted_at: float = -math.inf
    """When credit was last granted and told; infinity: what it has is to be told again now."""

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.received)


class Credit:
    """What each owner was granted. `linger_s`: unused credit is left with an owner at least so long before another gets
    it."""

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        self._owners: dict[NodeId, _Owner] = {}
        self._hungry: dict[NodeId, _Owner] = {}
        self._lent: dict[NodeId, _Owner] = {}
        """Those with credit outstanding."""
        self._untold: dict[NodeId, _Owner] = {}
        """Those whose totals must be told."""
        self._ahead = 0
        """Of what is outstanding, at most so much was granted beyond the free slots."""
        self._turn = 0
        self._last: NodeId | None = None
        self._ripe_at = math.inf

    def offered(self, owner: NodeId, share: int) -> None:
        """The owner says that it has work for us, `share` jobs for each node. If it had credit for that, it has not
        heard so, or what it sent got lost: it is told the totals again. With 0 it says that it has none any more, and
        leaves what credit it has to others at once."""
        entry = self._owners.setdefault(owner, _Owner())
        self._note_share(owner, entry, share)
        if not entry.share:
            entry.granted_at = -math.inf
        elif entry.outstanding:
            self._untold[owner] = entry
            entry.granted_at = math.inf

    def arrived(self, owner: NodeId, count: int, share: int) -> None:
        """So many jobs came from the owner; `share` as in `offered`, 0: no more wait there."""
        entry = self._owners.get(owner)
        if entry is not None:
            entry.received += count
            self._note_share(owner, entry, share)
            self._last = owner
            if not entry.outstanding:
                self._lent.pop(owner, None)

    def _note_share(self, owner: NodeId, entry: _Owner, share: int) -> None:
        entry.share = max(0, share)
        if entry.share:
            self._hungry.setdefault(owner, entry)
        else:
            self._hungry.pop(owner, None)

    def may_wait(self, owner: NodeId) -> bool:
        """Whether a job that has come, and for which no slot is free, was meant to wait here. If not, it or another one
        crossed with the withdrawal of the credit for it. What an owner sends that we do not know is not judged."""
        self._ahead -= 1
        return self._ahead >= 0 or owner not in self._owners

    def gone(self, owner: NodeId) -> None:
        """The owner is dead or has left; its credit is void."""
        for entries in (self._owners, self._hungry, self._lent, self._untold):
            entries.pop(owner, None)
        if self._last == owner:
            self._last = None

    def totals(self, owner: NodeId) -> tuple[int, int]:
        """Granted and received, to be told with something else."""
        entry = self._owners.get(owner)
        if entry is None:
            return 0, 0
        self._untold.pop(owner, None)
        return entry.granted, entry.received

    def untold(self) -> Iterator[NodeId]:
        """Owners whose totals have changed since they were told."""
        return iter(self._untold)

    def grant(self, free: int, ahead: int, now: float) -> None:
        """Grant what there is room for: `free` slots, less than 0 if jobs wait for one, and `ahead` jobs beyond; what
        is outstanding counts."""
        for entry in self._lent.values():
            entry.granted_at = min(entry.granted_at, now)
        for entry in self._untold.values():
            entry.granted_at = now  # what was not told yet, because messages gather, cannot be used yet
        self._share_out(free, ahead, now)
        has_unserved = any(owner not in self._lent for owner in self._hungry)
        lent_at = [entry.granted_at for entry in self._lent.values()] if has_unserved else []
        self._ripe_at = min(lent_at) + self._linger_s if lent_at else math.inf

    def _share_out(self, free: int, ahead: int, now: float) -> None:
        lent = sum(entry.outstanding for entry in self._lent.values())
        unserved = sum(entry.share for owner, entry in self._hungry.items() if owner not in self._lent)
        if unserved and lent:
            lent -= self._withdraw(min(unserved, free + ahead) - (free - lent), now)
        self._ahead = max(0, min(self._ahead, lent))
        spare = free - lent
        if self._hungry:
            self._deal(max(0, spare), ahead + min(0, spare), now)
        elif self._last is not None and spare > 0:
            last = self._owners.get(self._last)
            if last is not None:
                self._give(self._last, last, spare, now)

    def _deal(self, spare: int, ahead: int, now: float) -> None:
        line = sorted(self._hungry.items(), key=lambda item: (item[0] in self._lent, item[1].turn))
        share, odd = divmod(spare, len(line))
        for index, (owner, entry) in enumerate(line):
            count = share
            if index < odd:
                count += 1
                self._turn += 1
                entry.turn = self._turn
            more = max(0, min(entry.share - max(1, count), -(-ahead // (len(line) - index))))
            ahead -= more
            self._ahead += more
            if count + more:
                self._give(owner, entry, count + more, now)

    def _withdraw(self, count: int, now: float) -> int:
        """Take back up to `count` of what owners have left unused for `linger_s`: they have no work, whatever they said
        before."""
        taken = 0
        for owner, entry in list(self._lent.items()):
            if taken < count and entry.granted_at + self._linger_s <= now:
                less = min(entry.outstanding, count - taken)
                taken += less
                entry.granted -= less
                self._untold[owner] = entry
                self._note_share(owner, entry, 0)
                if not entry.outstanding:
                    del self._lent[owner]
        return taken

    def _give(self, owner: NodeId, entry: _Owner, count: int, now: float) -> None:
        entry.granted = max(entry.granted, entry.received) + count
        entry.granted_at = now
        self._lent[owner] = self._untold[owner] = entry
        self._note_share(owner, entry, 0)

    def deadline(self) -> float:
        """When `grant` may find more to give without any input."""
        return self._ripe_at
