"""The order in which peers are probed, and random picks among them.

Invariants:
1. Each peer is probed once per round, in an order drawn anew for each round, so a dead one is found within two rounds
   (SWIM, section 4.3).
2. A newcomer takes a random place in the round, so that many of them cannot push others back.
3. Each step costs the same in a mesh of ten and of ten thousand: the order is drawn one place at a time (Fisher and
   Yates), and peers that are gone are taken out when they are met, or all at once when they are half of the list.
"""

import random
from collections.abc import Iterable

from meshflow.ids import NodeId


class Rotation:
    """The living peers of one node."""

    def __init__(self, rng: random.Random, peers: Iterable[NodeId] = ()) -> None:
        self._rng = rng
        self._order = list(peers)
        self._next = 0
        """Places before this one were probed in this round."""
        self._gone: dict[NodeId, None] = {}
        """Peers that are still in the list but must not be picked."""

    def __len__(self) -> int:
        return len(self._order) - len(self._gone)

    def add(self, peer: NodeId) -> None:
        """Let `peer`, which is not among the living, take part."""
        if peer in self._gone:
            del self._gone[peer]
            return
        self._order.append(peer)
        self._swap(self._draw(0), len(self._order) - 1)

    def remove(self, peer: NodeId) -> None:
        """Pick `peer`, which is among the living, no more."""
        self._gone[peer] = None
        if 2 * len(self._gone) > len(self._order):
            probed = sum(peer not in self._gone for peer in self._order[: self._next])
            self._order = [peer for peer in self._order if peer not in self._gone]
            self._next = probed
            self._gone = {}

    def next(self) -> NodeId | None:
        """The peer to probe now, or None if there is no peer."""
        while len(self):
            if self._next >= len(self._order):
                self._next = 0
            place = self._draw(self._next)
            peer = self._order[place]
            if peer in self._gone:
                self._swap(place, len(self._order) - 1)
                self._order.pop()
                del self._gone[peer]
                continue
            self._swap(place, self._next)
            self._next += 1
            return peer
        return None

    def sample(self, count: int, without: NodeId | None = None) -> list[NodeId]:
        """Up to `count` different random peers, none of them `without`."""
        if len(self) <= 4 * count:
            peers = [peer for peer in self._order if peer != without and peer not in self._gone]
            return self._rng.sample(peers, min(count, len(peers)))
        # More than half of the places are good, and of those at most a quarter is taken already.
        chosen: list[NodeId] = []
        while len(chosen) < count:
            peer = self._order[self._draw(0)]
            if peer != without and peer not in self._gone and peer not in chosen:
                chosen.append(peer)
        return chosen

    def _draw(self, low: int) -> int:
        return low + int(self._rng.random() * (len(self._order) - low))

    def _swap(self, one: int, other: int) -> None:
        order = self._order
        order[one], order[other] = order[other], order[one]
