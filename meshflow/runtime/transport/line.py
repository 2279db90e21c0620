"""The end of a client: one connection to one node, for a caller that may wait.

It says at once when nobody is there, or when the node has another key. Once it has failed it stays failed: whoever goes
on with another node, or tries again, opens another Line.
"""

import math
import os
import threading
import time
from contextlib import suppress

import zmq

from meshflow.core.messages import Message
from meshflow.ids import NodeId
from meshflow.runtime.address import parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.diagnosis import Diagnosis
from meshflow.runtime.transport.problems import MessageTooLarge, OutOfSockets, Unreachable
from meshflow.runtime.transport.routes import routing_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context, dial, open_context
from meshflow.wire import decode_message, encode_message

_ANSWER_FRAMES = 2


class _SharedContext:
    """The ZeroMQ context of all Lines of a process: a client may ask hundreds of nodes at once, and a context has two
    threads and ten descriptors. It goes with the last Line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._pid = 0
        self._user_count = 0

    def take(self, settings: TransportSettings) -> Context:
        """The context, to be given back once."""
        with self._lock:
            if self._context is None or self._pid != os.getpid():  # a context does not survive a fork
                self._context, self._pid, self._user_count = open_context(settings), os.getpid(), 0
            self._user_count += 1
            return self._context

    def give_back(self) -> None:
        """Let go of it; waits, if it was the last, for what lingers in closed sockets."""
        with self._lock:
            self._user_count -= 1
            context = self._context
            if self._user_count or context is None:
                return
            self._context = None
        context.term()


_CONTEXT = _SharedContext()


class Line:
    """A connection of the client `me` to the node at `address`. The id must be fresh: two Lines with one id would get
    each other's answers. Makes no contact by itself; the first `receive` finds out who is there."""

    def __init__(self, me: NodeId, key: MeshKey, address: str, settings: TransportSettings | None = None) -> None:
        """
        Raises:
            BadAddress: `address` is none.
            OutOfSockets: the process has too many.
        """
        self.me = me
        self.address = address
        self._settings = settings or TransportSettings()
        to = parse_address(address)
        self._diagnosis = Diagnosis(address, self._settings.connect_timeout_s)
        self._problem: Unreachable | None = None
        context = _CONTEXT.take(self._settings)
        try:
            self._socket, self._monitor = dial(context, key, self._settings, routing_id(me, 1, None), to)
        except zmq.ZMQError as problem:
            _CONTEXT.give_back()
            raise OutOfSockets(address, str(problem)) from None
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor.socket, zmq.POLLIN)

    def send(self, message: Message) -> None:
        """Send, or have it wait until the connection is made. Whether it arrived, only an answer can tell.

        Raises:
            MessageTooLarge: it is larger than `max_message_bytes`.
            UsageError: it holds what cannot travel.
        """
        data = encode_message(message)
        if len(data) > self._settings.max_message_bytes:
            raise MessageTooLarge(type(message).__name__, len(data), self._settings.max_message_bytes)
        with suppress(zmq.Again):  # the queue is full, or the connection has failed, which `receive` says
            self._socket.send(data, zmq.NOBLOCK)

    def receive(self, timeout_s: float) -> Message | None:
        """The next message of the node; None when there is none for `timeout_s`.

        Raises:
            NobodyThere, NotANode, WrongKey: the node at the address cannot be spoken to, for that reason.
            ConnectionLost: it could, and then the connection broke.
            ProtocolMismatch: the node speaks another protocol version.
            PeerError: what it sent is damaged.
        """
        give_up_at = time.monotonic() + timeout_s
        while True:
            # Look for trouble first and tell of it last: what arrived before the trouble counts.
            self._problem = self._problem or self._diagnose()
            data = self._read()
            if data is not None:
                return decode_message(data, self._settings.max_message_bytes)
            if self._problem is not None:
                raise self._problem
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return None
            self._poller.poll(math.ceil(left_s * 1000))

    def _diagnose(self) -> Unreachable | None:
        while sign := self._monitor.read():
            if problem := self._diagnosis.feed(*sign, time.monotonic()):
                return problem
        return None

    def _read(self) -> bytes | None:
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return frames[-1] if len(frames) == _ANSWER_FRAMES else b""

    def close(self) -> None:
        """Close. The last Line of a process waits for at most `linger_s` until what was sent over all has gone out.
        May be called again."""
        if self._socket.closed:
            return
        linger_s = 0.0 if self._problem else self._settings.linger_s
        self._monitor.close()
        self._socket.close(round(linger_s * 1000))
        _CONTEXT.give_back()
