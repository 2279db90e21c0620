"""Who may connect: the handler of the ZeroMQ Authentication Protocol (RFC 27).

For each client that has shown that it owns its key pair, the ROUTER asks here before any of its messages get through.
A handler serves one context. It is read in the node's loop like any other socket: a thread would save nothing.
"""

import zmq

from meshflow.runtime.transport.curve import key_bytes, key_text
from meshflow.runtime.transport.sockets import Context, Socket

_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_CURVE = b"CURVE"


class Doorkeeper:
    """Lets in who has the accepted key; nobody before there is one."""

    def __init__(self, context: Context) -> None:
        self._accepted = b""
        self.socket: Socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ENDPOINT)

    def accept(self, public: str) -> None:
        """Let in who has this key, and no longer who has the one before. Those who are in already stay in."""
        self._accepted = key_bytes(public)

    def drain(self, limit: int) -> int:
        """Answer up to `limit` requests, and say how many there were."""
        for done in range(limit):
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return done
            self.socket.send_multipart(self._answer(request))
        return limit

    def _answer(self, request: list[bytes]) -> list[bytes]:
        # Only ZeroMQ itself connects here, so the form of the request is not in doubt.
        version, number, _domain, _address, _routing_id, mechanism, *credentials = request
        assert version == _VERSION, version
        if mechanism == _CURVE and credentials and credentials[0] == self._accepted:
            user = key_text(credentials[0]).encode("ascii")
            return [_VERSION, number, b"200", b"OK", user, b""]
        return [_VERSION, number, b"400", b"this key is not accepted", b"", b""]
