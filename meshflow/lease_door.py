"""The client's end of its leases: the door where their processes call, and a queue and a socket for each.

Nothing here blocks. The door has a name in the abstract namespace of Unix sockets, so that nothing is left behind, and
lets in only processes of the same user.
"""

import select
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from meshflow.ids import NodeId
from meshflow.models.parcels import pack, unpack
from meshflow.models.progress import Progress
from meshflow.runtime import job_queue
from meshflow.runtime.job_queue import MAX_FILES, JobQueue
from meshflow.runtime.lease import is_own

_BACKLOG = 64


@dataclass(slots=True)
class _Line:
    talk: socket.socket
    queue: JobQueue = field(default_factory=JobQueue)
    progress: Progress = field(default_factory=Progress)
    codes: dict[str, None] = field(default_factory=dict)
    """Digests of the functions that the process has."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a packet."""

    lease: int
    packet: int
    seconds: float
    results: list[Any]


class LeaseDoor:
    """Where the processes of the leases of the client `me` call. `poll` is told of all sockets."""

    def __init__(self, me: NodeId, poll: "select.poll") -> None:
        self.name = f"\0meshflow-{me}"
        self._poll = poll
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(self.name)
        self._listener.listen(_BACKLOG)
        poll.register(self._listener, select.POLLIN)
        self._callers: dict[int, socket.socket] = {}
        """By descriptor: who was let in and has not said which lease it is."""
        self._lines: dict[int, _Line] = {}
        """By lease."""

    def welcome(self) -> list[int]:
        """Let in who calls; the leases whose processes have introduced themselves since the last time. Each is to be
        told to `admit` or to `refuse`."""
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                break
            caller.setblocking(False)
            if is_own(caller):
                self._callers[caller.fileno()] = caller
                self._poll.register(caller, select.POLLIN)
            else:
                caller.close()
        leases = []
        for fileno, caller in list(self._callers.items()):
            try:
                packet = job_queue.take_packet(caller, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except Exception:  # As in `answers`.
                packet = None
            del self._callers[fileno]
            line = self._line(caller) if packet is not None and packet[0] not in self._lines else None
            if packet is None or line is None:
                self._poll.unregister(fileno)
                caller.close()
                continue
            lease = packet[0]
            self._lines[lease] = line
            leases.append(lease)
        return leases

    def _line(self, talk: socket.socket) -> _Line | None:
        try:
            return _Line(talk)
        except OSError:  # No descriptors are left. Who is not let in says so to its node.
            return None

    def admit(self, lease: int) -> None:
        """Give the process of a lease its end of the queue."""
        line = self._lines[lease]
        with suppress(OSError):  # It is gone, as the next look at it tells.
            line.queue.send_endpoint(line.talk, line.progress.fileno)
        line.progress.sent()

    def feed(self, lease: int, packet: int, digest: str, code: bytes, calls: Sequence[object]) -> None:
        """Have a lease make these calls of a function.

        Raises:
            OSError: no descriptor or memory for large arguments; it was not fed.
        """
        line = self._lines[lease]
        is_new = digest not in line.codes
        frame, filenos = pack(digest, code if is_new else None, values=calls, max_files=MAX_FILES - 1)
        line.queue.put(packet, frame, filenos)
        line.codes[digest] = None

    def take_back(self, lease: int) -> Sequence[int]:
        """The packets that a lease has not begun, which are taken from it."""
        line = self._lines.get(lease)
        if line is None:
            return []
        line.codes.clear()  # What was taken back may have had the code with it.
        return line.queue.recall()

    def halt(self, lease: int, packet: int) -> None:
        """Have a lease begin no more calls of a packet."""
        line = self._lines.get(lease)
        if line is not None:
            line.progress.halt(packet)

    def begun(self, lease: int, packet: int) -> int:
        """How many calls of a packet a lease has begun; all, as far as is known, if it is not there."""
        line = self._lines.get(lease)
        return sys.maxsize if line is None else line.progress.begun(packet)

    def answers(self) -> tuple[list[Answer], list[int]]:
        """All that leases have answered, and which have closed their sockets or are of no use any more; these are to be
        told to `close_line`."""
        answers: list[Answer] = []
        gone: list[int] = []
        for lease, line in self._lines.items():
            try:
                if line.queue.is_full:
                    line.queue.flush()
                while (packet := job_queue.take_packet(line.talk, socket.MSG_DONTWAIT)) is not None:
                    (seconds,), results = unpack(packet[1], packet[2])
                    answers.append(Answer(lease, packet[0], float(seconds), results))
                gone.append(lease)
            except BlockingIOError:
                pass
            except Exception:  # Task processes may send anything; or no descriptor is left.
                gone.append(lease)
        return answers, gone

    def hang_up(self, lease: int) -> None:
        """Let a lease end when it has done what it was fed; its answers are still heard."""
        line = self._lines.get(lease)
        if line is not None:
            line.queue.close()

    def close_line(self, lease: int) -> None:
        """Let go of a lease."""
        line = self._lines.pop(lease, None)
        if line is not None:
            self._poll.unregister(line.talk)
            line.talk.close()
            line.queue.close()
            line.progress.sent()

    def close(self) -> None:
        """Let go of all."""
        for lease in list(self._lines):
            self.close_line(lease)
        for caller in self._callers.values():
            caller.close()
        self._listener.close()
