"""How large a YAML file is once every alias stands for a copy.

An alias costs a word in the file, and what it stands for may hold aliases again: a few lines can mean billions of
values, to whoever walks through them (to show them, or to merge them). So they are counted before anything is made.
"""

from typing import Any

MAX_VALUES = 100_000
"""Far above what anybody writes, and shown within a second."""


class TooManyValues(ValueError):
    """There are more values than a configuration can need, or without end."""


def check_size(root: Any) -> None:
    """Look at a tree of YAML nodes, in which an alias is the node that it stands for.

    Raises:
        TooManyValues: it means more than `MAX_VALUES` values, or a value holds itself.
        RecursionError: it is nested too deep.
    """
    _count(root, {})


def _count(node: Any, known: dict[int, int]) -> int:
    if not isinstance(node.value, list):
        return 1
    if id(node) in known:
        count = known[id(node)]
        if not count:
            raise TooManyValues(f"the value on line {node.start_mark.line + 1} holds an alias of itself")
        return count
    known[id(node)] = 0  # not counted to its end yet
    below = [each for item in node.value for each in (item if isinstance(item, tuple) else (item,))]
    count = 1 + sum(_count(each, known) for each in below)
    if count > MAX_VALUES:
        raise TooManyValues(
            f"the value on line {node.start_mark.line + 1} means {count} values with all its aliases; "
            f"expected {MAX_VALUES} at most"
        )
    known[id(node)] = count
    return count
