"""The network between simulated nodes: delay, loss, doubles, stragglers, slow nodes, and cuts.

Messages from one node to another keep their order, as on a real connection, unless `is_unordered`: the core works best
with order, but must not rely on it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshflow.ids import NodeId


@dataclass(slots=True)
class Network:
    """Decides the fate of each message. Shares are of 1; delays are seconds, drawn evenly between the two bounds."""

    rng: random.Random
    min_delay_s: float = 0.0002
    max_delay_s: float = 0.002
    loss: float = 0.0
    doubles: float = 0.0
    stragglers: float = 0.0
    """Share of copies that take up to `straggle_s` in place of the usual delay."""
    straggle_s: float = 3.0
    is_unordered: bool = False
    """Whether messages overtake each other."""
    cuts: dict[tuple[NodeId, NodeId], None] = field(default_factory=dict)
    """`{(from, to): None}`: messages this way are lost."""
    lag_s: dict[NodeId, float] = field(default_factory=dict)
    """Slow nodes: each message from or to one takes up to so many seconds longer."""
    sent_count: int = 0
    lost_count: int = 0

    _last_at: dict[tuple[NodeId, NodeId], float] = field(default_factory=dict)

    def arrivals(self, sender: NodeId, to: NodeId, now: float) -> list[float]:
        """When the copies of one message arrive: none if it is lost, two if it is doubled."""
        self.sent_count += 1
        if (sender, to) in self.cuts or (self.loss and self.rng.random() < self.loss):
            self.lost_count += 1
            return []
        copies = 2 if self.doubles and self.rng.random() < self.doubles else 1
        return [self._arrival(sender, to, now + self._delay_s(sender, to)) for _ in range(copies)]

    def _arrival(self, sender: NodeId, to: NodeId, at: float) -> float:
        if self.is_unordered:
            return at
        self._last_at[(sender, to)] = at = max(at, self._last_at.get((sender, to), 0.0))
        return at

    def _delay_s(self, sender: NodeId, to: NodeId) -> float:
        is_straggler = self.stragglers and self.rng.random() < self.stragglers
        delay_s = self.rng.uniform(self.min_delay_s, self.straggle_s if is_straggler else self.max_delay_s)
        for node in (sender, to):
            if node in self.lag_s:
                delay_s += self.rng.uniform(0.0, self.lag_s[node])
        return delay_s

    def cut(self, senders: Sequence[NodeId], receivers: Sequence[NodeId]) -> None:
        """Lose everything from any of `senders` to any of `receivers` until `heal`."""
        self.cuts.update(((sender, to), None) for sender in senders for to in receivers if sender != to)

    def heal(self) -> None:
        """Mend all cuts, and let all nodes be as quick as they were."""
        self.cuts.clear()
        self.lag_s.clear()
