"""The clients whose calls a node may have: they are no members, so nobody tells when one is gone.

A client that has calls here says something at least whenever it is told what is held of it (`Holding`), once a second.
When a connection to this node breaks, which may be that of any client, all are asked. One that answers is there. One
that does not answer, but is connected, is slow or suspended, and has time. One that cannot be sent to for several
questions in sequence is gone: a program that is there has connected again by then, and spoken.
"""

import math
from dataclasses import dataclass

from meshflow.ids import NodeId

SILENT_S = 30.0
"""A client that says nothing for so long is taken to be gone: longer than a program that holds the interpreter, or a
laptop between two networks, is silent for, and not too long for a task process to work for nobody."""

_ASK_S = 0.3
"""Between two questions. The first may still be taken by a connection that has ended."""

_MAX_QUESTIONS = 5
"""Together with the pauses, longer than a client takes to connect again (`reconnect_s` of the transport)."""


@dataclass(slots=True)
class _Doubt:
    ask_at: float
    question_count: int = 0
    is_unreachable: bool = False
    """Whether the last question could not be sent."""


class Callers:
    """When each was heard of last."""

    def __init__(self) -> None:
        self._heard_at: dict[NodeId, float] = {}
        self._doubts: dict[NodeId, _Doubt] = {}

    def __contains__(self, client: NodeId) -> bool:
        return client in self._heard_at

    def came(self, client: NodeId, now: float) -> None:
        """A client offers calls."""
        self._heard_at[client] = now

    def heard(self, sender: NodeId, now: float) -> None:
        """Somebody said something."""
        if sender in self._heard_at:
            self._heard_at[sender] = now
            self._doubts.pop(sender, None)

    def left(self, client: NodeId) -> None:
        """A client says goodbye."""
        self._heard_at.pop(client, None)
        self._doubts.pop(client, None)

    def somebody_left(self, now: float) -> None:
        """A connection broke that was made to this node: whose, is not known."""
        for client in self._heard_at:
            self._doubts.setdefault(client, _Doubt(now))

    def unreached(self, peer: NodeId) -> None:
        """What was sent to a peer could not be sent: it is not connected."""
        doubt = self._doubts.get(peer)
        if doubt is not None:
            doubt.is_unreachable = True

    def gone(self, now: float) -> list[NodeId]:
        """Those that have been silent for too long, or out of reach; each told of once."""
        asked = {client: doubt for client, doubt in self._doubts.items() if doubt.question_count == _MAX_QUESTIONS}
        over = {client: doubt.is_unreachable for client, doubt in asked.items() if now >= doubt.ask_at}
        gone = [client for client, at in self._heard_at.items() if now - at >= SILENT_S or over.get(client, False)]
        for client in over:
            del self._doubts[client]
        for client in gone:
            self.left(client)
        return gone

    def to_ask(self, now: float) -> list[NodeId]:
        """Whom to tell now what is held of them, so that they answer."""
        due = [client for client, doubt in self._doubts.items() if now >= doubt.ask_at]
        for client in due:
            doubt = self._doubts[client]
            doubt.ask_at = now + _ASK_S
            doubt.question_count += 1
            doubt.is_unreachable = False
        return due

    def deadline(self) -> float:
        """When `gone` or `to_ask` may have somebody to tell of; infinity for never."""
        silent_at = min(self._heard_at.values(), default=math.inf) + SILENT_S
        return min(silent_at, min((doubt.ask_at for doubt in self._doubts.values()), default=math.inf))
