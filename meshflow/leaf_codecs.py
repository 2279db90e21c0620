"""How values of plain types travel: the leaves of `codec.py`, and what holds others of their kind.

Every codec checks all that it is given, either way, and raises Mismatch and nothing else.
"""

import functools
import math
import reprlib
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import NamedTuple, NoReturn

from meshflow.core import requests

MAX_DEPTH = 100
"""How deep lists and dicts of a native value may be nested: MongoDB's own limit."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1

Step = Callable[[object], object]


class Mismatch(Exception):
    """A value is not what its place demands; `wire.py` turns it into the error of whoever is at fault."""


class Codec(NamedTuple):
    """Both ways between a value and its plain form. Each checks all that it is given."""

    encode: Step
    decode: Step


def refuse(where: str, expected: str, value: object) -> NoReturn:
    """Raise the Mismatch that says so."""
    # reprlib, for what a peer sent may be large, and the error text must not be.
    raise Mismatch(f"{where}: expected {expected}, got {reprlib.repr(value)}")


def same(check: Step) -> Codec:
    """The codec of what travels as it is, once it is checked."""
    return Codec(check, check)


def integer_codec(where: str) -> Codec:
    """An integer of 64 bits."""

    def check(value: object) -> object:
        if type(value) is not int or not INT_MIN <= value <= INT_MAX:
            refuse(where, "an integer of 64 bits", value)
        return value

    return same(check)


def float_codec(where: str) -> Codec:
    """A finite number."""

    def check(value: object) -> object:
        # "Not a number" is neither before nor after any time, and infinity minus infinity is not a number.
        if type(value) is float and math.isfinite(value):
            return value
        if type(value) is int and INT_MIN <= value <= INT_MAX:
            return float(value)
        refuse(where, "a finite number", value)

    return same(check)


def exact_codec(cls: type, expected: str, where: str) -> Codec:
    """A value of just this type."""

    def check(value: object) -> object:
        if type(value) is not cls:
            refuse(where, expected, value)
        return value

    return same(check)


def enum_codec(cls: type[Enum], where: str) -> Codec:
    """The value of a member."""
    members = {each.value: each for each in cls}
    kind = type(next(iter(members)))

    def encode(value: object) -> object:
        if not isinstance(value, cls):
            refuse(where, cls.__name__, value)
        return value._value_  # the same as `value`, without a call in Python

    def decode(plain: object) -> object:
        # The type is compared too, for True equals 1, which may be a member.
        if type(plain) is not kind or plain not in members:
            refuse(where, cls.__name__, plain)
        return members[plain]

    return Codec(encode, decode)


def sequence_codec(cls: type, item: Codec, where: str) -> Codec:
    """An array of items of one kind."""
    encode_item, decode_item = item

    def encode(value: object) -> object:
        if not isinstance(value, cls) or not isinstance(value, tuple | list):
            refuse(where, cls.__name__, value)
        return [encode_item(each) for each in value]

    def decode(plain: object) -> object:
        if type(plain) is not list:
            refuse(where, "an array", plain)
        return cls([decode_item(each) for each in plain])

    return Codec(encode, decode)


def row_codec(items: list[Codec], where: str) -> Codec:
    """A tuple of so many values, each of its own type."""

    def encode(value: object) -> object:
        if type(value) is not tuple or len(value) != len(items):
            refuse(where, f"a tuple of {len(items)}", value)
        return [item.encode(each) for item, each in zip(items, value, strict=True)]

    def decode(plain: object) -> object:
        if type(plain) is not list or len(plain) != len(items):
            refuse(where, f"an array of {len(items)}", plain)
        return tuple([item.decode(each) for item, each in zip(items, plain, strict=True)])

    return Codec(encode, decode)


def map_codec(item: Codec, where: str) -> Codec:
    """A map from text to items of one kind."""

    def convert(step: Step, value: object) -> object:
        if type(value) is not dict or not all(type(key) is str for key in value):
            refuse(where, "a map with text as keys", value)
        if not value:
            return {}
        return {key: step(each) for key, each in value.items()}

    return Codec(functools.partial(convert, item.encode), functools.partial(convert, item.decode))


def native_codec(where: str) -> Codec:
    """A native value. `wire.py` packs datetime and Pickled; the rest is plain already, and only checked and copied."""
    return same(lambda value: _native(value, where, 0))


def _native(value: object, where: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        refuse(where, f"at most {MAX_DEPTH} levels of lists and dicts", value)
    match value:
        case None | bool() | float() | str() | bytes() | datetime() | requests.Pickled(bytes()):
            return value
        case int() if INT_MIN <= value <= INT_MAX:
            return value
        case list():
            return [_native(each, where, depth + 1) for each in value]
        case dict() if all(isinstance(key, str) for key in value):
            return {key: _native(each, where, depth + 1) for key, each in value.items()}
    refuse(where, "a native value, with integers of 64 bits and text as keys", value)
