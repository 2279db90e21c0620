"""The clients whose calls a node may have: they are no members, so nobody tells when one is gone.

A client that has calls here says something at least whenever it is told what is held of it (`Holding`), once a second.
"""

from meshflow.ids import NodeId

SILENT_S = 30.0
"""A client that says nothing for so long is taken to be gone: longer than a program that holds the interpreter, or a
laptop between two networks, is silent for, and not too long for a task process to work for nobody."""


class Callers:
    """When each was heard of last."""

    def __init__(self) -> None:
        self._heard_at: dict[NodeId, float] = {}

    def __contains__(self, client: NodeId) -> bool:
        return client in self._heard_at

    def came(self, client: NodeId, now: float) -> None:
        """A client offers calls."""
        self._heard_at[client] = now

    def heard(self, sender: NodeId, now: float) -> None:
        """Somebody said something."""
        if sender in self._heard_at:
            self._heard_at[sender] = now

    def left(self, client: NodeId) -> None:
        """A client says goodbye."""
        self._heard_at.pop(client, None)

    def gone(self, now: float) -> list[NodeId]:
        """Those that have been silent for too long, each told of once."""
        gone = [client for client, at in self._heard_at.items() if now - at >= SILENT_S]
        for client in gone:
            del self._heard_at[client]
        return gone

    def deadline(self) -> float:
        """When `gone` may have somebody to tell of; infinity for never."""
        return min(self._heard_at.values(), default=float("inf")) + SILENT_S
