"""Whose message came over which connection to the ROUTER, and over which one to answer.

A routing id is `sender.number.target`, see the package. The sender vouches for it: all who get as far as this have the
mesh key.
"""

import re

from meshflow.ids import NodeId

_NODE_ID = rb"[0-9a-f]{16}"
_FORM = re.compile(rb"(%b)\.[0-9]{1,20}\.(%b)?" % (_NODE_ID, _NODE_ID))


def is_node_id(text: bytes) -> bool:
    """Whether a peer gave what can be a node id."""
    return re.fullmatch(_NODE_ID, text) is not None


def routing_id(sender: NodeId, number: int, target: NodeId | None) -> bytes:
    """The routing id of connection `number` from `sender`; `target` None: to whoever listens there."""
    return f"{sender}.{number}.{target or ''}".encode("ascii")


class Routes:
    """The connections to the ROUTER of the node `me` that were heard of last, at most `max_routes`."""

    def __init__(self, me: NodeId, max_routes: int) -> None:
        self._me = me
        self._max_routes = max_routes
        self._senders: dict[bytes, NodeId] = {}
        """Routing id to sender, for the connections that are for us."""
        self._latest: dict[NodeId, bytes] = {}

    def sender(self, routing_id: bytes) -> NodeId | None:
        """Who sent what came with that routing id; None if it is to be dropped: the id is malformed, or the message was
        meant for a node that listened here before."""
        sender = self._senders.get(routing_id) or self._welcome(routing_id)
        if sender is not None:
            self._latest[sender] = routing_id
        return sender

    def _welcome(self, routing_id: bytes) -> NodeId | None:
        found = _FORM.fullmatch(routing_id)
        if found is None or found[2] not in (None, self._me.encode("ascii")):
            return None
        if len(self._senders) >= self._max_routes:
            self._forget_oldest()
        sender = self._senders[routing_id] = NodeId(found[1].decode("ascii"))
        return sender

    def route(self, to: NodeId) -> bytes | None:
        """The routing id over which `to` was heard of last; None if there is none."""
        return self._latest.get(to)

    def lost(self, to: NodeId) -> None:
        """The route to `to` led nowhere, or is not wanted any more: forget it until `to` is heard of again."""
        self._latest.pop(to, None)

    def _forget_oldest(self) -> None:
        oldest = next(iter(self._senders))
        sender = self._senders.pop(oldest)
        if self._latest.get(sender) == oldest:
            del self._latest[sender]
