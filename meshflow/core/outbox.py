"""Reports and signals that a node keeps until the owner of the run, whoever that is by now, has them.

Invariants:
1. Reports of one run are delivered in order and kept until they are acknowledged; the owner's log acknowledges them.
2. After a change of owner everything that is not acknowledged is sent again, to the new owner.
3. A signal is sent again every `resend_s` until it is answered; its key makes that harmless.
"""

import math
from dataclasses import dataclass, field

from meshflow.core.messages import Attempt, Report, Signal
from meshflow.ids import NodeId, RunId

_MAX_REPORTS_A_MESSAGE = 512


@dataclass(slots=True)
class Outbox:
    """What is to be delivered to the owner of one run."""

    run: RunId
    owner: NodeId
    epoch: int
    first: int
    """The number of the oldest report that is kept, or of the next one if there is none."""
    resend_s: float = 1.0
    _reports: list[Report] = field(default_factory=list)
    _sent: int = 0
    """How many of `_reports` have been sent to this owner."""
    _sent_at: float = math.inf
    _stalled_at: float = math.inf
    """When the oldest report was first sent without an acknowledgement since."""

    @property
    def is_empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not self._reports

    @property
    def reports(self) -> tuple[Report, ...]:
        """What is not acknowledged, oldest first."""
        return tuple(self._reports)

    @property
    def next(self) -> int:
        """The number that the next report gets."""
        return self.first + len(self._reports)

    def add(self, report: Report) -> None:
        """Have `report` delivered."""
        self._reports.append(report)

    def turn_to(self, owner: NodeId, epoch: int) -> None:
        """The run has another owner: everything is sent again."""
        self.owner, self.epoch = owner, epoch
        self._sent = 0
        self._stalled_at = math.inf

    def acknowledge(self, upto: int) -> None:
        """Reports numbered below `upto` are in the log."""
        count = min(max(0, upto - self.first), len(self._reports))
        if not count:
            return
        del self._reports[:count]
        self.first += count
        self._sent = max(0, self._sent - count)
        self._stalled_at = math.inf

    def due(self, now: float) -> list[tuple[int, tuple[Report, ...]]]:
        """What is to be sent now: new reports, or all again if nothing was acknowledged for `resend_s`.
        Gives (number of the first, reports) for each message."""
        if self._sent and now - self._sent_at >= self.resend_s:
            self._sent = 0
        if self._sent == len(self._reports):
            return []
        if self._stalled_at == math.inf:
            self._stalled_at = now
        messages = [
            (self.first + start, tuple(self._reports[start : start + _MAX_REPORTS_A_MESSAGE]))
            for start in range(self._sent, len(self._reports), _MAX_REPORTS_A_MESSAGE)
        ]
        self._sent, self._sent_at = len(self._reports), now
        return messages

    def stalled_s(self, now: float) -> float:
        """For how long nothing has been acknowledged, seconds; 0 if nothing is waiting."""
        return max(0.0, now - self._stalled_at) if self._reports else 0.0

    def deadline(self) -> float:
        """When `due` has something next."""
        if self._sent < len(self._reports):
            return -math.inf
        return self._sent_at + self.resend_s if self._reports else math.inf


@dataclass(slots=True)
class PendingSignal:
    """A signal that waits for its answer."""

    signal: Signal
    attempt: Attempt | None
    """The attempt that asked, or None if this node asks as the owner of a dag run."""
    call: int
    sent_at: float = -math.inf
    asked_at: float = 0.0
