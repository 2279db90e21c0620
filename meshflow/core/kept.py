"""What waits, reports for their owner's log and large values for the store: in memory as far as it fits, else wherever
the shell keeps it.

An owner may be gone, or the store away, for longer than a node has memory for the results of its tasks. What would be
too much is handed to a spool, and read back when it is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from meshflow.core.attempts import Attempt
from meshflow.core.messages import Finished, Output, Report
from meshflow.core.records import Value

_SMALLEST_BYTES = 1024
"""Reports with less in them stay in memory: what stands for one that is spooled takes a third of this."""

_ROW_BYTES = 32
"""What a row takes beside its bytes, roughly."""


class Spool(Protocol):
    """Keeps reports and values outside of memory, for as long as this node lives. Nothing here raises."""

    def put(self, report: Report) -> int | None:
        """Keep a report; gives its number, or None if it cannot be kept now."""

    def get(self, number: int) -> Report:
        """The report of that number; one that says so if it cannot be read back."""

    def drop(self, number: int) -> None:
        """The report of that number is not needed any more."""

    def put_value(self, data: bytes) -> int | None:
        """Keep a value; gives its number, or None if it cannot be kept now."""

    def take_value(self, number: int) -> bytes | None:
        """The value of that number, which is not kept any more; None if it cannot be read back."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Stands for a report that is in the spool."""

    number: int
    attempt: Attempt
    is_output: bool


class Kept:
    """What waits in one node, of all runs. With `spool`, no more than `max_bytes` of it are in memory."""

    def __init__(self, spool: Spool | None = None, max_bytes: int = 0) -> None:
        self.memory_bytes = 0
        """What the reports and values in memory hold."""
        self._spool = spool
        self._max_bytes = max_bytes

    def put(self, report: Report, size_bytes: int) -> Report | Spooled:
        """Keep a report that holds so much; gives what stands for it."""
        if self._spool is not None and self._is_too_much(size_bytes):
            number = self._spool.put(report)
            if number is not None:
                return Spooled(number, report.attempt, isinstance(report, Output))
        self.memory_bytes += size_bytes
        return report

    def get(self, item: Report | Spooled) -> Report:
        """The report that `item` stands for."""
        if not isinstance(item, Spooled):
            return item
        assert self._spool is not None, item
        return self._spool.get(item.number)

    def drop(self, item: Report | Spooled, size_bytes: int) -> None:
        """The report, which holds so much, is not needed any more."""
        if not isinstance(item, Spooled):
            self.memory_bytes -= size_bytes
        elif self._spool is not None:
            self._spool.drop(item.number)

    def put_value(self, data: bytes) -> bytes | int:
        """Keep a value; gives what stands for it."""
        if self._spool is not None and self._is_too_much(len(data)):
            number = self._spool.put_value(data)
            if number is not None:
                return number
        self.memory_bytes += len(data)
        return data

    def take_value(self, item: bytes | int) -> bytes | None:
        """The value that `item` stands for, which is not kept any more; None if the spool does not give it back."""
        if isinstance(item, bytes):
            self.memory_bytes -= len(item)
            return item
        assert self._spool is not None, item
        return self._spool.take_value(item)

    def _is_too_much(self, size_bytes: int) -> bool:
        return size_bytes >= _SMALLEST_BYTES and self.memory_bytes + size_bytes > self._max_bytes


def rows_bytes(rows: Sequence[Value] | None) -> int:
    """What the rows of a mapped task take, roughly."""
    return sum(_ROW_BYTES + len(row.inline) for row in rows or ())


def size_of(report: Report) -> int:
    """What a report holds of values and texts, in bytes."""
    if isinstance(report, Finished):
        return len(report.value.inline) + len(report.reason) + rows_bytes(report.rows)
    return len(report.chunk.data) if isinstance(report, Output) else 0
