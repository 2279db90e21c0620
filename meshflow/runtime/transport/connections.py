"""The DEALER sockets of a node: one per peer, made when there is something to send, closed when idle.

A peer's connection is for that peer alone (see the routing id in the package), and goes with it. A seed, whose id is
not known yet, has a connection for its address, to whoever listens there.

With several keys a connection has several ends until one of them is through (`ends.py`), and what is sent waits here.
When it breaks, the peer may have changed its key, so that all are tried again.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import zmq

from meshflow.ids import NodeId
from meshflow.runtime.address import BadAddress, parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.ends import End, open_ends
from meshflow.runtime.transport.problems import (
    ConnectionLost,
    NobodyThere,
    NotANode,
    OutOfSockets,
    Problems,
    QueueFull,
    Silent,
    Unreachable,
    WrongKey,
)
from meshflow.runtime.transport.routes import routing_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context
from meshflow.runtime.transport.wakeups import Wakeups

SWEEPS = 6
"""In `idle_s`: so many looks at the connections, so that useless ones need not stay for all of it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a connection leads."""

    address: str
    peer: NodeId | None
    """None: whoever listens there."""


@dataclass(slots=True)
class _Connection:
    target: Target
    ends: list[End]
    urgent: deque[bytes] = field(default_factory=deque)
    """What was sent while there are several ends."""
    waiting: deque[bytes] = field(default_factory=deque)
    """The same, of what may be held back."""
    is_down: bool = False
    has_broken: bool = False
    """Since it was last asked."""
    taken_count: int = 0
    """Messages that it took."""
    unused_sweeps: int = 0
    """Sweeps since it was used."""
    is_deserted: bool = False
    """Nobody listens at its other end."""

    @property
    def is_settled(self) -> bool:
        return len(self.ends) == 1


class Connections:
    """The connections that the node `me` has made."""

    def __init__(
        self,
        me: NodeId,
        keys: Sequence[MeshKey],
        settings: TransportSettings,
        context: Context,
        wakeups: Wakeups,
        problems: Problems,
        on_frames: Callable[[list[bytes]], None],
    ) -> None:
        self._me = me
        self._keys = tuple(keys)
        self._settings = settings
        self._context = context
        self._wakeups = wakeups
        self._problems = problems
        self._on_frames = on_frames
        """Called with the frames of each answer that a peer's ROUTER sent over our connection."""
        self._open: dict[Target, _Connection] = {}
        self._numbers = count(1)
        self._disconnected: dict[NodeId, None] = {}
        self._has_broken_any = False
        self._unsettled: dict[Target, None] = {}
        """Connections of which an end got through, or broke, since the last `settle`."""
        self._is_held = False

    def hold(self) -> None:
        """Until `release`, let what is sent wait here, if it may."""
        self._is_held = True

    def release(self) -> None:
        """Send what has waited, and all that follows."""
        self._is_held = False
        for connection in self._open.values():
            self._send_waiting(connection)

    def use_keys(self, keys: Sequence[MeshKey]) -> None:
        """Try these keys from now on. Connections made with another one are closed and made anew."""
        self._keys = tuple(keys)
        for connection in list(self._open.values()):
            if not connection.is_settled or connection.ends[0].key not in self._keys:
                self._remake(connection)

    def settle(self) -> None:
        """Close ends that are not needed any more, and open those that are. To be called when no socket is being
        drained."""
        unsettled, self._unsettled = self._unsettled, {}
        for target in unsettled:
            connection = self._open.get(target)
            if connection is None:
                continue
            through = [end for end in connection.ends if end.diagnosis.is_ready]
            if through:
                self._keep_only(connection, through[0])
            elif connection.is_settled:
                self._remake(connection)

    def _keep_only(self, connection: _Connection, kept: End) -> None:
        for end in connection.ends:
            if end is not kept:
                self._close_end(end)
        connection.ends = [kept]
        self._send_waiting(connection)

    def _send_waiting(self, connection: _Connection) -> None:
        if not connection.is_settled:
            return
        for queue in (connection.urgent,) if self._is_held else (connection.urgent, connection.waiting):
            for data in queue:
                self._sent(connection.ends[0], data)
            queue.clear()

    def _remake(self, connection: _Connection) -> None:
        """Begin the connection anew, with all keys; what waits goes on waiting."""
        self.close(connection.target)
        fresh = self._make(connection.target)
        if fresh is None:
            return
        fresh.is_down, fresh.has_broken = connection.is_down, connection.has_broken
        fresh.unused_sweeps = connection.unused_sweeps
        fresh.urgent, fresh.waiting = connection.urgent, connection.waiting
        if fresh.is_settled:
            self._keep_only(fresh, fresh.ends[0])

    def send(self, target: Target, data: bytes, *, is_urgent: bool) -> bool:
        """Send over the connection to `target`, made if there is none; what is urgent is not held back. False: it was
        dropped, because the queue is full or no connection can be made."""
        connection = self._open.get(target) or self._make(target)
        if connection is None:
            return False
        connection.unused_sweeps = 0
        if self._taken(connection, data, is_urgent):
            connection.taken_count += 1
            return True
        if not all(end.diagnosis.has_given_up for end in connection.ends):
            # Else it is about to be heard that what listens there is no node.
            if connection.taken_count >= self._settings.max_queued_messages:
                self._note_full(target)
            return False
        # ZeroMQ does not try again after what it takes for a breach of protocol; without this, the peer would be out of
        # reach for as long as it is sent to.
        self._remake(connection)
        fresh = self._open.get(target)
        return fresh is not None and self._taken(fresh, data, is_urgent)

    def _taken(self, connection: _Connection, data: bytes, is_urgent: bool) -> bool:
        if connection.is_settled and (is_urgent or not self._is_held):
            return self._sent(connection.ends[0], data)
        if all(end.diagnosis.has_given_up for end in connection.ends):
            return False
        queue = connection.urgent if is_urgent else connection.waiting
        if len(queue) >= self._settings.max_queued_messages:
            return False
        queue.append(data)
        return True

    def _note_full(self, target: Target) -> None:
        self._problems.note(str(target.peer or target.address), QueueFull(self._settings.max_queued_messages))

    def _sent(self, end: End, data: bytes) -> bool:
        try:
            end.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._wakeups.touch(end.socket)
        return True

    def _make(self, target: Target) -> _Connection | None:
        names = (routing_id(self._me, number, target.peer) for number in self._numbers)
        try:
            address = parse_address(target.address)
            ends = open_ends(self._context, self._keys, self._settings, names, address)
        except BadAddress as problem:
            self._problems.note(target.address, problem)
            return None
        except zmq.ZMQError as problem:
            self._problems.note(str(target.peer or target.address), OutOfSockets(target.address, str(problem)))
            return None
        connection = self._open[target] = _Connection(target, ends)
        for end in ends:
            self._wakeups.add(end.socket, partial(self._drain, connection, end))
            self._wakeups.add(end.monitor.socket, partial(self._drain_monitor, connection, end))
        return connection

    def _drain(self, connection: _Connection, end: End, limit: int) -> int:
        for done in range(limit):
            try:
                frames = end.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return done
            connection.unused_sweeps = 0
            self._on_frames(frames)
        return limit

    def _drain_monitor(self, connection: _Connection, end: End, limit: int) -> int:
        for done in range(limit):
            sign = end.monitor.read()
            if sign is None:
                return done
            was_ready = end.diagnosis.is_ready
            problem = end.diagnosis.feed(*sign, time.monotonic())
            if problem is not None:
                self._report(connection, end, problem)
            elif end.diagnosis.is_ready:
                connection.is_deserted = False
                connection.is_down = False
            if was_ready and not end.diagnosis.is_ready:
                connection.has_broken = self._has_broken_any = True
            if end.diagnosis.is_ready != was_ready and (len(self._keys) > 1 or not connection.is_settled):
                self._unsettled[connection.target] = None
        return limit

    def _report(self, connection: _Connection, end: End, problem: Unreachable) -> None:
        address, peer = connection.target.address, connection.target.peer
        match problem:
            case WrongKey():
                end.is_refused = True
                if all(each.is_refused for each in connection.ends):
                    self._problems.note(address, problem)
            case NotANode():
                self._problems.note(address, problem)
            case NobodyThere() if peer is None:
                connection.is_deserted = True
                self._problems.note(address, problem)
            case ConnectionLost() if len(self._keys) > 1:
                pass  # it is made anew at once, which will show whether anybody is there
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

    def broken(self) -> list[NodeId]:
        """Peers to whom a connection has broken since the last call, whether or not they seem to be gone; what is sent
        now reaches them as soon as it is made again."""
        if not self._has_broken_any:
            return []
        self._has_broken_any = False
        broken = [connection for connection in self._open.values() if connection.has_broken]
        for connection in broken:
            connection.has_broken = False
        return [connection.target.peer for connection in broken if connection.target.peer is not None]

    def close_idle(self) -> None:
        """Close the connections that were not used in the last SWEEPS calls; what waits in them may linger. Those where
        nobody was (the dead are asked now and then whether they are back) are closed at the next call."""
        for target, connection in list(self._open.items()):
            connection.unused_sweeps += 1
            if connection.unused_sweeps > (1 if connection.is_deserted else SWEEPS):
                self.close(target, self._settings.linger_s)

    def close_all(self, linger_s: float) -> None:
        """Close every connection; what waits in them may linger."""
        for target in list(self._open):
            self.close(target, linger_s)

    def close(self, target: Target, linger_s: float = 0.0) -> None:
        """Close the connection to `target` if there is one, and drop what has not gone out within `linger_s`."""
        connection = self._open.pop(target, None)
        self._unsettled.pop(target, None)
        for end in connection.ends if connection is not None else ():
            self._close_end(end, linger_s)

    def _close_end(self, end: End, linger_s: float = 0.0) -> None:
        self._wakeups.remove(end.monitor.socket)
        self._wakeups.remove(end.socket)
        end.close(linger_s)
