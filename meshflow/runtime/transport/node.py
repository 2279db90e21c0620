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
from contextlib import ExitStack
from dataclasses import dataclass

import zmq

from meshflow.core.client_messages import StoreAnswers
from meshflow.core.messages import Gossip, Message, Probe, ProbeAck, ProbeNack, ProbeRequest, Sync
from meshflow.errors import PeerError
from meshflow.ids import NodeId
from meshflow.runtime.address import Address, parse_address, reachable, resolve
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.connections import SWEEPS, Connections, Target
from meshflow.runtime.transport.doors import Door
from meshflow.runtime.transport.problems import MessageTooLarge, Problem, Problems, QueueFull, TooManyConnections
from meshflow.runtime.transport.routes import Routes, is_node_id
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import FAILED_HANDSHAKE, Monitor, Sign, open_context, open_router
from meshflow.runtime.transport.wakeups import Wakeups
from meshflow.store.remote import ANSWERS_TOO_LARGE
from meshflow.wire import ProtocolMismatch, decode_message, encode_message

MembershipMessage = Probe | ProbeAck | ProbeRequest | ProbeNack | Gossip | Sync
"""What nodes tell each other about who is alive."""


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
    interfaces, the way `toward` the seeds decides. It listens with `key`; when it connects, it tries `others` too.
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
        others: Sequence[MeshKey] = (),
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
        self.max_message_bytes = self._settings.max_message_bytes
        self._addresses: dict[NodeId, str] = {}
        self._problems = Problems()
        self._routes = Routes(me, self._settings.max_routes)
        self._inbox: list[tuple[NodeId, Message]] = []
        self._has_ticked = False
        self._sweep_at = math.inf
        self._has_lost_any = False
        """Whether a connection that came in has ended since the last `lost_any`."""
        self._context = open_context(self._settings)
        self._wakeups = Wakeups()
        self._connections = Connections(
            me, (key, *others), self._settings, self._context, self._wakeups, self._problems, self._take_answer
        )
        with ExitStack() as undo:
            undo.callback(self._context.destroy, 0)
            undo.callback(self._wakeups.close)
            self._listen(resolve(parse_address(bind)), key)
            undo.callback(self._door.close)
            self.address = str(self._told(advertise, toward))
            """Where others reach this node."""
            undo.pop_all()

    def _listen(self, at: Address, key: MeshKey) -> None:
        self._router = open_router(self._context, self._settings, is_ipv6=at.is_ipv6)
        self._monitor = Monitor(self._context, self._router, (*FAILED_HANDSHAKE, Sign.ACCEPTED, Sign.DISCONNECTED))
        self._door = Door(self._context, self._router, at, self._settings)
        self._key = key
        self._wakeups.add(self._door.keeper.socket, self._door.keeper.drain)
        self._wakeups.add(self._router, self._drain_router)
        self._wakeups.add(self._monitor.socket, self._drain_monitor)
        self._door.open(key)

    def _told(self, advertise: str, toward: Sequence[str]) -> Address:
        bound = self._door.address
        if advertise:
            return parse_address(advertise, bound.port)
        return reachable(bound, [parse_address(each) for each in toward])

    # --- keys ---

    def use_keys(self, keys: Sequence[MeshKey]) -> None:
        """Listen with the first of the keys, and try all of them when connecting. Connections that were made with a
        key that is not among them are closed at once, and so are those that came in if the first is another one.

        Raises:
            OSError: there is no descriptor left for it; nothing has changed.
        """
        if keys[0] != self._key:
            self._door.open(keys[0])
            self._key = keys[0]
            self._wakeups.touch(self._router)
        self._connections.use_keys(keys)

    def hold(self) -> None:
        """Keep what is sent to introduced peers, until `release`; but not who is alive, which can be lost and cannot
        wait. When all nodes do so while they change the key that they listen with, nothing else is on its way over the
        connections that are closed by it."""
        self._connections.hold()

    def release(self) -> None:
        """Send what was kept, and all that follows."""
        self._connections.release()

    # --- receiving ---

    def fileno(self) -> int:
        """A descriptor that is readable when there is something to receive; see `has_more` too."""
        return self._wakeups.fileno()

    def receive(self, limit: int) -> list[tuple[NodeId, Message]]:
        """Up to `limit` messages and their senders, in order of arrival per sender. Answers to handshakes and news of
        sockets are dealt with by the way. What cannot be understood is dropped and counted."""
        self._wakeups.run(limit)
        self._connections.settle()
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

    def lost_any(self) -> bool:
        """Whether a connection that came in has ended since the last call; whose, is not known."""
        has_lost, self._has_lost_any = self._has_lost_any, False
        return has_lost

    def has_way_to(self, peer: NodeId) -> bool:
        """Whether there is a connection to a peer, or it can be made."""
        return peer in self._addresses or self._routes.route(peer) is not None

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
            sign = self._monitor.read()
            if sign is None:
                return done
            match sign:
                case (Sign.ACCEPTED, descriptor):
                    if self._door.crowd.came(descriptor):
                        self._problems.note(self.me, TooManyConnections(self._settings.max_connections))
                case (Sign.DISCONNECTED, descriptor):
                    self._door.crowd.went(descriptor)
                    self._has_lost_any = True
                case _:
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
        is_urgent = isinstance(message, MembershipMessage)
        return self._counted(self._connections.send(Target(address, to), data, is_urgent=is_urgent))

    def send_to(self, address: str, message: Message) -> bool:
        """The same to whoever listens at `address` (a seed, whose id is not known yet).

        Raises:
            UsageError: the message holds what cannot travel.
        """
        data = self._encode(message)
        return data is not None and self._counted(self._connections.send(Target(address, None), data, is_urgent=True))

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
            self._problems.note(to, QueueFull(self._settings.max_queued_messages))
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
            self._sweep_at = now + self._settings.idle_s / SWEEPS

    def deadline(self) -> float:
        """When `tick` is next due, in the monotonic seconds that it is given; `math.inf` before the first."""
        return self._sweep_at

    def close(self) -> None:
        """Close everything; waits for at most `linger_s` until what was sent has gone out."""
        linger_s = self._settings.linger_s
        self._connections.close_all(linger_s)
        self._monitor.close()
        self._router.close(round(linger_s * 1000))
        self._door.close()
        self._wakeups.close()
        self._context.term()
