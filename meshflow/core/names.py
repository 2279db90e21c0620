"""What people call nodes, also after they are gone: a lost attempt is told with the name of its node."""

from collections.abc import Sequence

from meshflow.core.member import Member
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
