"""One end of a connection that is being made, for each key that the other side may have.

While a mesh changes its key, nobody can know which of two keys the other side listens with. So all are tried at once,
each over a socket of its own; the first that gets through the handshake is the connection, and the others are closed.
With one key there is one socket, and nothing to choose.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from meshflow.runtime.address import Address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.diagnosis import Diagnosis
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.runtime.transport.sockets import Context, Monitor, Socket, dial


@dataclass(slots=True, eq=False)
class End:
    """A DEALER, and what is known of it."""

    key: MeshKey
    socket: Socket
    monitor: Monitor
    diagnosis: Diagnosis
    is_refused: bool = False
    """Whether the other side has another key."""

    def close(self, linger_s: float = 0.0) -> None:
        """Close, and drop what has not gone out within `linger_s`."""
        self.monitor.close()
        self.socket.close(round(linger_s * 1000))


def open_ends(
    context: Context, keys: Sequence[MeshKey], settings: TransportSettings, names: Iterable[bytes], address: Address
) -> list[End]:
    """An end for each key, with a routing id from `names`.

    Raises:
        zmq.ZMQError: there are too many sockets or descriptors; nothing is left behind.
    """
    ends = []
    with ExitStack() as undo:
        for key, name in zip(keys, names, strict=False):
            socket, monitor = dial(context, key, settings, name, address)
            ends.append(End(key, socket, monitor, Diagnosis(str(address), settings.connect_timeout_s)))
            undo.callback(ends[-1].close)
        undo.pop_all()
    return ends
