"""The end of a node: hears peers and clients, and speaks to them.

Made for a loop that waits for `fileno()` and never blocks:

    loop.add_reader(transport.fileno(), drain)

    def drain():                                    # also to be called after whatever sends
        handle(transport.receive(256))
        if transport.has_more(): loop.call_soon(drain)

`has_more` must be asked before each wait: see `wakeups.py`.
"""

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass

import zmq

from meshflow.core.messages import Message, ProbeNack, StoreAnswers
from meshflow.errors import PeerError
from meshflow.ids import NodeId
from meshflow.runtime.address import Address, parse_address, reachable, resolve
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.connections import Connections, Target
from meshflow.runtime.transport.problems import CannotBind, MessageTooLarge, PortInUse, Problem, Problems
from meshflow.runtime.transport.routes import Routes, is_node_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import FAILED_HANDSHAKE, Monitor, open_context, open_router
from meshflow.runtime.transport.wakeups import Wakeups
from meshflow.runtime.transport.zap import Doorkeeper
from meshflow.store.remote import ANSWERS_TOO_LARGE
from meshflow.wire import ProtocolMismatch, decode_message, encode_message


@dataclass(slots=True)
class Counts:
    """What a transport has done so far."""

    sent: int = 0
    received: int = 0
    dropped: int = 0
    """Messages that were not sent: nobody by that id is known or connected, or the queue to it is full."""
    bad: int = 0
    """Messages received and dropped: damaged, of another protocol version, or for a node that listened here before."""
    refused: int = 0
    """Connections that did not get through the handshake: another key, silence, another protocol."""


