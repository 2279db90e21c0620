"""Probes that wait for an answer: our own, and those we send for others.

A probe of a *round* goes to one peer, after a while through others too, and fails when the round ends. A probe on a
*hint* goes both ways at once and fails soon. A probe for an *asker* is answered with a nack shortly before the asker
stops waiting.

Invariants:
1. An answer counts only from those who were asked, and only until the probe ends.
2. At most `max_pending_probes` wait at a time.

Source: SWIM, section 3.1; nacks from Lifeguard (arXiv 1707.00788), LHA-Probe.
"""

import math
from dataclasses import dataclass, field

from meshflow.core.deadlines import Deadlines
from meshflow.ids import NodeId


@dataclass(slots=True)
class PendingProbe:
    """One probe that waits."""

    seq: int
    target: NodeId
    sent_at: float
    ends_at: float
    asks_at: float = math.inf
    """When others are to be asked; infinity: they were, or will not be."""
    is_hint: bool = False
    asker: tuple[NodeId, int] | None = None
    """For whom the probe is sent, and the seq of its request; None: for ourselves."""
    nacks: dict[NodeId, bool | None] = field(default_factory=dict)
    """Who was asked to probe, and whether it said that it is cut off from the target; None: it has not answered."""

    @property
    def has_asked(self) -> bool:
        """Whether there is nothing left but to wait for the end."""
        return self.asks_at == math.inf

    @property
    def has_missed_nack(self) -> bool:
        """Whether someone who was asked said nothing."""
        return None in self.nacks.values()


class Probes:
    """The probes of one node that wait."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._last_seq = 0
        self._pending: dict[int, PendingProbe] = {}
        self._deadlines: Deadlines[int] = Deadlines()

    def __len__(self) -> int:
        return len(self._pending)

    def open(
        self,
        target: NodeId,
        now: float,
        lasts_s: float,
        *,
        asks_after_s: float = math.inf,
        is_hint: bool = False,
        asker: tuple[NodeId, int] | None = None,
    ) -> PendingProbe | None:
        """Wait for `target` from now on; None if too many probes wait already."""
        if len(self._pending) >= self._max_count:
            return None
        self._last_seq += 1
        probe = PendingProbe(self._last_seq, target, now, now + lasts_s, now + asks_after_s, is_hint, asker)
        self._pending[probe.seq] = probe
        self._deadlines.set(probe.seq, min(probe.asks_at, probe.ends_at))
        return probe

    def is_hint_pending(self, target: NodeId) -> bool:
        """Whether a hint about `target` is being followed up."""
        return any(probe.is_hint and probe.target == target for probe in self._pending.values())

    def ask(self, probe: PendingProbe, helpers: list[NodeId], now: float) -> float:
        """Note that `helpers` were asked to probe as well; they have the seconds returned, however late this is."""
        left_s = probe.ends_at - min(now, probe.asks_at)
        probe.asks_at = math.inf
        probe.ends_at = now + left_s
        probe.nacks = dict.fromkeys(helpers)
        self._deadlines.set(probe.seq, probe.ends_at)
        return left_s

    def acked(self, seq: int, sender: NodeId) -> PendingProbe | None:
        """The probe that an ack from `sender` brings to its end; None: it answers nothing that waits."""
        probe = self._pending.get(seq)
        if probe is None or (sender != probe.target and sender not in probe.nacks):
            return None
        self.close(probe)
        return probe

    def nacked(self, seq: int, sender: NodeId, is_cut_off: bool) -> None:
        """Hear that `sender` could not reach the target either."""
        probe = self._pending.get(seq)
        if probe is not None and sender in probe.nacks:
            probe.nacks[sender] = is_cut_off

    def close(self, probe: PendingProbe) -> None:
        """Wait for it no more."""
        self._pending.pop(probe.seq, None)
        self._deadlines.drop(probe.seq)

    def due(self, now: float) -> list[PendingProbe]:
        """Probes with something to do: others are to be asked, or the end has come. Each is told once; call `ask` or
        `close` for it."""
        return [self._pending[seq] for seq in self._deadlines.pop_due(now)]

    def next_at(self) -> float:
        """When `due` will have something; infinity: never."""
        return self._deadlines.next_at()
