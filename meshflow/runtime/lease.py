"""Inside a task process: serving one client of this host directly, for as long as a job of the node says (`leases.py`).

The process calls at the client's door, is given the reading end of a queue of packets, and answers each packet, until
the client closes the queue. Client and process make sure that the other belongs to the same user: whoever feeds a
process has it run code, and whoever answers a client has it unpickle.
"""

import os
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

from meshflow.models.parcels import pack, unpack
from meshflow.models.progress import Progress
from meshflow.runtime import job_queue
from meshflow.runtime.callees import Callees
from meshflow.runtime.job_queue import MAX_FILES

_ENDPOINTS = 2

_CREDENTIALS = struct.Struct("=iII")
"""Process, user and group (unix(7), SO_PEERCRED)."""


class NotThere(Exception):
    """The client cannot be reached over a socket of this host, or it is not of this user."""


def is_own(peer: socket.socket) -> bool:
    """Whether the other end of a socket belongs to a process of this user, or of root."""
    _, user, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (os.geteuid(), 0)


def serve(door: str, lease: int, callees: Callees, restore: Callable[[], None]) -> None:
    """Make the calls that the client at `door` feeds to this lease, of functions that `callees` keeps; `restore` puts
    the process in order after each packet.

    Raises:
        NotThere: the client cannot be reached this way.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as talk:
        jobs, progress = _call_at(talk, door, lease)
        pid = os.getpid()
        callees.begin_lease()
        with jobs, suppress(ConnectionError):
            while (packet := job_queue.take_packet(jobs)) is not None:
                number, frame, filenos = packet
                (digest, code), calls = unpack(frame, filenos)
                callee = callees.of_client(digest, code)
                began_at = time.perf_counter()
                results = callee.run(calls, number, progress.cells)
                if os.getpid() != pid:
                    return  # A process that the call forked has come here too, and must not answer in its place.
                answer, filenos = pack(time.perf_counter() - began_at, values=results, max_files=MAX_FILES - 1)
                job_queue.send(talk, number, answer, filenos)
                del calls, results  # What is large goes before the next comes.
                restore()


def _call_at(talk: socket.socket, door: str, lease: int) -> tuple[socket.socket, Progress]:
    """Introduce this process; the reading end of the queue that the client fills, and where to show how far it is."""
    try:
        talk.connect(door)
        if not is_own(talk):
            raise NotThere("the client belongs to another user")
        job_queue.send(talk, lease, b"")
        filenos = job_queue.receive_files(talk)
        if len(filenos) == _ENDPOINTS:
            jobs = socket.socket(fileno=filenos[0])
            return jobs, Progress(filenos[1])
    except OSError as problem:
        raise NotThere(f"the client cannot be reached at {door!r}: {problem}") from problem
    raise NotThere("the client does not want this lease any more")
