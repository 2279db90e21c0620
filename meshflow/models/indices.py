"""Finding all places of an element."""

from collections.abc import Iterable


def find_indices(lst: Iterable[object], element: object) -> list[int]:
    """All positions of `element` in `lst`, in order."""
    return [index for index, item in enumerate(lst) if item == element]
