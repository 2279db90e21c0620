"""The jobs that a task process has been given and has not begun yet: a socket that keeps the borders of its packets.

The node puts jobs in, the process takes one whenever it is free, without a word in between. The node holds the reading
end too, so it can take back what was not begun: the kernel gives each packet to one reader, so a job is either begun or
taken back, and never both.
"""

import os
import socket
import struct
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress

_MAX_PACKET_BYTES = 16 * 1024
"""A larger frame comes as a file in memory, whose descriptor is in the packet."""

MAX_FILES = 64
"""Descriptors that go with one packet (Linux takes up to 253)."""

_HEAD = struct.Struct("=Q?")
"""The number, and whether the frame is in the first of the files."""

_FILENO_BYTES = 4
_RIGHTS_BYTES = socket.CMSG_SPACE(MAX_FILES * _FILENO_BYTES)
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)  # As a member of an enumeration, joining it with others takes a while.


class JobQueue:
    """The node's end. Nothing here blocks: what the socket has no room for waits here."""

    def __init__(self) -> None:
        """Raises OSError if no descriptors are left."""
        self._writer, self._reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._writer.setblocking(False)
        self._waiting: deque[tuple[int, bytes, Sequence[int]]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether something waits for room; `flush` is to be called when `fileno` is writable."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """The descriptor of the writing end."""
        return self._writer.fileno()

    def endpoint(self) -> int:
        """A new descriptor of the reading end, for the process."""
        return os.dup(self._reader.fileno())

    def send_endpoint(self, peer: socket.socket, *more: int) -> None:
        """Send a descriptor of the reading end, and some more, for `receive_files`.

        Raises:
            OSError: the other end is closed, or no descriptor is left.
        """
        peer.sendmsg([b"!"], [_rights((self._reader.fileno(), *more))])

    def put(self, number: int, frame: bytes, filenos: Sequence[int] = ()) -> None:
        """Add a job under a number above those before it, with descriptors that stay open until it is taken or taken
        back.

        Raises:
            OSError: no descriptor or memory for a large frame; it was not added.
        """
        self._waiting.append((number, frame, filenos))
        if len(self._waiting) == 1:
            try:
                self.flush()
            except OSError:
                self._waiting.clear()
                raise

    def flush(self) -> None:
        """Move what waits into the socket, as far as there is room.

        Raises:
            OSError: no descriptor or memory for a large frame; it still waits.
        """
        while self._waiting:
            try:
                send(self._writer, *self._waiting[0])
            except BlockingIOError:
                return
            self._waiting.popleft()

    def recall(self) -> list[int]:
        """Take back all jobs that the process has not begun; their numbers, in order."""
        numbers: list[int] = []
        if self._reader.fileno() < 0:
            return numbers
        with suppress(BlockingIOError):
            while (packet := _receive(self._reader, socket.MSG_DONTWAIT)) is not None:
                numbers.append(packet[0])
                for fileno in packet[3]:
                    os.close(fileno)
        numbers += [number for number, _, _ in self._waiting]
        self._waiting.clear()
        return numbers

    def close(self) -> None:
        """Let the process end when it has done what it was given."""
        self._writer.close()
        self._reader.close()


def send(to: socket.socket, number: int, frame: bytes, filenos: Sequence[int] = ()) -> None:
    """Send a frame under a number, in one packet, with up to MAX_FILES - 1 descriptors.

    Raises:
        BlockingIOError: there is no room for it now.
        OSError: the other end is closed, or there is no descriptor or memory for a large frame.
    """
    if len(frame) <= _MAX_PACKET_BYTES:
        packet = _HEAD.pack(number, False) + frame
        if filenos:
            to.sendmsg([packet], [_rights(filenos)])
        else:
            to.send(packet)
        return
    fileno = os.memfd_create("meshflow-job")
    try:
        with open(fileno, "wb", buffering=0, closefd=False) as file:
            view = memoryview(frame)
            while view:
                view = view[file.write(view) :]
        to.sendmsg([_HEAD.pack(number, True)], [_rights((fileno, *filenos))])
    finally:
        os.close(fileno)


def take(jobs: socket.socket) -> bytes | None:
    """In the process: wait for the next job. None: the node has closed the queue."""
    packet = take_packet(jobs)
    return None if packet is None else packet[1]


def take_packet(jobs: socket.socket, flags: int = 0) -> tuple[int, bytes, list[int]] | None:
    """The next packet's number, frame, and descriptors, which are the caller's from here on; waits for it, unless
    `flags` has MSG_DONTWAIT. None: the other end is closed.

    Raises:
        BlockingIOError: there is none, and it is not to be waited for.
    """
    packet = _receive(jobs, flags)
    if packet is None:
        return None
    number, frame, is_in_file, filenos = packet
    if not is_in_file:
        return number, frame, filenos
    with open(filenos[0], "rb") as file:
        file.seek(0)
        return number, file.read(), filenos[1:]


def receive_files(peer: socket.socket) -> list[int]:
    """The descriptors that come next; none: the other end is closed, or sent none."""
    _, ancillary, _, _ = peer.recvmsg(1, _RIGHTS_BYTES, socket.MSG_CMSG_CLOEXEC)
    return _filenos(ancillary)


_Ancillary = tuple[int, int, bytes]


def _rights(filenos: Sequence[int]) -> _Ancillary:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", filenos).tobytes()


def _filenos(ancillary: Iterable[_Ancillary]) -> list[int]:
    filenos = array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            filenos.frombytes(content[: len(content) - len(content) % _FILENO_BYTES])
    return filenos.tolist()


def _receive(jobs: socket.socket, flags: int) -> tuple[int, bytes, bool, list[int]] | None:
    """Number, frame, whether the first of the files holds the frame, and the descriptors. None: the other end is
    closed.

    Raises:
        BlockingIOError: nothing is there, and `flags` has MSG_DONTWAIT.
    """
    data, ancillary, _, _ = jobs.recvmsg(_HEAD.size + _MAX_PACKET_BYTES, _RIGHTS_BYTES, int(flags) | _CLOSE_ON_EXEC)
    if not data:
        return None
    number, is_in_file = _HEAD.unpack_from(data)
    return number, data[_HEAD.size :], is_in_file, _filenos(ancillary)
