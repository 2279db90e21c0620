"""How many connections come in at a port, and that there are not too many.

ZeroMQ takes in whoever connects, and every connection costs a descriptor, and memory, before its key is checked. Left
to itself, a stranger could so use up the descriptors of a node, and then no task could be started there. So while there
are as many connections as there may be, the kernel drops the packets that would begin another one: a filter on the
listening socket, which only Linux has. Connections that exist go on. Who is kept out tries again, as TCP and ZeroMQ do
by themselves, and gets in when others have gone.
"""

import array
import socket
import struct
import sys

_HAS_FILTERS = sys.platform == "linux"
_ATTACH_FILTER, _DETACH_FILTER = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER, see socket(7)."""
_DROP_ALL = array.array("B", struct.pack("HBBI", 0x06, 0, 0, 0))
"""A filter of one instruction: keep 0 bytes."""


class Crowd:
    """Those who came in at `port`, a listening socket: at most `max_count` at a time, and those that the kernel has
    taken in before it was told (its backlog)."""

    def __init__(self, port: socket.socket, max_count: int) -> None:
        self._port = port
        self._max_count = max_count
        self._inside: dict[int, None] = {}
        """The descriptors of their connections. One that was missed is put right when its number is used again."""
        self._is_shut = False

    def __len__(self) -> int:
        return len(self._inside)

    def came(self, descriptor: int) -> bool:
        """Somebody has come in. Returns whether it is full now, and was not before."""
        self._inside[descriptor] = None
        return self._shut_or_open()

    def went(self, descriptor: int) -> None:
        """Somebody has gone."""
        self._inside.pop(descriptor, None)
        self._shut_or_open()

    def all_went(self) -> None:
        """The connections of all of them were closed."""
        self._inside.clear()
        self._shut_or_open()

    def _shut_or_open(self) -> bool:
        """Returns whether it has just been shut."""
        is_full = len(self._inside) >= self._max_count
        if is_full == self._is_shut:
            return False
        self._is_shut = is_full
        if _HAS_FILTERS and is_full:
            program = struct.pack("HP", 1, _DROP_ALL.buffer_info()[0])
            self._port.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        elif _HAS_FILTERS:
            self._port.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)
        return is_full
