"""What one node believes about all members: the view.

Records are immutable and shared, so an entry of a view costs a pointer and not a record.

Invariants:
1. Of two claims about a member the one of the higher incarnation holds; at one incarnation, the worse one: alive,
   suspect, dead, left.
2. Only what a member says of itself changes more than its status.
3. The dead and the departed are remembered for a bounded time and number, so that their late messages do not bring
   them back to life.
4. Views that list the same living members at the same incarnations have the same digests.

Source: SWIM, section 4.2, with one difference: a member taken for dead may return at a higher incarnation.
"""

from collections.abc import Iterable

from meshflow.core.member import Member, Status
from meshflow.core.membership_settings import MembershipSettings
from meshflow.ids import NodeId

MAX_INCARNATION = 2**53 - 1
"""No member goes beyond. Claims of others about it are believed only below, so that it can always refute."""

MAX_RECORD_LENGTH = 4096
"""Characters in all text fields of a record together; every member keeps and passes on every record."""

DIGEST_PARTS = 61
"""Parts of a view that are compared one by one; a prime, so that ids spread over them whatever their last digits."""

_DIGEST_MODULUS = 2**61 - 1
"""A prime that fits the integers of the wire: two views differ unseen once in 10^18 cases."""


def is_newer(incarnation: int, status: Status, known: Member) -> bool:
    """Whether a claim about a member overrides what is known of it."""
    return (incarnation, status) > (known.incarnation, known.status)


def is_living(member: Member) -> bool:
    """Whether it is a member of the mesh now; suspects are."""
    return member.status <= Status.SUSPECT


def is_acceptable(record: Member) -> bool:
    """Whether a record from a peer may be kept and passed on."""
    highest = MAX_INCARNATION if is_living(record) else MAX_INCARNATION - 1
    has_place = bool(record.id and record.address)
    return 0 <= record.incarnation <= highest and has_place and record_length(record) <= MAX_RECORD_LENGTH


def record_length(record: Member) -> int:
    """Characters in the text fields of `record`, counting one more per queue."""
    texts = (record.id, record.address, record.name, record.host, record.store, *record.queues)
    return sum(map(len, texts)) + len(record.queues)


def part_of(member: NodeId) -> int:
    """The part of the view that `member` belongs to."""
    return _number(member) % DIGEST_PARTS


class View:
    """The members that one node knows, itself included."""

    def __init__(self, me: Member, settings: MembershipSettings, known: Iterable[Member]) -> None:
        self.members: dict[NodeId, Member] = {member.id: member for member in known}
        """Everyone, the dead and the departed included."""
        self.members[me.id] = me
        self._my_id = me.id
        self._settings = settings
        self._living: list[Member] | None = None
        self._digests: list[int] | None = None
        self._buried_at: dict[NodeId, float] = {}
        """Tombstones, oldest first."""
        self.living_count = sum(map(is_living, self.members.values()))

    @property
    def me(self) -> Member:
        """This node's own record."""
        return self.members[self._my_id]

    def living(self) -> list[Member]:
        """Members that are alive or suspect, in the order in which they became known. Not to be changed."""
        if self._living is None:
            self._living = [member for member in self.members.values() if is_living(member)]
        return self._living

    def dead(self) -> list[NodeId]:
        """The dead that are remembered, without those who left, in the order in which they died."""
        return [member for member in self._buried_at if self.members[member].status is Status.DEAD]

    def oldest_tombstone(self) -> NodeId | None:
        """Who has been dead or gone for longest; None: nobody is."""
        return next(iter(self._buried_at), None)

    def put(self, record: Member, now: float) -> None:
        """Believe `record` from now on."""
        known = self.members.get(record.id)
        self._count(known, -1)
        self.members[record.id] = record
        self._count(record, 1)
        if is_living(record):
            self._buried_at.pop(record.id, None)
        elif known is None or is_living(known):
            self._buried_at[record.id] = now
        self._living = None

    def forget(self, member: NodeId) -> None:
        """Remove a member that is dead or has left."""
        del self._buried_at[member]
        del self.members[member]

    def outdated(self, now: float) -> list[NodeId]:
        """Tombstones that are too old, or too many, to be kept."""
        surplus = len(self._buried_at) - self._settings.max_tombstones
        oldest = now - self._settings.tombstone_s
        return [
            member
            for place, (member, buried_at) in enumerate(self._buried_at.items())
            if place < surplus or buried_at <= oldest
        ]

    def at_address(self, address: str) -> list[Member]:
        """Living members with this address. Looks at all; not for every message."""
        return [member for member in self.living() if member.address == address]

    def digests(self) -> tuple[int, ...]:
        """One number per part; equal for equal sets of living members and incarnations."""
        if self._digests is None:
            self._digests = [0] * DIGEST_PARTS
            for member in self.living():
                self._mix(member, 1)
        return tuple(self._digests)

    def differing(self, digests: tuple[int, ...]) -> list[int]:
        """The parts in which this view differs from one with these digests; all, if they are not as many as ours."""
        mine = self.digests()
        comparable = len(digests) == DIGEST_PARTS
        return [part for part in range(DIGEST_PARTS) if not comparable or mine[part] != digests[part]]

    def in_parts(self, parts: list[int]) -> list[Member]:
        """All members in these parts, the dead and the gone included."""
        wanted = dict.fromkeys(parts)
        return [member for member in self.members.values() if part_of(member.id) in wanted]

    def _count(self, record: Member | None, sign: int) -> None:
        if record is not None and is_living(record):
            self.living_count += sign
            if self._digests is not None:
                self._mix(record, sign)

    def _mix(self, member: Member, sign: int) -> None:
        assert self._digests is not None
        number = _number(member.id)
        part = number % DIGEST_PARTS
        change = sign * number * (2 * member.incarnation + 1)
        self._digests[part] = (self._digests[part] + change) % _DIGEST_MODULUS


def _number(member: NodeId) -> int:
    return int.from_bytes(member.encode(), "big")
