"""How long a suspect has to refute, and who accuses it.

A suspicion starts with its longest time and comes down to its shortest with each independent confirmation: one
accuser may be wrong because it is slow itself, several are not. When two members say that their connections to the
suspect broke as well, a short time is left: a process that died takes all its connections with it.

Invariants:
1. A confirmation never prolongs a suspicion.
2. An accuser counts once, however often it is heard.
3. At most the confirmations wanted, the first accuser and a quorum of the cut off are kept, whatever peers send.

Source: Lifeguard (arXiv 1707.00788), LHA-Suspicion; the cut by broken connections is ours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from meshflow.core.deadlines import Deadlines
from meshflow.core.membership_settings import MembershipSettings
from meshflow.ids import NodeId

MAX_CONFIRMATIONS = 16
"""More than make sense; bounds what is kept and sent of a case."""

CUT_OFF_QUORUM = 2
"""So many broken connections end a suspicion early: one may be the fault of its own end."""


def suspicion_s(confirmations: int, wanted: int, shortest_s: float, longest_s: float) -> float:
    """Seconds that a suspicion lasts in all after `confirmations` of `wanted`; the first ones shorten it most."""
    if confirmations >= wanted:
        return shortest_s
    share = math.log(confirmations + 1) / math.log(wanted + 1)
    return longest_s - share * (longest_s - shortest_s)


@dataclass(slots=True)
class Suspicion:
    """The case against one member at one incarnation."""

    incarnation: int
    started_at: float
    wanted: int
    """Confirmations beside the first accuser that bring the shortest time."""
    shortest_s: float
    longest_s: float
    quorum: int = CUT_OFF_QUORUM
    """Accusers that were cut off which make it certain enough that the suspect's process is gone."""
    accusers: dict[NodeId, bool] = field(default_factory=dict)
    """Who accuses, and whether its connection to the suspect broke as well."""
    cut_off_at: float = math.inf
    """When the quorum was reached."""

    @property
    def cut_off_count(self) -> int:
        """Accusers whose connection to the suspect broke."""
        return sum(self.accusers.values())

    def can_learn(self, is_cut_off: bool) -> bool:
        """Whether a further accuser could change anything."""
        return len(self.accusers) <= self.wanted or (is_cut_off and self.cut_off_count < self.quorum)

    def add(self, accuser: NodeId, is_cut_off: bool) -> bool:
        """Hear `accuser`. Whether this is news."""
        known = self.accusers.get(accuser)
        if known or known == is_cut_off or not self.can_learn(is_cut_off):
            return False
        self.accusers[accuser] = is_cut_off
        return True

    def count_cut_off(self, quorum: int, now: float) -> bool:
        """See whether those who were cut off are enough, where `quorum` of them would be now. Whether this is news."""
        self.quorum = min(self.quorum, quorum)
        if self.cut_off_at < math.inf or self.cut_off_count < self.quorum:
            return False
        self.cut_off_at = now
        return True

    def ends_at(self, hint_suspicion_s: float) -> float:
        """When the suspect is taken for dead if it has not refuted."""
        lasts_s = suspicion_s(len(self.accusers) - 1, self.wanted, self.shortest_s, self.longest_s)
        return min(self.started_at + lasts_s, self.cut_off_at + hint_suspicion_s)


class Suspicions:
    """All suspects of one node."""

    def __init__(self, settings: MembershipSettings) -> None:
        self._settings = settings
        self._cases: dict[NodeId, Suspicion] = {}
        self._deadlines: Deadlines[NodeId] = Deadlines()

    def __len__(self) -> int:
        return len(self._cases)

    def get(self, suspect: NodeId) -> Suspicion | None:
        """The case against `suspect`, or None if it is not suspected."""
        return self._cases.get(suspect)

    def suspects(self) -> list[NodeId]:
        """Against whom there is a case, oldest first."""
        return list(self._cases)

    def start(self, suspect: NodeId, incarnation: int, member_count: int, now: float) -> None:
        """Open a case, without accusers so far, in a mesh of `member_count` living members."""
        settings = self._settings
        shortest_s = settings.suspicion_mult * max(1.0, math.log10(member_count)) * settings.probe_interval_s
        longest_s = shortest_s * settings.suspicion_max_mult
        # Neither the suspect nor the first accuser can confirm.
        wanted = max(0, min(settings.confirmations, MAX_CONFIRMATIONS, member_count - 2))
        if not settings.has_lifeguard:
            longest_s, wanted = shortest_s, 0
        self._cases[suspect] = Suspicion(incarnation, now, wanted, shortest_s, longest_s)

    def accuse(self, suspect: NodeId, accusers: Iterable[tuple[NodeId, bool]], quorum: int, now: float) -> bool:
        """Add accusers to an open case, each with whether it was cut off, of whom `quorum` are enough. Whether anything
        was news."""
        case = self._cases[suspect]
        is_news = False
        for accuser, is_cut_off in accusers:
            is_news |= case.add(accuser, is_cut_off)
        is_news |= case.count_cut_off(quorum, now)
        if is_news:
            self._deadlines.set(suspect, case.ends_at(self._settings.hint_suspicion_s))
        return is_news

    def prolong(self, suspect: NodeId, now: float) -> None:
        """Give `suspect` its time once more: it is alive to us, but has not refuted. Broken connections prove nothing
        any more."""
        case = self._cases[suspect]
        case.started_at, case.cut_off_at = now, math.inf
        case.accusers = dict.fromkeys(case.accusers, False)
        self._deadlines.set(suspect, case.ends_at(self._settings.hint_suspicion_s))

    def drop(self, suspect: NodeId) -> None:
        """Close the case, if there is one."""
        self._cases.pop(suspect, None)
        self._deadlines.drop(suspect)

    def due(self, now: float) -> list[NodeId]:
        """Suspects whose time is over, each told once; their cases are still open."""
        return self._deadlines.pop_due(now)

    def next_at(self) -> float:
        """When the first suspicion ends; infinity if there is none."""
        return self._deadlines.next_at()
