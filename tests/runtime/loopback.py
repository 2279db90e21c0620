"""Transports on loopback, for tests: made, waited for and closed."""

import os
import select
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from meshflow.core.messages import Message, Probe
from meshflow.ids import NodeId
from meshflow.runtime.keys import MeshKey, make_key
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.settings import TransportSettings

KEY = make_key()
OTHER_KEY = make_key()
SETTINGS = TransportSettings(linger_s=0.2, handshake_s=0.5, connect_timeout_s=0.5)
LOOPBACK = "tcp://127.0.0.1:0"

_PATIENCE_S = 10.0
_LIMIT = 256


def node_id(number: int) -> NodeId:
    """A node id that is easy to read in a failure."""
    return NodeId(f"{number:016x}")


def number_of(message: Message) -> int:
    """The number in a Probe."""
    assert isinstance(message, Probe), message
    return message.seq


def descriptor_count() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Loopback:
    """Makes transports and lines with the ids 1, 2, 3, ... and runs the transports as a loop would."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._made_count = 0
        self._live: list[Transport] = []
        self.got: dict[NodeId, list[tuple[NodeId, Message]]] = {}
        """What each transport has received, in order."""
        self.lost: list[NodeId] = []
        """The peers that transports called disconnected."""

    def node(self, bind: str = LOOPBACK, key: MeshKey = KEY, settings: TransportSettings = SETTINGS) -> Transport:
        """A new transport."""
        self._made_count += 1
        return self.adopt(Transport(node_id(self._made_count), key, bind, settings))

    def adopt(self, transport: Transport) -> Transport:
        """Run a transport that was made elsewhere."""
        self._live.append(transport)
        self.got[transport.me] = []
        return transport

    def pair(self, settings: TransportSettings = SETTINGS) -> tuple[Transport, Transport]:
        """Two transports that know each other."""
        one, two = self.node(settings=settings), self.node(settings=settings)
        one.introduce(two.me, two.address)
        two.introduce(one.me, one.address)
        return one, two

    def line(self, address: str, key: MeshKey = KEY, settings: TransportSettings = SETTINGS) -> Line:
        """A new client's line."""
        self._made_count += 1
        return self._opened.enter_context(closing(Line(node_id(self._made_count), key, address, settings)))

    def end(self, transport: Transport) -> None:
        """Close a transport before the test ends."""
        self._live.remove(transport)
        transport.close()

    def run(self, until: Callable[[], object]) -> None:
        """Let all transports receive until `until()` holds."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while True:
            for transport in self._live:
                self.got[transport.me] += transport.receive(_LIMIT)
                self.lost += transport.disconnected()
            if until():
                return
            assert time.monotonic() < give_up_at, f"nothing came of it; received: {self.got}"
            if not any(transport.has_more() for transport in self._live):
                select.select([transport.fileno() for transport in self._live], [], [], 0.05)

    def expect(self, receiver: Transport, count: int = 1) -> list[Message]:
        """Run until `receiver` has received `count` messages since it was made, and say which."""
        self.run(until=lambda: len(self.got[receiver.me]) >= count)
        return self.messages(receiver)

    def messages(self, of: Transport) -> list[Message]:
        """What a transport has received, without the senders."""
        return [message for _, message in self.got[of.me]]

    def close(self) -> None:
        """Close all."""
        for transport in self._live:
            transport.close()
        self._opened.close()
