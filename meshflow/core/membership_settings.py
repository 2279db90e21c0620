"""Settings of the membership core, with a preset per kind of network.

One relation matters more than any value: a suspicion must outlast the longest pause that a healthy node makes. A node
that is silent for less than `probe_interval_s + suspicion_s` is never declared dead; a dead one is found at least that
much later. The origin "SWIM" is the paper of DSN 2002, "Lifeguard" is arXiv 1707.00788, "ours" was found with
`python -m meshflow.sim.membership`.
"""

import math
from dataclasses import dataclass, fields

from meshflow.errors import UsageError


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """How a node finds out who is there. The defaults are the preset `lan`."""

    probe_interval_s: float = 0.3
    """Seconds between two probes by one node, above `probe_timeout_s`. Raising it saves messages (four per node and
    interval) and delays every detection in proportion. Default: ours, for silent death known to ten nodes within 4 s
    in 99 of 100 cases; SWIM and Lifeguard take a second."""
    probe_timeout_s: float = 0.15
    """Seconds until a probe without an answer is repeated through others; well above a round trip, and low enough to
    leave `probe_interval_s - probe_timeout_s` for the detour. Default: half of the interval, as memberlist has it."""
    indirect_count: int = 3
    """Peers that are asked to probe for us, 0 and up. Each costs four messages per missed probe and makes it less
    likely that loss looks like death. Default: memberlist."""
    suspicion_mult: float = 5.0
    """Shortest suspicion, in probe intervals times log10 of the number of members, above 0. Raising it gives a slow
    node longer to refute and delays detection. Default: Lifeguard."""
    suspicion_max_mult: float = 6.0
    """Longest suspicion, that of a lone accuser, in shortest ones; 1 and up. Raising it protects against an accuser
    that is itself slow, and delays detection where few members can confirm. Default: Lifeguard."""
    confirmations: int = 3
    """Independent accusers beside the first that bring a suspicion from the longest to the shortest, 0 and up; fewer
    do in a mesh that has not so many. Default: Lifeguard."""
    max_health_score: int = 8
    """Worst score a node gives itself; probes take up to this plus one times as long. 0 and up. Default: Lifeguard."""
    has_lifeguard: bool = True
    """False: plain SWIM, without own health, confirmations and buddies. For comparison only."""
    late_s: float = 0.1
    """Lateness of the node's loop in seconds that counts against its own health; time lost in this way does not count
    against others. Below `probe_timeout_s`. Default: ours."""
    hint_timeout_s: float = 0.15
    """Seconds that a peer whose connection broke has to answer a probe. Above a round trip. Default: ours, for
    process death known everywhere within a second."""
    hint_suspicion_s: float = 0.25
    """Seconds of suspicion once two members say that their connection broke. Above a round trip through two members,
    so that a live member can refute. Default: ours."""
    gossip_interval_s: float = 0.1
    """Seconds between two rounds of gossip while there is news; nothing is sent without. Default: ours."""
    gossip_fanout: int = 3
    """Peers per round of gossip, 1 and up. Default: SWIM's piggyback has no rounds; three as others use."""
    transmit_mult: float = 4.0
    """Times an update is sent by each node in a mesh of one, and so many more per power of ten of the number of
    members; above 0. Raising it costs bytes and lowers the share of members that must learn by sync. Default:
    memberlist; SWIM section 5 finds 3 enough without loss."""
    max_updates: int = 32
    """Most updates in one message, 1 and up; about 6 KB. Raising it speeds up storms of news. Default: ours."""
    sync_interval_s: float = 10.0
    """Seconds between two comparisons of views with a random member, a fifth of it after one that found a difference.
    One that finds none costs 1 KB, whatever the size of the mesh. Default: ours."""
    max_sync_members: int = 1000
    """Most members in one sync message, about 170 bytes each; a large answer is several messages. 1 and up."""
    revive_interval_s: float = 5.0
    """Seconds after which a dead member is contacted again, so that a partition heals by itself: the first contact
    is made within this time, times the number of dead members for each that is really back. Default: ours."""
    tombstone_s: float = 3600.0
    """Seconds for which a dead or departed member is remembered: its late messages are known for what they are, and
    it is contacted again. After that only seeds heal a partition. Default: ours."""
    max_tombstones: int = 2000
    """Most dead or departed members remembered; the oldest goes first. 0 and up."""
    max_members: int = 20_000
    """Most members known, tombstones included; further ones are ignored. About 0.5 KB each."""
    max_pending_probes: int = 1024
    """Most probes waiting for an answer, those for others included; further requests are not served."""
    join_retry_s: float = 0.2
    """Seconds before a seed is contacted again; doubles each time up to `join_retry_max_s`."""
    join_retry_max_s: float = 10.0
    """Longest time between two contacts to a seed that is not among the living."""
    leave_fanout: int = 16
    """Peers that are told of a departure at once; the others hear of it from them. 0 and up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0 < value < math.inf:
                raise UsageError(f"membership setting {field.name} is {value!r}; expected a finite number above 0")
            low = 0 if field.name in _MAY_BE_ZERO else 1
            if type(value) is int and value < low:
                raise UsageError(f"membership setting {field.name} is {value!r}; expected a whole number from {low} up")
        self._check_order("probe_timeout_s", "probe_interval_s")
        self._check_order("late_s", "probe_timeout_s")
        self._check_order("join_retry_s", "join_retry_max_s")
        if self.suspicion_max_mult < 1:
            raise UsageError(
                f"membership setting suspicion_max_mult is {self.suspicion_max_mult!r}; expected 1 or more"
            )

    def _check_order(self, low: str, high: str) -> None:
        if getattr(self, low) >= getattr(self, high):
            values = f"{getattr(self, low)!r} and {getattr(self, high)!r}"
            raise UsageError(f"membership settings {low} and {high} are {values}; the first must be below the second")

    @classmethod
    def local(cls) -> "MembershipSettings":
        """For nodes of one host: messages are never lost, but processes starve each other."""
        return cls(gossip_interval_s=0.05, sync_interval_s=5.0)

    @classmethod
    def lan(cls) -> "MembershipSettings":
        """For hosts with round trips of a few milliseconds."""
        return cls()

    @classmethod
    def wan(cls) -> "MembershipSettings":
        """For hosts far apart, with round trips of up to half a second."""
        return cls(
            probe_interval_s=2.0,
            probe_timeout_s=1.0,
            late_s=0.5,
            hint_timeout_s=1.0,
            hint_suspicion_s=2.0,
            gossip_interval_s=0.3,
            sync_interval_s=30.0,
            revive_interval_s=15.0,
            join_retry_s=1.0,
            join_retry_max_s=30.0,
        )


_MAY_BE_ZERO = ("indirect_count", "confirmations", "max_health_score", "max_tombstones", "leave_fanout")

PRESETS = {
    "local": MembershipSettings.local(),
    "lan": MembershipSettings.lan(),
    "wan": MembershipSettings.wan(),
}
"""By the names that users know."""
