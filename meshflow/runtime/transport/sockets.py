"""How every socket is set up, and what its monitor says.

IMMEDIATE off     a message to a peer whose connection is still being made waits for it. (With it on, the message is
                  refused.) That it may wait until another node listens there is met by the routing id.
ROUTER_HANDOVER   a connection that is made again, before the ROUTER has noticed the end of the old one, takes over.
ROUTER_MANDATORY  an answer to who is gone is refused, not swallowed.
MAXMSGSIZE        is checked before the memory is taken. What exceeds it costs the sender its connection.
HEARTBEAT_*       from both ends; a connection cut in silence would otherwise stay for ever.
"""

import enum
import operator
from collections.abc import Iterable
from functools import reduce
from itertools import count

import zmq
from zmq.utils.monitor import parse_monitor_message

from meshflow.runtime.address import Address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.settings import TransportSettings

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

_ZAP_DOMAIN = b"meshflow"

_FRAMING_BYTES = 1024
"""More than CURVE adds to a message. ZeroMQ checks the size of what arrives, encrypted."""


def open_context(settings: TransportSettings) -> Context:
    """A context of its own: ZAP has one handler per context, and a process may run several nodes."""
    context: Context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, settings.max_sockets)
    return context


def open_router(context: Context, settings: TransportSettings, *, is_ipv6: bool) -> Socket:
    """A ROUTER that listens nowhere yet."""
    router = context.socket(zmq.ROUTER)
    _set_up(router, settings, is_ipv6=is_ipv6)
    router.setsockopt(zmq.ROUTER_HANDOVER, 1)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.CURVE_SERVER, 1)
    router.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
    router.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a ZAP handler nobody gets in, instead of all
    return router


def dial(
    context: Context, key: MeshKey, settings: TransportSettings, routing_id: bytes, to: Address
) -> tuple[Socket, "Monitor"]:
    """A DEALER that connects to `to`, and what watches it.

    Raises:
        zmq.ZMQError: there are too many sockets or descriptors; nothing is left behind.
    """
    dealer = context.socket(zmq.DEALER)
    monitor = None
    try:
        _set_up(dealer, settings, is_ipv6=to.is_ipv6)
        dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        dealer.setsockopt(zmq.IMMEDIATE, 0)
        dealer.setsockopt(zmq.RECONNECT_IVL, _ms(settings.reconnect_s))
        dealer.setsockopt(zmq.RECONNECT_IVL_MAX, _ms(settings.max_reconnect_s))
        dealer.setsockopt(zmq.CONNECT_TIMEOUT, _ms(settings.connect_timeout_s))
        dealer.setsockopt(zmq.CURVE_SERVERKEY, key.public.encode("ascii"))
        dealer.setsockopt(zmq.CURVE_PUBLICKEY, key.public.encode("ascii"))
        dealer.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode("ascii"))
        monitor = Monitor(context, dealer, Sign)
        dealer.connect(str(to))
    except zmq.ZMQError:
        if monitor is not None:
            monitor.close()
        dealer.close(0)
        raise
    return dealer, monitor


def _set_up(socket: Socket, settings: TransportSettings, *, is_ipv6: bool) -> None:
    socket.setsockopt(zmq.LINGER, _ms(settings.linger_s))
    socket.setsockopt(zmq.SNDHWM, settings.max_queued_messages)
    socket.setsockopt(zmq.RCVHWM, settings.max_queued_messages)
    socket.setsockopt(zmq.MAXMSGSIZE, settings.max_message_bytes + _FRAMING_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _ms(settings.handshake_s))
    socket.setsockopt(zmq.HEARTBEAT_IVL, _ms(settings.heartbeat_s))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _ms(settings.heartbeat_timeout_s))
    socket.setsockopt(zmq.HEARTBEAT_TTL, _ms(settings.heartbeat_timeout_s))
    socket.setsockopt(zmq.IPV6, int(is_ipv6))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


class Sign(enum.IntEnum):
    """What a monitor tells of a socket."""

    CONNECTING = zmq.EVENT_CONNECT_DELAYED
    """TCP is on its way."""
    ACCEPTED = zmq.EVENT_ACCEPTED
    """A ROUTER has taken in a connection. The value is its descriptor."""
    CONNECT_FAILED = zmq.EVENT_CLOSED
    """TCP did not connect."""
    BROKEN_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    """TCP connected; then the other side closed, or the handshake timed out. The value is the errno."""
    NOT_UNDERSTOOD = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    """The other side does not speak as a node does."""
    REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
    """The other side's ZAP handler does not know the key."""
    READY = zmq.EVENT_HANDSHAKE_SUCCEEDED
    """Messages can pass."""
    DISCONNECTED = zmq.EVENT_DISCONNECTED
    """TCP is closed; follows a failed handshake too. The value is its descriptor."""
    RETRYING = zmq.EVENT_CONNECT_RETRIED
    """Follows each failure after which the socket tries again. Without it the socket has given up for good."""


FAILED_HANDSHAKE = (Sign.BROKEN_OFF, Sign.NOT_UNDERSTOOD, Sign.REFUSED)


class Monitor:
    """Watches one socket for some signs."""

    _serials = count()

    def __init__(self, context: Context, watched: Socket, signs: Iterable[Sign]) -> None:
        name = f"inproc://meshflow-monitor-{next(self._serials)}"
        self._watched = watched
        self.socket: Socket = context.socket(zmq.PAIR)
        # ZeroMQ's I/O thread would block at the limit, holding a lock that closing the watched socket needs.
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.LINGER, 0)
        try:
            watched.monitor(name, reduce(operator.or_, signs))
            self.socket.connect(name)
        except zmq.ZMQError:
            self.socket.close(0)
            raise

    def read(self) -> tuple[Sign, int] | None:
        """The next sign and its value, or None when there is none for now."""
        try:
            while True:
                event = parse_monitor_message(self.socket.recv_multipart(zmq.NOBLOCK))
                if event["event"] != zmq.EVENT_MONITOR_STOPPED:
                    return Sign(event["event"]), event["value"]
        except zmq.Again:
            return None

    def close(self) -> None:
        """Stop watching. To be called before the watched socket is closed."""
        self._watched.monitor(None, 0)
        self.socket.close(0)
