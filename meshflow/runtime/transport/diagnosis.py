"""What went wrong with a connection, told from the signs of its socket.

    sign             while it was being made                      once it was ready
    CONNECT_FAILED   at once: nobody there; after long: silent
    REFUSED          wrong key (ZAP says no)
    NOT_UNDERSTOOD   not a node
    BROKEN_OFF       timed out: silent; closed: wrong key
    RETRYING         without any of the above: no such name
    DISCONNECTED     without any of the above: not a node         connection lost

A node closes without a word on who encrypts to another key than its own. One that is just ending closes too, so that it
takes two in a row for a wrong key: there is no second handshake with a node that ended.
"""

import errno

from meshflow.runtime.transport.problems import ConnectionLost, NobodyThere, NotANode, Silent, Unreachable, WrongKey
from meshflow.runtime.transport.sockets import FAILED_HANDSHAKE, Sign

_CLOSED_FOR_WRONG_KEY = 2

_NEARLY = 0.9
"""A connection that fails after this share of the time it has, has timed out."""


class Diagnosis:
    """The state of one connection."""

    def __init__(self, address: str, connect_timeout_s: float) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._connecting_at = 0.0
        self.is_ready = False
        """Whether messages can pass."""
        self._closed_count = 0
        self._last: Sign | None = None

    @property
    def has_given_up(self) -> bool:
        """Whether the socket may have ended its attempts, so that what is sent has nowhere to go."""
        return self._last is Sign.DISCONNECTED or self._last in FAILED_HANDSHAKE

    def feed(self, sign: Sign, value: int, now: float) -> Unreachable | None:
        """What `sign` means, seen at the monotonic time `now`; None if nothing, or nothing yet."""
        before, self._last = self._last, sign
        match sign:
            case Sign.READY:
                self.is_ready = True
                self._closed_count = 0
            case Sign.CONNECTING:
                self._connecting_at = now
            case Sign.CONNECT_FAILED:
                has_timed_out = now - self._connecting_at >= _NEARLY * self._connect_timeout_s
                return Silent(self._address) if has_timed_out else NobodyThere(self._address)
            case Sign.REFUSED:
                return WrongKey(self._address)
            case Sign.NOT_UNDERSTOOD:
                return NotANode(self._address)
            case Sign.BROKEN_OFF if value == errno.EAGAIN:
                return Silent(self._address)
            case Sign.BROKEN_OFF:
                self._closed_count += 1
                return WrongKey(self._address) if self._closed_count >= _CLOSED_FOR_WRONG_KEY else None
            case Sign.DISCONNECTED if self.is_ready:
                self.is_ready = False
                return ConnectionLost(self._address)
            case Sign.DISCONNECTED if before not in FAILED_HANDSHAKE:
                return NotANode(self._address)
            case Sign.RETRYING if before in (None, Sign.RETRYING):
                return NobodyThere(self._address, "its name cannot be resolved")
        return None
