"""Addresses by which a node joins, kept for as long as it runs.

A seed that is not the address of a living member is contacted again and again, less and less often. That joins a node
whose seed was not up yet, and it heals a partition that outlasted all memory of the other side.
"""

from collections.abc import Iterable

MAX_SEEDS = 64
"""More than anyone lists; further ones are ignored."""


class Seeds:
    """The seeds of one node, and when each is due."""

    def __init__(self, retry_s: float, retry_max_s: float) -> None:
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._due_at: dict[str, float] = {}
        self._delay_s: dict[str, float] = {}

    def add(self, addresses: Iterable[str], now: float) -> None:
        """Contact these from now on; known ones at once again."""
        for address in addresses:
            if address in self._due_at or len(self._due_at) < MAX_SEEDS:
                self._due_at[address] = now
                self._delay_s[address] = self._retry_s

    def due(self, now: float) -> list[str]:
        """Seeds whose time has come; each must be told to `wait` or to `rest`."""
        return [address for address, at in self._due_at.items() if at <= now]

    def wait(self, address: str, now: float) -> None:
        """It was contacted: again after a delay, longer each time."""
        self._due_at[address] = now + self._delay_s[address]
        self._delay_s[address] = min(2 * self._delay_s[address], self._retry_max_s)

    def rest(self, address: str, now: float) -> None:
        """It belongs to a living member: no need for now, and no delay when there is."""
        self._due_at[address] = now + self._retry_max_s
        self._delay_s[address] = self._retry_s

    def next_at(self) -> float:
        """When the first seed is due; infinity if there are none."""
        return min(self._due_at.values(), default=float("inf"))
