"""The calls of one function that wait at a client, and how many of them make a batch.

A *call* is one function applied to arguments. A message, a wake-up and a packet for each would cost more than a short
call itself, so short ones travel in *batches*: some milliseconds of work in one job. A batch is bound when a node has
credit for it, no sooner, so its size follows what was measured last.

Source: chunked self-scheduling; the bound by what is left is guided self-scheduling (Polychronopoulos & Kuck 1987).
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

TARGET_S = 0.005
"""Work in one batch, in seconds. More spreads what a message and a wake-up cost over more calls; with less, results
come sooner and work spreads better."""

MAX_CALLS = 2048
"""In a batch."""

MAX_BYTES = 256 * 1024
"""Of arguments in a batch of more than one call."""

_GROWTH = 4
"""A batch is at most so many times as large as one that has come back: a first call may be quick by chance."""

_SHORTEST_S = 1e-7

_UNKNOWN_S = 1.0

_WEIGHT = 0.3
"""Of the latest batch in the average."""


@dataclass(frozen=True, slots=True)
class Function:
    """What is called, and how."""

    digest: str
    """Names its code."""
    name: str
    queue: str = "task"
    priority: int = 0
    """The larger goes first."""
    timeout_s: float | None = None
    """A call that takes longer fails. None: it may take as long as it likes."""
    is_near: bool = False
    """Its arguments are too large for a message: only processes of this host can make the call."""
    at_most_once: bool = False
    """A call that may have begun on a node that is gone fails; otherwise it is made again."""

    @property
    def is_alone(self) -> bool:
        """Whether each call travels by itself."""
        return self.timeout_s is not None or self.at_most_once


class Parcel(Protocol):
    """Pickled arguments that are large; `models.parcels.Parcel` is one."""

    def __len__(self) -> int:
        """Bytes in all."""

    def flatten(self) -> bytes:
        """All of them as bytes."""


Arguments = bytes | Parcel


@dataclass(slots=True, eq=False)
class Call:
    """One call, as its client knows it."""

    function: Function
    data: Arguments
    """The pickled arguments."""
    mark: object = None
    """What the client knows it by; nothing to the core."""
    loss_count: int = 0
    """How often a node died that had it."""
    is_alone: bool = False
    """It travels by itself, for it may have been what ended a task process."""
    has_begun: bool = False
    """It has been on its way, at least once."""
    is_cancelled: bool = False
    """Nobody waits for it any more: it is not sent, or not once more."""
    batch: int = 0
    """Which batch it is out with, or was last; 0: it waits."""


@dataclass(slots=True)
class Line:
    """The calls of one function that wait, in order."""

    function: Function
    code: bytes = b""
    """Of the function, pickled."""
    waiting: deque[Call] = field(default_factory=deque)
    places: list[int] = field(default_factory=list)
    """Numbers of the batches that are in line for credit."""
    out_count: int = 0
    """Batches that nodes have."""
    _call_s: float | None = None
    """How long a call takes, a running average."""
    _limit: int = 1
    """Calls in a batch, as far as what came back allows."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is out."""
        return not self.waiting and not self.out_count

    def took(self, seconds: float, call_count: int) -> None:
        """A batch of so many calls took so long."""
        each_s = seconds / call_count
        if self._call_s is None or each_s > 2 * self._call_s:
            # Long calls make batches small at once, short ones make them large by and by.
            self._call_s, self._limit = each_s, _GROWTH * call_count
        else:
            self._call_s += _WEIGHT * (each_s - self._call_s)
            self._limit = max(self._limit, _GROWTH * call_count)

    def was_cut(self, call_count: int) -> None:
        """Only so many calls of a batch were made, for what they returned was large."""
        self._limit = call_count

    def batch_count(self, slots: int) -> int:
        """How many batches the calls that wait make, on a mesh of so many slots."""
        return -(-len(self.waiting) // self._count(slots))

    def work_s(self, call_count: int) -> float:
        """How long so many calls take; much, as long as nothing is known."""
        return call_count * (_UNKNOWN_S if self._call_s is None else self._call_s)

    def take(self, slots: int, work_s: float = TARGET_S) -> list[Call]:
        """The next batch, of about so much work: at least one call, if any waits that is not cancelled."""
        count = self._count(slots, work_s)
        batch: list[Call] = []
        size_bytes = 0
        while self.waiting and len(batch) < count:
            call = self.waiting[0]
            size_bytes += len(call.data)
            if batch and (call.is_alone or size_bytes > MAX_BYTES):
                break
            self.waiting.popleft()
            if not call.is_cancelled:
                batch.append(call)
                if call.is_alone:
                    break
        return batch

    def _count(self, slots: int, work_s: float = TARGET_S) -> int:
        if self._call_s is None or self.function.is_alone:
            return 1
        count = min(MAX_CALLS, int(work_s / max(self._call_s, _SHORTEST_S)), self._limit)
        return max(1, min(count, -(-len(self.waiting) // (2 * max(1, slots)))))
