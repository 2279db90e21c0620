"""Frames: what a node and a task process say to each other.

Two stream sockets join them, so that a task process needs no second thread to hear its node:

- the *job* socket carries `RunTask` to the process, which reads it only between tasks, and all that the process says;
- the *answer* socket carries `Answered` and `StopAsked`, which matter only to a task that is running.

A frame is a msgpack array, the number of its kind and then its fields. User data is opaque in it. The process runs
other people's code, which may write into any of its descriptors, so the node takes nothing from it on trust: what is
not a frame of the right types raises PeerError, and costs the process its life.
"""

from collections.abc import Iterator
from types import NoneType
from typing import NamedTuple

import msgpack

from meshflow.errors import PeerError

READ_BYTES = 256 * 1024
"""What one read of a socket takes at most: more than the kernel buffers of a socket hold."""


class RunTask(NamedTuple):
    """Run this. `number` counts the tasks of a process, so that late words about an earlier one can be told apart."""

    number: int
    run: str
    task: str
    workflow: str
    payload: str
    """The digest of the task's code."""
    codes: dict[str, bytes]
    """`{digest: code}` that the process has not been sent before."""
    is_forgetting: bool
    """Whether to drop all codes sent before."""
    inputs: list[tuple[str, str | None, bytes]]
    """Parent task, slot and result."""
    initial: bytes | None
    """The input itself, for the first tasks of a sub-dag; None: it is made from `inputs`."""


class Answered(NamedTuple):
    """The answer to a call, as an encoded `StoreAnswers`."""

    call: int
    answers: bytes


class StopAsked(NamedTuple):
    """The dag run of task `number` was asked to stop."""

    number: int


class TaskEnded(NamedTuple):
    """A task has ended and what it printed is in the pipes."""

    number: int
    state: str
    value: bytes
    limit: list[str] | None
    reason: str
    started_at: float
    ended_at: float
    has_left_processes: bool
    """Whether something it started still runs."""


class Signalled(NamedTuple):
    """A task asks something of its run."""

    number: int
    call: int
    action: str
    arguments: bytes
    """An encoded native value: a dict."""
    data: bytes | None


class StoreAsked(NamedTuple):
    """A task asks something of the store."""

    number: int
    call: int
    request: bytes
    """An encoded `Request`."""


Frame = RunTask | Answered | StopAsked | TaskEnded | Signalled | StoreAsked

_KINDS: tuple[type[Frame], ...] = (RunTask, Answered, StopAsked, TaskEnded, Signalled, StoreAsked)
_NUMBER_OF = {kind: number for number, kind in enumerate(_KINDS)}

_TYPES: dict[type[Frame], tuple[type | tuple[type, ...], ...]] = {
    RunTask: (int, str, str, str, str, dict, bool, list, (bytes, NoneType)),
    Answered: (int, bytes),
    StopAsked: (int,),
    TaskEnded: (int, str, bytes, (list, NoneType), str, float, float, bool),
    Signalled: (int, int, str, bytes, (bytes, NoneType)),
    StoreAsked: (int, int, bytes),
}


def pack(frame: Frame) -> bytes:
    """The bytes of a frame."""
    # Lone surrogates (of a file name in an error message) have no place in UTF-8: they are spelled out.
    packed: bytes = msgpack.packb((_NUMBER_OF[type(frame)], *frame), unicode_errors="backslashreplace")
    return packed


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self, max_frame_bytes: int) -> None:
        """`max_frame_bytes` bounds what is kept of a frame that is not complete yet."""
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=max_frame_bytes)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes.

        Raises:
            PeerError: the stream holds something else; it cannot be read on.
        """
        try:
            self._unpacker.feed(data)
            for array in self._unpacker:
                yield _frame(array)
        except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as problem:
            raise PeerError(f"not a frame: {type(problem).__name__} {problem}") from None


def _frame(array: object) -> Frame:
    if not isinstance(array, list) or not array or type(array[0]) is not int or not 0 <= array[0] < len(_KINDS):
        raise ValueError("expected an array that begins with the number of a kind")
    kind = _KINDS[array[0]]
    del array[0]
    types = _TYPES[kind]
    if len(array) != len(types) or not all(map(isinstance, array, types)):
        raise ValueError(f"expected the fields of {kind.__name__}, got {[type(field).__name__ for field in array]}")
    return kind._make(array)
