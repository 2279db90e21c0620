"""Whatever may be sent arrives equal, and whatever arrives is a message or a PeerError."""

import types
import typing
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshflow import codec, wire
from meshflow.core import requests
from meshflow.core.client_messages import StoreAnswers
from meshflow.core.messages import Message
from meshflow.errors import PeerError, UsageError
from meshflow.tags import TAG_OF, TAGS

MAX_BYTES = 1 << 20
repeatable = settings(derandomize=True, deadline=None)
MESSAGES: tuple[type, ...] = typing.get_args(Message)

whole_milliseconds = st.datetimes().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
integers = st.integers(-(2**63), 2**63 - 1)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    whole_milliseconds,
    st.builds(requests.Pickled, st.binary(max_size=5)),
)
native = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def values_of(hint: object) -> st.SearchStrategy[object]:
    """Values of an annotation, as any machine might put them into a message."""
    if isinstance(hint, typing.NewType):
        return values_of(hint.__supertype__)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values_of(each) for each in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*[values_of(each) for each in arguments])
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=3), values_of(arguments[1]), max_size=2)
    if hint in PLAIN:
        return PLAIN[hint]
    assert isinstance(hint, type)
    return st.sampled_from(list(hint)) if issubclass(hint, Enum) else st.deferred(lambda: instances_of(hint))


PLAIN: dict[object, st.SearchStrategy[object]] = {
    types.NoneType: st.none(),
    int: integers,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: st.text(max_size=5),
    bytes: st.binary(max_size=5),
    object: native,
}


def instances_of(cls: type) -> st.SearchStrategy[object]:
    """Instances of a class that travels."""
    hints = typing.get_type_hints(cls)
    given_fields = {name: values_of(hint) for name, hint in hints.items()}
    if cls is StoreAnswers:
        given_fields["answers"] = st.lists(answers | st.lists(answers, max_size=2).map(tuple), max_size=3).map(tuple)
    return st.builds(cls, **given_fields)


answers = st.deferred(lambda: st.one_of(native, *[instances_of(cls) for cls in codec.ANSWERS]))
messages = st.one_of([instances_of(cls) for cls in MESSAGES])


@pytest.mark.parametrize("cls", TAGS.values(), ids=lambda cls: cls.__name__)
def test_every_class_comes_back_equal(cls: type) -> None:
    @settings(repeatable, max_examples=20)
    @given(instances_of(cls))
    def check(value: object) -> None:
        found: object = wire.decode(cls, wire.encode(value))
        assert found == value
        assert types_of(found) == types_of(value)

    check()


def types_of(value: object) -> object:
    """The types all the way down, since equality alone would take True for 1."""
    if type(value) in TAG_OF:
        return type(value), [types_of(getattr(value, name)) for name in typing.get_type_hints(type(value))]
    if isinstance(value, list | tuple):
        return type(value), [types_of(each) for each in value]
    if isinstance(value, dict):
        return type(value), {key: types_of(each) for key, each in value.items()}
    return type(value)


@pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.__name__)
def test_every_message_comes_back_equal(cls: type) -> None:
    @settings(repeatable, max_examples=10)
    @given(instances_of(cls))
    def check(message: object) -> None:
        data = wire.encode_message(typing.cast(Message, message))
        assert wire.decode_message(data, MAX_BYTES) == message
        assert wire.decode_message(memoryview(data), MAX_BYTES) == message

    check()


@settings(repeatable, max_examples=200)
@given(native)
def test_native_values_come_back_equal(value: object) -> None:
    found = wire.decode_value(wire.encode_value(value))
    assert found == value
    assert types_of(found) == types_of(value)


@settings(repeatable, max_examples=100)
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))))
@given(st.datetimes(timezones=st.timezones(), allow_imaginary=False))
def test_datetimes_arrive_as_naive_utc_milliseconds(at: datetime) -> None:
    try:
        utc = at.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        with pytest.raises(UsageError, match="years 1 to 9999"):
            wire.encode_value(at)
    else:
        assert wire.decode_value(wire.encode_value(at)) == utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def survives(data: bytes) -> None:
    """Decoding ends in a message that can be sent on, or in PeerError."""
    try:
        message = wire.decode_message(data, MAX_BYTES)
    except PeerError:
        return
    wire.encode_message(message)


@settings(repeatable, max_examples=200)
@given(messages, st.data())
def test_damaged_messages_are_refused_or_still_valid(message: Message, data: st.DataObject) -> None:
    damaged = bytearray(wire.encode_message(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(1, len(damaged) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                damaged[at] = data.draw(st.integers(0, 255))
            case "cut":
                del damaged[at + 1 :]
            case "insert":
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    survives(bytes(damaged))


@settings(repeatable, max_examples=200)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    survives(data)
    survives(bytes([wire.PROTOCOL_VERSION]) + data)


anything = st.recursive(
    leaves.filter(lambda leaf: not isinstance(leaf, datetime | requests.Pickled)),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=20,
)


@settings(repeatable, max_examples=200)
@given(st.sampled_from(sorted(TAGS)), st.lists(anything, max_size=12))
def test_rows_of_wrong_types_are_refused(tag: int, row: list[object]) -> None:
    survives(bytes([wire.PROTOCOL_VERSION]) + msgpack.packb([tag, row]))
    try:
        found: object = wire.decode(TAGS[tag], msgpack.packb([tag, row]))
    except PeerError:
        return
    assert wire.decode(TAGS[tag], wire.encode(found)) == found


@settings(repeatable, max_examples=200)
@given(messages, st.data())
def test_a_message_with_one_wrong_field_is_refused_or_still_valid(message: Message, data: st.DataObject) -> None:
    plain = msgpack.unpackb(wire.encode(message), strict_map_key=False)
    spots: list[tuple[list[object], int]] = []

    def visit(node: object) -> None:
        if isinstance(node, list):
            for index, each in enumerate(node):
                spots.append((node, index))
                visit(each)

    visit(plain)
    place, index = data.draw(st.sampled_from(spots))
    place[index] = data.draw(anything)
    survives(bytes([wire.PROTOCOL_VERSION]) + msgpack.packb(plain))
