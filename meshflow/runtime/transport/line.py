"""The end of a client: one connection to one node, for a caller that may wait.

It says at once when nobody is there, or when the node has another key. Once it has failed it stays failed: whoever goes
on with another node, or tries again, opens another Line. With several keys, all are tried at once (`ends.py`).
"""

import math
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

import zmq

from meshflow.core.messages import Message
from meshflow.ids import NodeId
from meshflow.runtime.address import parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.ends import End, open_ends
from meshflow.runtime.transport.problems import MessageTooLarge, OutOfSockets, Unreachable
from meshflow.runtime.transport.routes import routing_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context, open_context
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

    def __init__(
        self,
        me: NodeId,
        key: MeshKey,
        address: str,
        settings: TransportSettings | None = None,
        *,
        others: Sequence[MeshKey] = (),
    ) -> None:
        """
        Raises:
            BadAddress: `address` is none.
            OutOfSockets: the process has too many.
        """
        self.me = me
        self.address = address
        self._settings = settings or TransportSettings()
        to = parse_address(address)
        self._problem: Unreachable | None = None
        self._waiting: list[bytes] = []
        """What was sent while it is open which key the node has."""
        self._is_closed = False
        names = (routing_id(me, number, None) for number in count(1))
        context = _CONTEXT.take(self._settings)
        try:
            self._ends = open_ends(context, (key, *others), self._settings, names, to)
        except zmq.ZMQError as problem:
            _CONTEXT.give_back()
            raise OutOfSockets(address, str(problem)) from None
        self._poller = zmq.Poller()
        for end in self._ends:
            self._poller.register(end.socket, zmq.POLLIN)
            self._poller.register(end.monitor.socket, zmq.POLLIN)

    def send(self, message: Message) -> None:
        """Send, or have it wait until the connection is made. Whether it arrived, only an answer can tell.

        Raises:
            MessageTooLarge: it is larger than `max_message_bytes`.
            UsageError: it holds what cannot travel.
        """
        data = encode_message(message)
        if len(data) > self._settings.max_message_bytes:
            raise MessageTooLarge(type(message).__name__, len(data), self._settings.max_message_bytes)
        if len(self._ends) == 1:
            self._send(data)
        elif len(self._waiting) < self._settings.max_queued_messages:
            self._waiting.append(data)

    def _send(self, data: bytes) -> None:
        with suppress(zmq.Again):  # the queue is full, or the connection has failed, which `receive` says
            self._ends[0].socket.send(data, zmq.NOBLOCK)

    def receive(self, timeout_s: float, interrupt: int = -1) -> Message | None:
        """The next message of the node; None when there is none for `timeout_s`, or until the descriptor `interrupt` is
        readable.

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
            if self._wait(left_s, interrupt):
                return None

    def _wait(self, seconds: float, interrupt: int) -> bool:
        """Wait for something to happen; whether it was the interrupt."""
        if interrupt < 0:
            self._poller.poll(math.ceil(seconds * 1000))
            return False
        self._poller.register(interrupt, zmq.POLLIN)
        try:
            return any(ready == interrupt for ready, _ in self._poller.poll(math.ceil(seconds * 1000)))
        finally:
            self._poller.unregister(interrupt)

    def _diagnose(self) -> Unreachable | None:
        for end in list(self._ends):
            while end in self._ends and (sign := end.monitor.read()):
                problem = end.diagnosis.feed(*sign, time.monotonic())
                if problem is not None and len(self._ends) == 1:
                    return problem
                if problem is not None:
                    self._keep_only([other for other in self._ends if other is not end])
                elif end.diagnosis.is_ready:
                    self._keep_only([end])
        return None

    def _keep_only(self, kept: list[End]) -> None:
        for end in self._ends:
            if end not in kept:
                self._poller.unregister(end.socket)
                self._poller.unregister(end.monitor.socket)
                end.close()
        self._ends = kept
        if len(kept) == 1:
            waiting, self._waiting = self._waiting, []
            for data in waiting:
                self._send(data)

    def _read(self) -> bytes | None:
        if len(self._ends) > 1:
            return None  # nobody was asked anything yet
        try:
            frames = self._ends[0].socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return frames[-1] if len(frames) == _ANSWER_FRAMES else b""

    def close(self) -> None:
        """Close. The last Line of a process waits for at most `linger_s` until what was sent over all has gone out.
        May be called again."""
        if self._is_closed:
            return
        self._is_closed = True
        for end in self._ends:
            end.close(0.0 if self._problem else self._settings.linger_s)
        _CONTEXT.give_back()
