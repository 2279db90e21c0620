"""Where a node listens: one port, with one key at a time, which can be changed while others wait at the port.

ZeroMQ takes the key of a listener from its ROUTER when the listener is made, and closes the connections that came in
through a listener when that ends. So to change the key is to end the listener and to make another, on the same ROUTER.
The port itself is ours and is only lent to ZeroMQ: nobody else can take it in between, and who connects at that moment
waits for the next listener.

Both ends of a connection prove themselves with the same key. Hence all connections that were made with the old key end
with its listener, and none is made with it afterwards.
"""

import errno
import os
import socket

import zmq

from meshflow.runtime.address import Address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.crowd import Crowd
from meshflow.runtime.transport.problems import CannotBind, PortInUse
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context, Socket
from meshflow.runtime.transport.zap import Doorkeeper


class Door:
    """The port at `at` (port 0: any free one) through which connections come to `router`; shut at first."""

    def __init__(self, context: Context, router: Socket, at: Address, settings: TransportSettings) -> None:
        """
        Raises:
            PortInUse: something listens there already.
            CannotBind: the system refuses for another reason.
        """
        self.keeper = Doorkeeper(context)
        """Says who may come in; to be drained."""
        self._router = router
        self._endpoint = ""
        try:
            self._port = _listen(at, min(settings.backlog, settings.max_connections))
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE:
                raise PortInUse(str(at)) from None
            raise CannotBind(str(at), problem.strerror or str(problem)) from None
        self.address = Address(at.host, self._port.getsockname()[1])
        """Where it is, with the port that it got."""
        self.crowd = Crowd(self._port, settings.max_connections)

    def open(self, key: MeshKey) -> None:
        """Let in who has this key, and nobody else; connections made with another one are closed.

        Raises:
            OSError: there is no descriptor left for it; nothing has changed.
        """
        lent = os.dup(self._port.fileno())
        self.shut()
        self.keeper.accept(key.public)
        self._router.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode("ascii"))
        self._router.setsockopt(zmq.USE_FD, lent)
        self._router.bind(str(self.address))
        self._endpoint = self._router.getsockopt_string(zmq.LAST_ENDPOINT)

    def shut(self) -> None:
        """Close all connections that came in; those who come now have to wait."""
        if self._endpoint:
            self._router.unbind(self._endpoint)
            self._endpoint = ""
            self.crowd.all_went()

    def close(self) -> None:
        """Give the port back. To be called when the ROUTER is closed."""
        self._port.close()
        self.keeper.socket.close()


def _listen(at: Address, backlog: int) -> socket.socket:
    port = socket.socket(socket.AF_INET6 if at.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        port.setblocking(False)  # or a connection that is gone before it is accepted would block ZeroMQ
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the connections of an earlier node are no obstacle
        if at.is_ipv6:
            port.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        port.bind((at.host, at.port))
        port.listen(backlog)
    except OSError:
        port.close()
        raise
    return port
