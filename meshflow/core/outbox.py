"""Reports that a node keeps until the owner of the run, whoever that is by now, has them.

Invariants:
1. Reports of one run are delivered in order and kept until they are acknowledged; the owner's log acknowledges them.
2. After a change of owner everything that is not acknowledged is sent again, to the new owner.
3. What was sent and not acknowledged is sent again, however much is added meanwhile; ever less often, for an owner
   whose store is away cannot acknowledge.
"""

import math
from dataclasses import dataclass, field

from meshflow.core.messages import Finished, Output, Report
from meshflow.ids import NodeId, RunId

_MAX_REPORTS_A_MESSAGE = 512
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024
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
    _reports: list[Report] = field(default_factory=list)
    _sent: int = 0
    """How many of `_reports` have been sent to this owner."""
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
        self._become_trusted()

    def acknowledge(self, upto: int) -> None:
        """Reports numbered below `upto` are in the log."""
        count = min(max(0, upto - self.first), len(self._reports))
        if not count:
            return
        del self._reports[:count]
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
            self._sent = 0
            self._pause = min(2 * self._pause, _MAX_PAUSE)
        if self._sent == len(self._reports):
            return []
        if not self._sent:
            self._sent_at = now
        start, self._sent = self._sent, len(self._reports)
        return self._messages(start)

    def _messages(self, start: int) -> list[tuple[int, tuple[Report, ...]]]:
        messages: list[tuple[int, tuple[Report, ...]]] = []
        size_bytes = 0
        for index in range(start, len(self._reports)):
            more_bytes = _size_bytes(self._reports[index])
            if index > start and (
                index - start == _MAX_REPORTS_A_MESSAGE or size_bytes + more_bytes > _MAX_MESSAGE_BYTES
            ):
                messages.append((self.first + start, tuple(self._reports[start:index])))
                start, size_bytes = index, 0
            size_bytes += more_bytes
        return [*messages, (self.first + start, tuple(self._reports[start:]))]

    @property
    def _resend_at(self) -> float:
        return self._sent_at + self._pause * self.resend_s

    def stalled_s(self, now: float) -> float:
        """For how long nothing has been acknowledged, seconds; 0 if nothing is waiting."""
        return max(0.0, now - self._stalled_at) if self._reports else 0.0

    def deadline(self) -> float:
        """When `due` has something next."""
        if self._sent < len(self._reports):
            return -math.inf
        return self._resend_at if self._reports else math.inf


def _size_bytes(report: Report) -> int:
    match report:
        case Finished(value=value, reason=reason):
            return len(value.inline) + len(reason)
        case Output(chunk=chunk):
            return len(chunk.data)
        case _:
            return 0
