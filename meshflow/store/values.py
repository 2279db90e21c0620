"""Native values on their way into a store.

Invariants:
1. What is stored is a copy, with every value of its plain type, so that the same comes back from every store.
2. No value is deeper than MAX_VALUE_LEVELS. With the levels a key may have (`document.py`) a document stays below
   MongoDB's limit of 100, so no change can make a document that MongoDB cannot hold but the others can.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from meshflow.core.requests import Pickled
from meshflow.store.rules import MAX_BYTES, spelled_out

MAX_VALUE_LEVELS = 64
"""How deep lists and dicts may be nested in a value."""

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class Refusal(Exception):
    """The request cannot be performed; the text is the reason that its sender gets in a Refused."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Stands in a tree for a large value that the store keeps elsewhere."""

    reference: object
    """Whatever finds it again."""
    is_pickled: bool
    """Whether it is a Pickled; else it is bytes."""


def native(value: object, key: str) -> object:
    """A copy of a native value as it is stored: plain types, datetimes naive in UTC and whole milliseconds.

    Raises:
        Refusal: it is not native, too large or nested too deep; `key` names its place.
    """
    try:
        return _native(value, 0)
    except Refusal as problem:
        raise Refusal(f"the value for {key!r} cannot be stored: {problem}") from None


def _native(value: object, level: int) -> object:
    match value:
        case str():
            _check_size(value)
            return _plain(value)
        case None | bool():
            return value
        case float():
            return float(value)
        case int():
            if not _INT_MIN <= value <= _INT_MAX:
                raise Refusal(f"an integer of {value.bit_length()} bits does not fit 64; store it as text or pickled")
            return int(value)
        case bytes():
            _check_size(value)
            return bytes(value)
        case Pickled(data):
            _check_size(data)
            return Pickled(bytes(data))
        case datetime():
            return _utc(value)
    if level == MAX_VALUE_LEVELS:
        raise Refusal(f"it is nested deeper than {MAX_VALUE_LEVELS} levels; store it pickled")
    match value:
        case list():
            return [_native(item, level + 1) for item in value]
        case dict():
            return {_native_key(name): _native(item, level + 1) for name, item in value.items()}
    raise Refusal(f"{type(value).__name__} is not a native type; store it pickled")


def _utc(value: datetime) -> datetime:
    try:
        utc = value.replace(tzinfo=None) - (value.utcoffset() or timedelta())
    except OverflowError:
        raise Refusal(f"{value} is not in the years 1 to 9999 in UTC") from None
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def _native_key(name: object) -> str:
    if not isinstance(name, str):
        raise Refusal(f"the dict key {name!r} is not text; convert it, or store the dict pickled")
    return _plain(name)


def _plain(text: str) -> str:
    return spelled_out(str.__str__(text))  # of a subclass, whose own __str__ may say something else


def check_blob(key: str, data: bytes) -> None:
    """Raises:
    Refusal: the blob is too large.
    """
    try:
        _check_size(data)
    except Refusal as problem:
        raise Refusal(f"blob {key!r} cannot be stored: {problem}") from None


def _check_size(value: str | bytes) -> None:
    if len(value) > MAX_BYTES:
        raise Refusal(f"it has {len(value)} bytes, more than {MAX_BYTES}; write it to a file and store its path")


def copied(tree: object) -> object:
    """A copy of a tree; its leaves, which cannot be changed, are shared."""
    if isinstance(tree, dict):
        return {name: copied(item) for name, item in tree.items()}
    if isinstance(tree, list):
        return [copied(item) for item in tree]
    return tree
