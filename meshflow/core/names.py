"""What people call nodes, also after they are gone: a lost attempt is told with the name of its node."""

from collections.abc import Sequence

from meshflow.core.member import Member
from meshflow.core.requests import RegisterNode
from meshflow.ids import NodeId

_MAX_GONE = 256
"""Names kept of nodes that are gone; a node may come and go for ever."""


def remember(names: dict[NodeId, str], members: Sequence[Member]) -> None:
    """Add the names of `members`, and drop the oldest of those that are gone."""
    for member in members:
        names.pop(member.id, None)
        names[member.id] = member.name or member.id
    for gone in list(names)[: max(0, len(names) - len(members) - _MAX_GONE)]:
        del names[gone]


def recall(names: dict[NodeId, str], nodes: Sequence[RegisterNode]) -> None:
    """Add what the store says of nodes that were here before, as the first to be dropped again."""
    latest = sorted(nodes, key=lambda node: node.seen_at)[-_MAX_GONE:]
    known = {node.node: node.name for node in latest if node.name and node.node not in names} | names
    names.clear()
    names.update(known)
