"""How much a node trusts its own judgement of others.

A node that misses answers, that has to refute suspicions, or whose loop runs late is probably the slow one, so it
gives others more time: its probes take `score + 1` times as long. Success brings the score back, a step at a time.

Source: Lifeguard (arXiv 1707.00788), Local Health Multiplier and LHA-Probe.
"""


class LocalHealth:
    """A score from 0 (well) to `max_score` (do not trust me)."""

    def __init__(self, max_score: int) -> None:
        self._max_score = max_score
        self.score = 0

    @property
    def multiplier(self) -> int:
        """What to multiply probe intervals and timeouts with."""
        return self.score + 1

    def improve(self) -> None:
        """A probe of ours was answered."""
        self.score = max(0, self.score - 1)

    def worsen(self) -> None:
        """Something went wrong that may well be our own fault."""
        self.score = min(self._max_score, self.score + 1)
