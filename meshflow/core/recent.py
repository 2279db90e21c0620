"""What is remembered of the latest past, up to a bound: what was noted longest ago is forgotten first."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Up to `max_count` keys with a value each."""

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        # A plain dict would look through all that it has lost at its front, each time that something is forgotten.
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K, default: V) -> V:
        """The value of a key, or `default` if it is not remembered."""
        return self._values.get(key, default)

    def note(self, key: K, value: V) -> None:
        """Remember this as the latest."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._max_count:
            self._values.popitem(last=False)
