"""One stable descriptor for all sockets of a node, and which of them must be looked at.

The descriptor of a ZeroMQ socket is edge-triggered: it says that something changed, once. Whoever was told must read
until there is nothing more, or remember that there may be. Every call on a socket, sending too, may take the news away
from its descriptor (zmq_getsockopt(3), ZMQ_FD). So:

1. A socket is *awake* from when its descriptor said so, or it was touched (sent on), until a drain came to its end.
2. Only when no awake socket has anything to read may the loop wait for the descriptor.
3. Awake sockets take turns, so that a busy one delays the others by no more than one call.
"""

import selectors
from collections.abc import Callable

import zmq

from meshflow.runtime.transport.sockets import Socket

Drain = Callable[[int], int]
"""Reads up to that many messages of a socket, and says how many there were; fewer than asked for: no more for now. It
closes no socket."""


class Wakeups:
    """The sockets of one node, each with what drains it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._drains: dict[Socket, Drain] = {}
        self._awake: dict[Socket, None] = {}

    def fileno(self) -> int:
        """A descriptor that is readable when a sleeping socket has news. It stays the same as sockets come and go."""
        # epoll and kqueue have a descriptor that can itself be waited for.
        return self._selector.fileno()

    def add(self, socket: Socket, drain: Drain) -> None:
        """Look after a new socket."""
        self._drains[socket] = drain
        self._selector.register(_descriptor(socket), selectors.EVENT_READ, socket)
        self.touch(socket)

    def remove(self, socket: Socket) -> None:
        """Forget a socket; to be called before it is closed."""
        del self._drains[socket]
        self._awake.pop(socket, None)
        self._selector.unregister(_descriptor(socket))

    def touch(self, socket: Socket) -> None:
        """To be called after each send."""
        self._awake[socket] = None

    def run(self, limit: int) -> None:
        """Drain awake sockets, of up to `limit` messages in all."""
        for key, _ in self._selector.select(0):
            self._awake[key.data] = None
        for socket in list(self._awake):
            if limit == 0:
                return
            del self._awake[socket]
            count = self._drains[socket](limit)
            if count == limit:
                self._awake[socket] = None
            limit -= count

    def has_more(self) -> bool:
        """Whether there is something to read of which the descriptor may say nothing."""
        for socket in list(self._awake):
            if int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return True
            del self._awake[socket]
        return False

    def close(self) -> None:
        """Let go of the descriptor."""
        self._selector.close()


def _descriptor(socket: Socket) -> int:
    return int(socket.getsockopt(zmq.FD))
