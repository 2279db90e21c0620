"""Inside a task process: the functions that it was sent to call, by the node and by clients that leased it.

A function of a script or a notebook brings globals of its own, in which an initializer leaves what it made, or a call
what it loaded. So a function is made once in a process, whichever way its calls come.
"""

from meshflow.models.calls import Callee

_MAX_LEASED_BYTES = 64 * 1024 * 1024
"""Code of functions that only clients have sent, beyond which those go that were sent first. The node counts the bytes
of what it sends itself."""


class Callees:
    """Functions by digest."""

    def __init__(self, max_leased_bytes: int = _MAX_LEASED_BYTES) -> None:
        self._max_leased_bytes = max_leased_bytes
        self._callees: dict[str, Callee] = {}
        self._leased: dict[str, int] = {}
        """Those that only clients have sent, and how many bytes their code has."""

    def of_node(self, digest: str, code: bytes | None) -> Callee:
        """A function that the node sends, with its code when it does so first."""
        self._leased.pop(digest, None)
        return self._get(digest, code)

    def of_client(self, digest: str, code: bytes | None) -> Callee:
        """A function that a client sends, with its code when it does so first in a lease."""
        if code is not None and digest not in self._callees:
            self._leased[digest] = len(code)
        return self._get(digest, code)

    def begin_lease(self) -> None:
        """A client may feed calls from here on. It counts on what it sends until the lease ends."""
        while self._leased and sum(self._leased.values()) > self._max_leased_bytes:
            oldest = next(iter(self._leased))
            del self._leased[oldest], self._callees[oldest]

    def clear(self) -> None:
        """Forget them all."""
        self._callees.clear()
        self._leased.clear()

    def _get(self, digest: str, code: bytes | None) -> Callee:
        callee = self._callees.get(digest)
        if callee is None:
            assert code is not None, digest
            callee = self._callees[digest] = Callee(code)
        return callee
