"""Reports that a node keeps until the owner of the run, whoever that is by now, has them.

Invariants:
1. Reports of one run are delivered in order and kept until they are acknowledged; the owner's log acknowledges them.
2. After a change of owner everything that is not acknowledged is sent again, to the new owner.
3. What was sent and not acknowledged is sent again, however much is added meanwhile; ever less often, for an owner
   whose store is away cannot acknowledge.
4. No more than `_MAX_UNACKNOWLEDGED_BYTES` are sent ahead of acknowledgements: an owner keeps in memory what it cannot
   log yet.
"""

import math
from dataclasses import dataclass, field

from meshflow.core.attempts import Attempt
from meshflow.core.kept import Kept, Spooled, size_of
from meshflow.core.messages import Output, Report
from meshflow.ids import NodeId, RunId

LITTLE, PATIENCE = 24, 3
"""So few reports are hardly worth a message, and wait so many times as long: in a mesh of many nodes each has few."""

_MAX_REPORTS_A_MESSAGE = 512
_MAX_UNACKNOWLEDGED_BYTES = 8 * 1024 * 1024
"""More than an owner logs while an acknowledgement is on its way; also what one message may hold."""
_MAX_PAUSE = 8
"""Reports are sent again after 1, 2, 4, then 8 times `resend_s`."""


@dataclass(slots=True)
class Outbox:
    """What is to be delivered to the owner of one run."""

    run: RunId
    owner: NodeId
    epoch: int
    first: int
    """The number of the oldest report that is kept, or of the next one if there is none."""
    resend_s: float = 1.0
    kept: Kept = field(default_factory=Kept)
    """Where the reports wait."""
    _reports: list[Report | Spooled] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    """What each of them holds, in bytes."""
    _sent: int = 0
    """How many of `_reports` have been sent to this owner."""
    _sent_bytes: int = 0
    """What those hold."""
    _sent_at: float = math.inf
    """When they were, all together, or when the last acknowledgement was noticed, which is at the next look."""
    _pause: int = 1
    _stalled_at: float = math.inf
    """The same, but for the first time that they were sent."""

    @property
    def is_empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not self._reports

    @property
    def ended(self) -> list[Attempt]:
        """The attempts whose end or return is not acknowledged, oldest first."""
        return [item.attempt for item in self._reports if not _is_output(item)]

    @property
    def unsent_count(self) -> int:
        """How many reports this owner was not sent yet."""
        return len(self._reports) - self._sent

    @property
    def next(self) -> int:
        """The number that the next report gets."""
        return self.first + len(self._reports)

    def add(self, report: Report) -> None:
        """Have `report` delivered."""
        size_bytes = size_of(report)
        self._reports.append(self.kept.put(report, size_bytes))
        self._sizes.append(size_bytes)

    def drop(self) -> None:
        """Nobody wants these reports any more."""
        self.acknowledge(self.next)

    def turn_to(self, owner: NodeId, epoch: int) -> None:
        """The run has another owner: everything is sent again."""
        self.owner, self.epoch = owner, epoch
        self._sent = self._sent_bytes = 0
        self._become_trusted()

    def acknowledge(self, upto: int) -> None:
        """Reports numbered below `upto` are in the log."""
        count = min(max(0, upto - self.first), len(self._reports))
        if not count:
            return
        self._sent_bytes -= sum(self._sizes[: min(count, self._sent)])
        for item, size_bytes in zip(self._reports[:count], self._sizes, strict=False):
            self.kept.drop(item, size_bytes)
        del self._reports[:count], self._sizes[:count]
        self.first += count
        self._sent = max(0, self._sent - count)
        self._become_trusted()

    def _become_trusted(self) -> None:
        self._sent_at = self._stalled_at = math.inf
        self._pause = 1

    def due(self, now: float) -> list[tuple[int, tuple[Report, ...]]]:
        """What is to be sent now: new reports, or all again if nothing was acknowledged for too long.
        Gives (number of the first, reports) for each message."""
        if not self._reports:
            return []
        self._sent_at, self._stalled_at = min(self._sent_at, now), min(self._stalled_at, now)
        if self._sent and now >= self._resend_at:
            self._sent = self._sent_bytes = 0
            self._pause = min(2 * self._pause, _MAX_PAUSE)
        if not self._sent:
            self._sent_at = now
        messages: list[tuple[int, tuple[Report, ...]]] = []
        while self._may_send_more:
            messages.append(self._next_message())
        return messages

    @property
    def _may_send_more(self) -> bool:
        """Invariant 4; one report may go in any case."""
        if self._sent == len(self._reports):
            return False
        return not self._sent or self._sent_bytes + self._sizes[self._sent] <= _MAX_UNACKNOWLEDGED_BYTES

    def _next_message(self) -> tuple[int, tuple[Report, ...]]:
        start = self._sent
        for size_bytes in self._sizes[start : start + _MAX_REPORTS_A_MESSAGE]:
            if self._sent and self._sent_bytes + size_bytes > _MAX_UNACKNOWLEDGED_BYTES:
                break
            self._sent_bytes += size_bytes
            self._sent += 1
        return self.first + start, tuple(self.kept.get(item) for item in self._reports[start : self._sent])

    @property
    def _resend_at(self) -> float:
        return self._sent_at + self._pause * self.resend_s

    def stalled_s(self, now: float) -> float:
        """For how long nothing has been acknowledged, seconds; 0 if nothing is waiting."""
        return max(0.0, now - self._stalled_at) if self._reports else 0.0

    def deadline(self) -> float:
        """When `due` has something next."""
        if self._may_send_more:
            return -math.inf
        return self._resend_at if self._reports else math.inf


def _is_output(item: Report | Spooled) -> bool:
    return item.is_output if isinstance(item, Spooled) else isinstance(item, Output)
