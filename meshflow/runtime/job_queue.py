"""The jobs that a task process has been given and has not begun yet: a socket that keeps the borders of its packets.

The node puts jobs in, the process takes one whenever it is free, without a word in between. The node holds the reading
end too, so it can take back what was not begun: the kernel gives each packet to one reader, so a job is either begun or
taken back, and never both.
"""

import os
import socket
import struct
from collections import deque

_MAX_PACKET_BYTES = 16 * 1024
"""A larger frame comes as a file in memory, whose descriptor is in the packet."""

_NUMBER = struct.Struct("=Q")
_FILENO = struct.Struct("=i")


class JobQueue:
    """The node's end. Nothing here blocks: what the socket has no room for waits here."""

    def __init__(self) -> None:
        """An empty queue, open at both ends; `endpoint` gives the process its own.

        Raises:
            OSError: no descriptors are left.
        """
        self._writer, self._reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._writer.setblocking(False)
        self._waiting: deque[tuple[int, bytes]] = deque()

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

    def put(self, number: int, frame: bytes) -> None:
        """Add a job under a number above those before it.

        Raises:
            OSError: no descriptor or memory for a large frame; it was not added.
        """
        self._waiting.append((number, frame))
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
            number, frame = self._waiting[0]
            try:
                if len(frame) <= _MAX_PACKET_BYTES:
                    self._writer.send(_NUMBER.pack(number) + frame)
                else:
                    self._send_file(number, frame)
            except BlockingIOError:
                return
            self._waiting.popleft()

    def recall(self) -> list[int]:
        """Take back all jobs that the process has not begun; their numbers, in order."""
        numbers: list[int] = []
        if self._reader.fileno() < 0:
            return numbers
        while (packet := _receive(self._reader, socket.MSG_DONTWAIT)) is not None:
            number, _, fileno = packet
            numbers.append(number)
            if fileno is not None:
                os.close(fileno)
        numbers += [number for number, _ in self._waiting]
        self._waiting.clear()
        return numbers

    def close(self) -> None:
        """Let the process end when it has done what it was given."""
        self._writer.close()
        self._reader.close()

    def _send_file(self, number: int, frame: bytes) -> None:
        fileno = os.memfd_create("meshflow-job")
        try:
            with open(fileno, "wb", buffering=0, closefd=False) as file:
                view = memoryview(frame)
                while view:
                    view = view[file.write(view) :]
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _FILENO.pack(fileno))
            self._writer.sendmsg([_NUMBER.pack(number)], [rights])
        finally:
            os.close(fileno)


def take(jobs: socket.socket) -> bytes | None:
    """In the process: wait for the next job. None: the node has closed the queue."""
    packet = _receive(jobs, 0)
    if packet is None:
        return None
    _, frame, fileno = packet
    if fileno is None:
        return frame
    with open(fileno, "rb") as file:
        file.seek(0)
        return file.read()


def _receive(jobs: socket.socket, flags: int) -> tuple[int, bytes, int | None] | None:
    """Number, frame, and the descriptor of the file that holds the frame if it is large. None: nothing is there."""
    try:
        data, ancillary, _, _ = jobs.recvmsg(
            _NUMBER.size + _MAX_PACKET_BYTES, socket.CMSG_SPACE(_FILENO.size), flags | socket.MSG_CMSG_CLOEXEC
        )
    except BlockingIOError:
        return None
    if not data:
        return None
    fileno: int | None = None
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            (fileno,) = _FILENO.unpack(content)
    return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :], fileno
