"""A stand-in for a MongoDB server, for tests: real pymongo talks to it over a socket, and it can be made to fail.

It is strict: an unknown command, option or operator is an error, so that a test that passes used nothing of which the
stand-in does not know what MongoDB documents. Where it deviates from a real server:

1. It plays the primary of a replica set of one, keeps everything in memory, and takes one command at a time. So read
   and write concerns are checked for their form and otherwise mean nothing, and there is no second member to lag.
2. No authentication: any attempt is refused with the server's error.
3. Only what MeshFlow and pymongo's GridFS send: the commands in COMMANDS (`standin_commands.py`), and the queries and
   updates in `standin_documents.py`.
4. Field names that begin with `$` or hold a dot are refused everywhere; MongoDB since 5.0 takes them in some places.
5. Of the indexes only the unique ones do anything.
6. A retried write is told by its session and number, as in MongoDB, but remembered as a whole command.
7. New fields keep the order in which an update names them; MongoDB may sort them.
"""

import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import bson

from tests.store.standin_commands import WRITES, Databases
from tests.store.standin_documents import Document

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_CHECKSUM_PRESENT = 1
_HEADER = struct.Struct("<iiii")


@dataclass
class _Fault:
    """What befalls the writes that come after `skip` others, `times` times."""

    kind: Literal["reply lost", "request lost", "error"]
    skip: int
    times: int
    reply: Document


class MongodStandIn:
    """Listens on a port of the loopback interface from `start` to `stop`."""

    def __init__(self) -> None:
        self.commands: deque[Document] = deque(maxlen=50)
        """The latest commands, greetings aside."""
        self.fault: _Fault | None = None
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.databases = Databases(self.address)

    # --- for tests ---

    def start(self) -> None:
        """Accept connections."""
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Break all connections and take no more; what was written stays."""
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """Break all connections."""
        for connection in self._connections:
            _shut(connection)
        self._connections.clear()

    def fail(
        self, kind: Literal["reply lost", "request lost", "error"], skip: int = 0, times: int = 1, **reply: Any
    ) -> None:
        """Let writes go wrong: the connection breaks after or before the write is done, or `reply` is the answer.

        The first `skip` writes from now on go well, then `times` do not.
        """
        self.fault = _Fault(kind, skip, times, reply)

    # --- sockets ---

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while (request := _read_message(connection)) is not None:
                    number, is_query, command = request
                    reply = self._answer(command)
                    if reply is None:
                        return
                    connection.sendall(_reply_message(number, is_query, reply))
            except OSError:
                return

    def _answer(self, command: Document) -> Document | None:
        """None: the connection breaks."""
        name = next(iter(command))
        with self._lock:
            if name not in ("hello", "ismaster"):  # which come whenever a driver likes
                self.commands.append(command)
            fault = self._fault_for(name)
            if fault is not None and fault.kind == "request lost":
                return None
            if fault is not None and fault.kind == "error":
                return fault.reply
            reply = self.databases.perform(name, command)
            return None if fault is not None else reply

    def _fault_for(self, name: str) -> _Fault | None:
        fault = self.fault
        if fault is None or name not in WRITES:
            return None
        if fault.skip:
            fault.skip -= 1
            return None
        fault.times -= 1
        if not fault.times:
            self.fault = None
        return fault


# --- the wire protocol ---


def _read_message(connection: socket.socket) -> tuple[int, bool, Document] | None:
    """Number of the request, whether it is of the old kind, and the command; None if the peer has hung up."""
    header = _read(connection, _HEADER.size)
    if header is None:
        return None
    length, number, _, code = _HEADER.unpack(header)
    body = _read(connection, length - _HEADER.size)
    if body is None:
        return None
    if code == _OP_QUERY:  # only the first greeting: flags, name of the collection, skip, limit, document
        return number, True, bson.decode(body[body.index(b"\0", 4) + 9 :])
    assert code == _OP_MSG, f"operation {code}"
    return number, False, _command_of(body)


def _read(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def _command_of(body: bytes) -> Document:
    """The command of an OP_MSG: one document, and sequences of documents that belong into its fields."""
    (flags,) = struct.unpack_from("<I", body)
    assert not flags & _CHECKSUM_PRESENT, "pymongo sends no checksums"
    command: Document = {}
    sequences: Document = {}
    at = 4
    while at < len(body):
        kind = body[at]
        (size,) = struct.unpack_from("<i", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            command = bson.decode(section)
        else:
            end = section.index(b"\0", 4)
            sequences[section[4:end].decode()] = bson.decode_all(section[end + 1 :])
        at += 1 + size
    return command | sequences


def _reply_message(number: int, is_query: bool, reply: Document) -> bytes:
    body = bson.encode(reply)
    if is_query:
        prefix, code = struct.pack("<iqii", 8, 0, 0, 1), _OP_REPLY  # flags, cursor, starting from, count
    else:
        prefix, code = struct.pack("<IB", 0, 0), _OP_MSG  # flags, kind of the section
    return _HEADER.pack(_HEADER.size + len(prefix) + len(body), 0, number, code) + prefix + body


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # the peer was faster
        return
