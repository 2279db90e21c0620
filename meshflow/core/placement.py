"""Which member a key belongs to: rendezvous hashing.

Every member gets a weight for the key, and the heaviest owns it. All who know the same members agree without a word;
when a member goes, only its keys move, and they spread over all others.

Source: Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998.
"""

import heapq
from collections.abc import Sequence
from hashlib import blake2b

from meshflow.core.member import Member
from meshflow.errors import UsageError
from meshflow.ids import NodeId

_WEIGHT_BYTES = 8
"""So many that weights hardly ever tie; if they do, the larger id wins."""


def owner_of(key: str, members: Sequence[Member | NodeId]) -> NodeId:
    """The member that `key` belongs to; the order of `members` does not matter.

    Raises:
        UsageError: `members` is empty.
    """
    if not members:
        raise UsageError(f"nobody can own {key!r}: no members were given; expected at least one")
    return max(_weighted(key, members))[1]


def ranked(key: str, members: Sequence[Member | NodeId], count: int) -> list[NodeId]:
    """Its owner, then who owns `key` if that one goes, and so on: `count` members, or all if there are fewer."""
    return [member for _, member in heapq.nlargest(count, _weighted(key, members))]


def _weighted(key: str, members: Sequence[Member | NodeId]) -> list[tuple[bytes, NodeId]]:
    # Hashing the key once and copying the state costs half of hashing key and id for each member.
    keyed = blake2b(key.encode(), digest_size=_WEIGHT_BYTES)
    weighted = []
    for member in members:
        member_id = member.id if isinstance(member, Member) else member
        weight = keyed.copy()
        weight.update(member_id.encode())
        weighted.append((weight.digest(), member_id))
    return weighted
