"""The end of a client: one connection to one node, for a caller that may wait.

It says at once when nobody is there, or when the node has another key. Once it has failed it stays failed: whoever goes
on with another node, or tries again, opens another Line.
"""

import time

import zmq

from meshflow.core.messages import Message
from meshflow.ids import NodeId
from meshflow.runtime.address import parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.diagnosis import SIGNS, Diagnosis
from meshflow.runtime.transport.problems import MessageTooLarge, Unreachable
from meshflow.runtime.transport.routes import routing_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Monitor, open_context, open_dealer
from meshflow.wire import decode_message, encode_message

_ANSWER_FRAMES = 2


class Line:
    """A connection of the client `me` to the node at `address`. The id must be fresh: two Lines with one id would get
    each other's answers. Makes no contact by itself; the first `receive` finds out who is there."""

    def __init__(self, me: NodeId, key: MeshKey, address: str, settings: TransportSettings | None = None) -> None:
        """
        Raises:
            BadAddress: `address` is none.
        """
        self.me = me
        self.address = address
        self._settings = settings or TransportSettings()
        to = parse_address(address)
        self._diagnosis = Diagnosis(address)
        self._problem: Unreachable | None = None
        self._context = open_context(self._settings)
        self._socket = open_dealer(self._context, key, self._settings, routing_id(me, 1, None), to)
        self._monitor = Monitor(self._context, self._socket, SIGNS)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor.socket, zmq.POLLIN)
        self._socket.connect(str(to))

    def send(self, message: Message) -> None:
        """Send, or have it wait until the connection is made. Whether it arrived, only an answer can tell.

        Raises:
            MessageTooLarge: it is larger than `max_message_bytes`.
            UsageError: it holds what cannot travel.
        """
        data = encode_message(message)
        if len(data) > self._settings.max_message_bytes:
            raise MessageTooLarge(type(message).__name__, len(data), self._settings.max_message_bytes)
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            pass  # the queue is full, or the connection has failed, which `receive` says

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
            self._poller.poll(left_s * 1000)

    def _diagnose(self) -> Unreachable | None:
        while sign := self._monitor.read():
            if problem := self._diagnosis.feed(*sign):
                return problem
        return None

    def _read(self) -> bytes | None:
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return frames[-1] if len(frames) == _ANSWER_FRAMES else b""

    def close(self) -> None:
        """Close; waits for at most `linger_s` until what was sent has gone out."""
        linger_s = 0.0 if self._problem else self._settings.linger_s
        self._monitor.close()
        self._socket.close(round(linger_s * 1000))
        self._context.term()
