"""The store's list of nodes, as one node keeps it: who is there now, and what those were called that have been.

A few nodes of each mesh look through the list now and then: should the mesh have fallen apart so long ago that its
parts have forgotten each other, they meet again there. And each looks once, when it starts, for names: the log of a run
names nodes by ids that may have died with all who knew them.
"""

import math
from collections.abc import Sequence

from meshflow.core.asks import Asks, Registering
from meshflow.core.effects import Effect
from meshflow.core.member import Member
from meshflow.core.names import recall
from meshflow.core.requests import ForgetNode, ListNodes, RegisterNode
from meshflow.ids import NodeId

_SCOUTS = 3
"""So many nodes of a mesh, those with the lowest ids, look through the list: its cost does not grow with the mesh, and
one of them may be down."""

_SEEN_WITHIN_S = 60.0
"""Who registered this lately is looked for. Well above `register_s` and the error of wall clocks."""

_NAMED_WITHIN_S = 30 * 86400.0
"""Names are learnt of those who have been here this lately."""


class Registry:
    """Registers a node every `register_s` seconds, and learns `names`."""

    def __init__(self, asks: Asks, names: dict[NodeId, str], register_s: float, now: float) -> None:
        self._asks = asks
        self._names = names
        self._register_s = register_s
        self._due_at = now
        self._has_looked = False

    def flush(self, me: Member, alive: Sequence[Member], now: float, wall_at: float) -> list[Effect]:
        """Register if it is time, unless the last time was not answered yet."""
        if now < self._due_at:
            return []
        self._due_at = now + self._register_s
        if self._asks.is_asking(Registering()):
            return []
        entry = RegisterNode(me.id, me.address, wall_at, me.name)
        within_s = _SEEN_WITHIN_S if self._has_looked else _NAMED_WITHIN_S
        if self._has_looked and sum(member.id < me.id for member in alive) >= _SCOUTS:
            return [self._asks.ask(Registering(), entry)]
        self._has_looked = True
        return [self._asks.ask(Registering(), entry, ListNodes(wall_at - within_s))]

    def answered(self, answers: Sequence[object], wall_at: float) -> list[str]:
        """The addresses of those who were there lately."""
        listed = answers[-1] if isinstance(answers[-1], tuple) else ()
        nodes = [node for node in listed if isinstance(node, RegisterNode)]
        recall(self._names, nodes)
        return [node.address for node in nodes if node.address and node.seen_at >= wall_at - _SEEN_WITHIN_S]

    def leave(self, me: NodeId) -> Effect:
        """The node leaves, and is not registered any more."""
        self._due_at = math.inf
        return self._asks.ask(Registering(), ForgetNode(me))

    def deadline(self) -> float:
        """When `flush` is next due."""
        return self._due_at
