"""The DEALER sockets of a node: one per peer, made when there is something to send, closed when idle.

A peer's connection is for that peer alone (see the routing id in the package), and goes with it. A seed, whose id is
not known yet, has a connection for its address, to whoever listens there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import zmq

from meshflow.ids import NodeId
from meshflow.runtime.address import BadAddress, parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.diagnosis import Diagnosis
from meshflow.runtime.transport.problems import (
    NobodyThere,
    NotANode,
    OutOfSockets,
    Problems,
    Silent,
    Unreachable,
    WrongKey,
)
from meshflow.runtime.transport.routes import routing_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context, Monitor, Socket, dial
from meshflow.runtime.transport.wakeups import Wakeups


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection leads."""

    address: str
    peer: NodeId | None
    """None: whoever listens there."""


@dataclass(slots=True)
class _Connection:
    target: Target
    socket: Socket
    monitor: Monitor
    diagnosis: Diagnosis
    is_down: bool = False
    was_used: bool = True
    """Since the last sweep."""


class Connections:
    """The connections that the node `me` has made."""

    def __init__(
        self,
        me: NodeId,
        key: MeshKey,
        settings: TransportSettings,
        context: Context,
        wakeups: Wakeups,
        problems: Problems,
        on_frames: Callable[[list[bytes]], None],
    ) -> None:
        self._me = me
        self._key = key
        self._settings = settings
        self._context = context
        self._wakeups = wakeups
        self._problems = problems
        self._on_frames = on_frames
        """Called with the frames of each answer that a peer's ROUTER sent over our connection."""
        self._open: dict[Target, _Connection] = {}
        self._numbers = count(1)
        self._disconnected: dict[NodeId, None] = {}

    def send(self, target: Target, data: bytes) -> bool:
        """Send over the connection to `target`, made if there is none. False: it was dropped, because the queue is full
        or no connection can be made."""
        connection = self._open.get(target) or self._make(target)
        if connection is None:
            return False
        if self._sent(connection, data):
            return True
        if not connection.diagnosis.has_given_up:
            return False
        # ZeroMQ does not try again after what it takes for a breach of protocol; without this, the peer would be out of
        # reach for as long as it is sent to.
        self.close(target)
        fresh = self._make(target)
        return fresh is not None and self._sent(fresh, data)

    def _sent(self, connection: _Connection, data: bytes) -> bool:
        connection.was_used = True
        try:
            connection.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._wakeups.touch(connection.socket)
        return True

    def _make(self, target: Target) -> _Connection | None:
        try:
            address = parse_address(target.address)
            name = routing_id(self._me, next(self._numbers), target.peer)
            socket, monitor = dial(self._context, self._key, self._settings, name, address)
        except BadAddress as problem:
            self._problems.note(target.address, problem)
            return None
        except zmq.ZMQError as problem:
            self._problems.note(str(target.peer or target.address), OutOfSockets(target.address, str(problem)))
            return None
        diagnosis = Diagnosis(target.address, self._settings.connect_timeout_s)
        connection = _Connection(target, socket, monitor, diagnosis)
        self._open[target] = connection
        self._wakeups.add(socket, partial(self._drain, connection))
        self._wakeups.add(monitor.socket, partial(self._drain_monitor, connection))
        return connection

    def _drain(self, connection: _Connection, limit: int) -> int:
        for done in range(limit):
            try:
                frames = connection.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return done
            connection.was_used = True
            self._on_frames(frames)
        return limit

    def _drain_monitor(self, connection: _Connection, limit: int) -> int:
        for done in range(limit):
            sign = connection.monitor.read()
            if sign is None:
                return done
            problem = connection.diagnosis.feed(*sign, time.monotonic())
            if problem is not None:
                self._report(connection, problem)
            elif connection.diagnosis.is_ready:
                connection.is_down = False
        return limit

    def _report(self, connection: _Connection, problem: Unreachable) -> None:
        address, peer = connection.target.address, connection.target.peer
        match problem:
            case WrongKey() | NotANode():
                self._problems.note(address, problem)
            case NobodyThere() if peer is None:
                self._problems.note(address, problem)
            case Silent():
                pass  # for the membership to find out, which has more patience
            case _ if peer is not None and not connection.is_down:
                connection.is_down = True
                self._disconnected[peer] = None

    def disconnected(self) -> list[NodeId]:
        """Peers whose end of a connection was closed or refused since the last call; each once until it is made
        again."""
        peers = list(self._disconnected)
        self._disconnected.clear()
        return peers

    def close_idle(self) -> None:
        """Close the connections that were not used since the last call; what waits in them may linger."""
        for target, connection in list(self._open.items()):
            if not connection.was_used:
                self.close(target, self._settings.linger_s)
            connection.was_used = False

    def close_all(self, linger_s: float) -> None:
        """Close every connection; what waits in them may linger."""
        for target in list(self._open):
            self.close(target, linger_s)

    def close(self, target: Target, linger_s: float = 0.0) -> None:
        """Close the connection to `target` if there is one, and drop what has not gone out within `linger_s`."""
        connection = self._open.pop(target, None)
        if connection is not None:
            self._wakeups.remove(connection.monitor.socket)
            self._wakeups.remove(connection.socket)
            connection.monitor.close()
            connection.socket.close(round(linger_s * 1000))
