"""The network between simulated nodes: delay, loss, doubles, and cuts that a schedule of faults makes and mends."""

import random
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
    cuts: dict[tuple[NodeId, NodeId], None] = field(default_factory=dict)
    """`{(from, to): None}`: messages this way are lost."""
    sent_count: int = 0
    lost_count: int = 0

    def delays(self, sender: NodeId, to: NodeId) -> list[float]:
        """When the copies of one message arrive, in seconds from now: none if it is lost, two if it is doubled."""
        self.sent_count += 1
        if (sender, to) in self.cuts or self.rng.random() < self.loss:
            self.lost_count += 1
            return []
        copies = 2 if self.rng.random() < self.doubles else 1
        return [self.rng.uniform(self.min_delay_s, self.max_delay_s) for _ in range(copies)]

    def cut(self, sender: NodeId, to: NodeId) -> None:
        """Lose everything from `sender` to `to` until `heal`."""
        self.cuts[(sender, to)] = None

    def heal(self) -> None:
        """Mend all cuts."""
        self.cuts.clear()
