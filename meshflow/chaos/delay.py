"""A cable that takes its time. Linux has netem for that, which many kernels are built without; so it is done here.

    host e0 == cable  <- frames, held by a thread ->  _END == _PLUG  switch

The host's cable is pulled out of the switch. The plug of another goes in instead, and the thread carries each frame
from one open end to the other when its time has come, in the order in which they came, as a cable does. It ends with
the process, and the interfaces with the sandbox.

Frames come with what the kernel has left undone in them (a checksum, the cutting up of a large one), which
`PACKET_VNET_HDR` puts before each, and takes back with it.
"""

import random
import select
import socket
import threading
import time
from collections import deque
from contextlib import suppress

from meshflow.chaos.hosts import run

HELD_S = (0.1, 0.2)
"""How long a frame is held, either way: as between continents, and at the worst a good part of a probe's patience."""

_PLUG, _END = "late0", "late1"

_ALL_PROTOCOLS = 0x0003
_PACKET, _HEADER, _IGNORE_OUTGOING, _BUFFER = 263, 15, 23, 33
"""SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, SO_RCVBUFFORCE: the module `socket` does not name them."""

_FRAME_BYTES = 128 * 1024
"""More than the largest frame before it is cut up."""

_BUFFER_BYTES = 8 * 1024 * 1024
"""What may wait for the thread while the machine is busy."""


class Delay:
    """Holds every frame between a host's cable and the switch, from here on until `close`."""

    def __init__(self, cable: str, switch: str, seed: int) -> None:
        """`seed` draws how long each frame is held.

        Raises:
            ChaosFailed: `ip` failed.
        """
        self._cable, self._switch = cable, switch
        # Without ARP, so that the game does not answer at an open end for its own address at the switch.
        run("ip", "link", "add", _PLUG, "type", "veth", "peer", "name", _END)
        run("ip", "link", "set", _END, "arp", "off", "up")
        run("ip", "link", "set", cable, "nomaster", "arp", "off")
        near, far = _open(cable), _open(_END)
        self._others = {near: far, far: near}
        run("ip", "link", "set", _PLUG, "master", switch, "up")
        self._rng = random.Random(seed)
        self._over, self._until_close = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, name="delay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Put the cable back into the switch. What is held is lost.

        Raises:
            ChaosFailed: `ip` failed.
        """
        self._until_close.close()
        self._thread.join()
        for end in (self._over, *self._others):
            end.close()
        run("ip", "link", "del", _PLUG)
        run("ip", "link", "set", self._cable, "master", self._switch, "arp", "on")

    def _carry(self) -> None:
        held: deque[tuple[float, socket.socket, bytes]] = deque()
        while True:
            wait_s = max(held[0][0] - time.monotonic(), 0.0) if held else None
            readable, _, _ = select.select([self._over, *self._others], [], [], wait_s)
            if self._over in readable:
                return
            now = time.monotonic()
            for end in readable:
                with suppress(OSError):  # what cannot be carried is lost, as anywhere on the way
                    frame = end.recv(_FRAME_BYTES)
                    due_at = max(now + self._rng.uniform(*HELD_S), held[-1][0] if held else 0.0)
                    held.append((due_at, self._others[end], frame))
            while held and held[0][0] <= now:
                _, to, frame = held.popleft()
                with suppress(OSError):
                    to.send(frame)


def _open(interface: str) -> socket.socket:
    """An end of a cable: gives every frame that arrives there, and sends frames out."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    end.setblocking(False)
    end.setsockopt(_PACKET, _HEADER, 1)
    end.setsockopt(_PACKET, _IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, _BUFFER, _BUFFER_BYTES)
    end.bind((interface, _ALL_PROTOCOLS))
    return end