class Transport:
    """Listens on `bind` (`tcp://host:port`, port 0: any free one) as the node `me`.

    `advertise` is the host, or `host:port`, that others are told if not the one it is bound to; for a node bound to all
    interfaces, the way `toward` the seeds decides. `accepted` are the public keys that may connect; without any, it is
    that of `key`.
    """

    def __init__(
        self,
        me: NodeId,
        key: MeshKey,
        bind: str,
        settings: TransportSettings | None = None,
        *,
        advertise: str = "",
        toward: Sequence[str] = (),
        accepted: Sequence[str] = (),
    ) -> None:
        """
        Raises:
            BadAddress: `bind`, `advertise` or one of `toward` is no address.
            PortInUse: something listens there already.
            CannotBind: the system refuses for another reason.
            NoAddress: bound to all interfaces, and there is none but loopback.
        """
        self.me = me
        self.counts = Counts()
        self._settings = settings or TransportSettings()
        self._addresses: dict[NodeId, str] = {}
        self._problems = Problems()
        self._routes = Routes(me, self._settings.max_routes)
        self._inbox: list[tuple[NodeId, Message]] = []
        self._has_ticked = False
        self._sweep_at = math.inf
        self._context = open_context(self._settings)
        self._wakeups = Wakeups()
        self._connections = Connections(
            me, key, self._settings, self._context, self._wakeups, self._problems, self._take_answer
        )
        try:
            self._listen(resolve(parse_address(bind)), key, accepted or (key.public,))
            self.address = str(self._told(advertise, toward))
            """Where others reach this node."""
        except BaseException:
            self._wakeups.close()
            self._context.destroy(0)
            raise

    def _listen(self, at: Address, key: MeshKey, accepted: Sequence[str]) -> None:
        self._doorkeeper = Doorkeeper(self._context, accepted)
        self._router = open_router(self._context, key, self._settings, is_ipv6=at.is_ipv6)
        self._monitor = Monitor(self._context, self._router, FAILED_HANDSHAKE)
        self._wakeups.add(self._doorkeeper.socket, self._doorkeeper.drain)
        self._wakeups.add(self._router, self._drain_router)
        self._wakeups.add(self._monitor.socket, self._drain_monitor)
        try:
            self._router.bind(str(at))
        except zmq.ZMQError as problem:
            if problem.errno == errno.EADDRINUSE:
                raise PortInUse(str(at)) from None
            raise CannotBind(str(at), str(problem)) from None

    def _told(self, advertise: str, toward: Sequence[str]) -> Address:
        bound = parse_address(self._router.getsockopt_string(zmq.LAST_ENDPOINT))
        if advertise:
            return parse_address(advertise, bound.port)
        return reachable(bound, [parse_address(each) for each in toward])

    # --- receiving ---

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to receive; see `has_more` too."""
        return self._wakeups.fileno()

    def receive(self, limit: int) -> list[tuple[NodeId, Message]]:
        """Up to `limit` messages and their senders, in order of arrival per sender. Answers to handshakes and news of
        sockets are dealt with by the way. What cannot be understood is dropped and counted."""
        self._wakeups.run(limit)
        received, self._inbox = self._inbox, []
        self.counts.received += len(received)
        return received

    def has_more(self) -> bool:
        """Whether to call `receive` again without waiting."""
        return self._wakeups.has_more()

    def disconnected(self) -> list[NodeId]:
        """Peers whose end of a connection was closed or refused since the last call: a hint that they are gone, no
        proof. Each once, until the connection is made again. Not those that are only silent."""
        return self._connections.disconnected()

    def problems(self) -> list[Problem]:
        """For the log, since the last call: who sent nonsense or another protocol version, seeds that do not answer,
        peers with another key, messages of ours that are too large. Each kind once per peer."""
        return self._problems.drain()

    def _drain_router(self, limit: int) -> int:
        for done in range(limit):
            try:
                sender, *frames = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return done
            self._take_routed(sender, frames)
        return limit

    def _take_routed(self, routing_id: bytes, frames: list[bytes]) -> None:
        sender = self._routes.sender(routing_id)
        if sender is None or len(frames) != 1:
            self.counts.bad += 1
            return
        problem = self._take(sender, frames[0])
        if isinstance(problem, ProtocolMismatch):
            # It does not understand us either; but from any message of ours it learns why, and can tell its user.
            self._reply(sender, encode_message(ProbeNack(0)))

    def _take_answer(self, frames: list[bytes]) -> None:
        if len(frames) != 2 or not is_node_id(frames[0]):
            self.counts.bad += 1
            return
        self._take(NodeId(frames[0].decode("ascii")), frames[1])

    def _take(self, sender: NodeId, data: bytes) -> PeerError | None:
        """Put a message into the inbox, or say what is wrong with it; None too for what is known to be wrong."""
        try:
            self._inbox.append((sender, decode_message(data, self._settings.max_message_bytes)))
        except PeerError as problem:
            self.counts.bad += 1
            return problem if self._problems.note(sender, problem) else None
        return None

    def _drain_monitor(self, limit: int) -> int:
        for done in range(limit):
            if self._monitor.read() is None:
                return done
            self.counts.refused += 1
        return limit

    # --- sending ---

    def introduce(self, peer: NodeId, address: str) -> None:
        """Reach `peer` at `address` from now on."""
        before = self._addresses.get(peer)
        if before is not None and before != address:
            self._connections.close(Target(before, peer), self._settings.linger_s)
        self._addresses[peer] = address

    def forget(self, peer: NodeId) -> None:
        """This peer is gone for good: close what is open to it and drop what waits for it."""
        address = self._addresses.pop(peer, None)
        if address is not None:
            self._connections.close(Target(address, peer))
        self._routes.lost(peer)

    def send(self, to: NodeId, message: Message) -> bool:
        """Send to an introduced peer over the connection to it, made if there is none; to others, such as clients, over
        theirs to us. Never blocks. False: it was dropped. True means only that it is on its way.

        Raises:
            UsageError: the message holds what cannot travel.
        """
        data = self._encode(message)
        if data is None:
            return False
        address = self._addresses.get(to)
        if address is None:
            return self._counted(self._reply(to, data))
        return self._counted(self._connections.send(Target(address, to), data))

    def send_to(self, address: str, message: Message) -> bool:
        """The same to whoever listens at `address` (a seed, whose id is not known yet).

        Raises:
            UsageError: the message holds what cannot travel.
        """
        data = self._encode(message)
        return data is not None and self._counted(self._connections.send(Target(address, None), data))

    def _encode(self, message: Message) -> bytes | None:
        data = encode_message(message)
        max_bytes = self._settings.max_message_bytes
        if len(data) <= max_bytes:
            return data
        self._problems.note(self.me, MessageTooLarge(type(message).__name__, len(data), max_bytes))
        if isinstance(message, StoreAnswers):  # or who asked would wait in vain, and ask the same again
            return encode_message(StoreAnswers(message.number, (), ANSWERS_TOO_LARGE))
        self.counts.dropped += 1
        return None

    def _reply(self, to: NodeId, data: bytes) -> bool:
        route = self._routes.route(to)
        if route is None:
            return False
        try:
            self._router.send_multipart([route, self.me.encode("ascii"), data], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as problem:
            if problem.errno != errno.EHOSTUNREACH:
                raise
            self._routes.lost(to)
            return False
        finally:
            self._wakeups.touch(self._router)
        return True

    def _counted(self, is_sent: bool) -> bool:
        self.counts.sent += is_sent
        self.counts.dropped += not is_sent
        return is_sent

    # --- time, and the end ---

    def tick(self, now: float) -> None:
        """Close what has been idle; early calls do nothing."""
        if not self._has_ticked or now >= self._sweep_at:
            self._has_ticked = True
            self._connections.close_idle()
            self._sweep_at = now + self._settings.idle_s

    def deadline(self) -> float:
        """When `tick` is next due, in the monotonic seconds that it is given; `math.inf` before the first."""
        return self._sweep_at

    def close(self) -> None:
        """Close everything; waits for at most `linger_s` until what was sent has gone out."""
        linger_s = self._settings.linger_s
        self._connections.close_all(linger_s)
        self._monitor.close()
        self._router.close(round(linger_s * 1000))
        self._doorkeeper.socket.close()
        self._wakeups.close()
        self._context.term()
