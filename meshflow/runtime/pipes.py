"""Frames: what a node and a task process say to each other.

Two sockets join them, so that a task process needs no second thread to hear its node:

- the job queue (`job_queue.py`) carries `RunTask` to the process, one to a packet, which it reads only between tasks;
- the *talk* socket carries all that the process says, and to it `Answered` and `StopAsked`, which matter only to a task
  that is running.

A frame is a msgpack array, the number of its kind and the array of its fields. User data is opaque in it. The process
runs other people's code, which may write into any of its descriptors, so the node takes nothing from it on trust: what
is not a frame with fields of the right types raises PeerError, and costs the process its life.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgpack

from meshflow.codec import dataclass_codec
from meshflow.core.messages import Job
from meshflow.core.records import State
from meshflow.errors import PeerError
from meshflow.leaf_codecs import Mismatch

READ_BYTES = 64 * 1024
"""What one read of a socket takes at most. For more, Python would get memory from the kernel anew for each read."""


@dataclass(frozen=True, slots=True)
class RunTask:
    """Run this."""

    number: int
    """Counts the tasks of a process, so that late words about an earlier one can be told apart."""
    job: Job
    """With all values inline."""
    codes: dict[str, bytes]
    """`{digest: code}` that the job needs and that the process has not been sent before."""
    is_forgetting: bool
    """Whether to drop all codes sent before."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a call."""

    call: int
    answers: bytes
    """An encoded `StoreAnswers` with one answer."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The dag run of task `number` was asked to stop."""

    number: int


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task has ended; what it printed was read before, or is in the pipes."""

    number: int
    state: State
    value: bytes
    limit: tuple[str, ...] | None
    reason: str
    started_at: float
    ended_at: float
    """Wall clock."""
    is_last: bool
    """Whether the process takes no further task, because something that this one started still runs or prints, or
    because it took away the pipes for what is printed. If not, all that was printed has been read."""
    rows: tuple[bytes, ...] | None = None
    """What each instance of a mapped task gets. None: it is none."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """A task asks something of its run."""

    number: int
    call: int
    action: str
    arguments: bytes
    """An encoded native value: a dict."""
    data: bytes | None


@dataclass(frozen=True, slots=True)
class StoreAsked:
    """A task asks something of the store."""

    number: int
    call: int
    request: bytes
    """An encoded `Request`."""


Frame = RunTask | Answered | StopAsked | TaskEnded | Signalled | StoreAsked

_KINDS: tuple[type, ...] = (RunTask, Answered, StopAsked, TaskEnded, Signalled, StoreAsked)
_CODECS = tuple(dataclass_codec(kind) for kind in _KINDS)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}


def pack(frame: Frame) -> bytes:
    """The bytes of a frame."""
    number = _NUMBERS[type(frame)]
    # Lone surrogates (of a file name in an error message) have no place in UTF-8: they are spelled out.
    packed: bytes = msgpack.packb((number, _CODECS[number].encode(frame)), unicode_errors="backslashreplace")
    return packed


def unpack_job(packet: bytes) -> RunTask:
    """The frame in a packet of the job queue, which the node has made."""
    number, row = msgpack.unpackb(packet, strict_map_key=True)
    assert number == _NUMBERS[RunTask], number
    frame: RunTask = _CODECS[number].decode(row)
    return frame


_RENEW_BYTES = 1024 * 1024
"""After so much, a reader that has nothing left to cut begins with an empty buffer: the old one may have grown with a
large frame, and would keep that size."""


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self, max_frame_bytes: int) -> None:
        """`max_frame_bytes` bounds what is kept of a frame that is not complete yet."""
        self._max_frame_bytes = max_frame_bytes
        self._renew()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes.

        Raises:
            PeerError: the stream holds something else; it cannot be read on.
        """
        try:
            self._unpacker.feed(data)
            self._fed_bytes += len(data)
            for plain in self._unpacker:
                self._cut_bytes = self._unpacker.tell()
                yield _frame(plain)
        except Mismatch as problem:
            raise PeerError(f"not a frame: {problem}") from None
        # MemoryError: a header may announce more elements than there is room for, before any of them is read.
        except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as problem:
            raise PeerError(f"not a frame: {type(problem).__name__} {problem}") from None
        if self._fed_bytes > _RENEW_BYTES and self._cut_bytes == self._fed_bytes:
            self._renew()

    def _renew(self) -> None:
        self._unpacker = msgpack.Unpacker(strict_map_key=True, max_buffer_size=self._max_frame_bytes)
        self._fed_bytes = 0
        self._cut_bytes = 0
        """Up to the end of the last complete frame. The unpacker itself is further on within a frame."""


def _frame(plain: object) -> Frame:
    match plain:
        case [int(number), row] if 0 <= number < len(_KINDS):
            frame: Frame = _CODECS[number].decode(row)  # type: ignore[assignment]
            return frame
    raise Mismatch("expected an array of the number of a kind and the fields of a frame")
