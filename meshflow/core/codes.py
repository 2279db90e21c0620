"""Pickled code that owners have sent, kept by digest for the jobs that follow. What was used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Sequence


class Codes:
    """Keeps up to `max_bytes`, and all that came last even if that is more."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._codes: OrderedDict[str, bytes] = OrderedDict()
        self._size_bytes = 0

    def keep(self, codes: dict[str, bytes]) -> None:
        """Keep these too."""
        for digest, code in codes.items():
            self._size_bytes += len(code) - len(self._codes.pop(digest, b""))
            self._codes[digest] = code
        while self._size_bytes > self._max_bytes and len(self._codes) > len(codes):
            _, dropped = self._codes.popitem(last=False)
            self._size_bytes -= len(dropped)

    def find(self, digests: Sequence[str]) -> dict[str, bytes] | None:
        """`{digest: code}` of all these; None if one of them is not at hand."""
        found: dict[str, bytes] = {}
        for digest in digests:
            if digest not in self._codes:
                return None
            self._codes.move_to_end(digest)
            found[digest] = self._codes[digest]
        return found
