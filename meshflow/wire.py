"""Messages and records to bytes and back (msgpack). `codec.py` says how each class travels.

    message     byte PROTOCOL_VERSION, then `[tag, fields]`
    record      `[tag, fields]`, as stores keep them
    datetime    extension type 1: signed 64 bit big-endian milliseconds since 1970, UTC
    Pickled     extension type 2: the pickled bytes

Invariants:
1. What is encoded can be decoded, to an equal value; but for a datetime, which is brought to the form in which all
   stores keep it (naive, UTC, whole milliseconds), and lone surrogates in text, which are spelled out.
2. Decoding raises PeerError and nothing else, whatever the bytes are, and takes memory in proportion to their number.
3. The version comes first and by itself, so that a node of another protocol can be told from a broken one.
"""

import types
import typing
from datetime import datetime, timedelta
from typing import TypeVar, overload

import msgpack

from meshflow.codec import tagged_codec
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.messages import Message
from meshflow.core.requests import Pickled
from meshflow.errors import PeerError, UsageError
from meshflow.leaf_codecs import Codec, Mismatch, native_codec

PROTOCOL_VERSION = 1
"""The first byte of every message."""

_EXT_DATETIME, _EXT_PICKLED = 1, 2
_EPOCH = datetime(1970, 1, 1)
_MILLISECOND = timedelta(milliseconds=1)
_INT64_BYTES = 8

T = TypeVar("T")


class ProtocolMismatch(PeerError):
    """A message of another protocol version: its sender runs another MeshFlow."""

    def __init__(self, theirs: int) -> None:
        super().__init__(
            f"a message of protocol version {theirs}; this node speaks version {PROTOCOL_VERSION}; "
            "run the same release of MeshFlow on every node"
        )
        self.theirs = theirs
        self.ours = PROTOCOL_VERSION


def encode_message(message: Message) -> bytes:
    """The bytes of a message, ready for the transport.

    Raises:
        UsageError: a field holds what cannot travel; the text names it.
    """
    return bytes((PROTOCOL_VERSION,)) + encode(message)


def decode_message(data: bytes | memoryview, max_bytes: int) -> Message:
    """The message in `data`, complete, and with the right types throughout.

    Raises:
        ProtocolMismatch: the sender speaks another protocol version.
        PeerError: anything else is wrong with it.
    """
    if len(data) > max_bytes:
        raise PeerError(f"a message of {len(data)} bytes; this node accepts {max_bytes} (`max_message_bytes`)")
    if not data:
        raise PeerError("an empty message; expected a protocol version and a body")
    if data[0] != PROTOCOL_VERSION:
        raise ProtocolMismatch(data[0])
    message = _unpacked(_MESSAGE, memoryview(data)[1:])
    return typing.cast(Message, message)


def encode(value: object) -> bytes:
    """The bytes of a value of any class in `tags.TAGS`, as stores keep them.

    Raises:
        UsageError: a field holds what cannot travel; the text names it.
    """
    return _packed(_codec_of(type(value)), value)


@overload
def decode(kind: type[T], data: bytes | memoryview) -> T: ...
@overload
def decode(kind: types.UnionType, data: bytes | memoryview) -> object: ...
def decode(kind: type[T] | types.UnionType, data: bytes | memoryview) -> object:
    """What `encode` made of a value of the class `kind`, or of a class of the union `kind` (for example `Entry`).

    Raises:
        PeerError: the bytes are damaged, or of something else.
    """
    return _unpacked(_codec_of(kind), data)


def encode_value(value: object) -> bytes:
    """The bytes of a native value.

    Raises:
        UsageError: it is not native, or nested deeper than `leaf_codecs.MAX_DEPTH`.
    """
    return _packed(_VALUE, value)


def decode_value(data: bytes | memoryview) -> object:
    """What `encode_value` made of a native value.

    Raises:
        PeerError: the bytes are damaged, or of something else.
    """
    return _unpacked(_VALUE, data)


def _codec_of(kind: object) -> Codec:
    if kind not in _codecs:
        _codecs[kind] = tagged_codec(typing.get_args(kind) or (kind,), getattr(kind, "__name__", "union"))
    return _codecs[kind]


def _packed(codec: Codec, value: object) -> bytes:
    try:
        # Text from bytes of another encoding (a file name in an error) may hold lone surrogates, for which UTF-8 has no
        # place. They are spelled out: a result must not be lost over them.
        data: bytes = msgpack.packb(codec.encode(value), default=_to_extension, unicode_errors="backslashreplace")
    except Mismatch as problem:
        raise UsageError(f"cannot encode {problem}") from None
    return data


def _unpacked(codec: Codec, data: bytes | memoryview) -> object:
    try:
        return codec.decode(_plain(data))
    except Mismatch as problem:
        raise PeerError(f"cannot decode {problem}") from None


def _plain(data: bytes | memoryview) -> object:
    try:
        return msgpack.unpackb(data, strict_map_key=True, ext_hook=_from_extension)
    # MemoryError: a header may announce more elements than there is room for, before any of them is read.
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as problem:
        raise PeerError(f"not one well-formed msgpack value: {type(problem).__name__} {problem}") from None


def _to_extension(value: object) -> object:
    match value:
        case Pickled(data):
            return msgpack.ExtType(_EXT_PICKLED, data)
        case datetime():
            return msgpack.ExtType(_EXT_DATETIME, _milliseconds(value).to_bytes(_INT64_BYTES, "big", signed=True))
    raise AssertionError(f"the codec let through {value!r}")


def _milliseconds(at: datetime) -> int:
    try:
        return (at.replace(tzinfo=None) - (at.utcoffset() or timedelta()) - _EPOCH) // _MILLISECOND
    except OverflowError:
        raise Mismatch(f"the datetime {at}: expected one of the years 1 to 9999 in UTC") from None


def _from_extension(code: int, data: bytes) -> object:
    if code == _EXT_PICKLED:
        return Pickled(data)
    if code == _EXT_DATETIME and len(data) == _INT64_BYTES:
        return _EPOCH + int.from_bytes(data, "big", signed=True) * _MILLISECOND
    raise Mismatch(f"extension type {code} of {len(data)} bytes: expected a datetime or pickled bytes")


_codecs: dict[object, Codec] = {}
_MESSAGE = tagged_codec(typing.get_args(Message), "message")
_VALUE = native_codec("value")


class StoredDefinitions:
    """Reads what was stored at the submission of a run (`core/definitions.py`)."""

    def workflow(self, data: bytes) -> WorkflowSpec:
        """The blueprint of a workflow.

        Raises:
            PeerError: the bytes make no sense.
        """
        return decode(WorkflowSpec, data)

    def dag(self, data: bytes) -> DagDefinition:
        """The definition of a dag.

        Raises:
            PeerError: the bytes make no sense.
        """
        return decode(DagDefinition, data)
