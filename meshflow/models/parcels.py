"""Values as bytes, without copying what is large: into one file in memory, and out of it by mapping.

A value is pickled with protocol 5: what is large and supports it (arrays, bytearrays) stays out of the pickle. A value
of more than `LARGE_BYTES` becomes a `Parcel`, a file in memory that holds the pickle and behind it each large buffer.
Another process of the host is given the descriptor, maps the file, and its arrays lie in the mapping: one copy in all.

Source: PEP 574; memfd_create(2).
"""

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import msgpack

from meshflow.models import payload

LARGE_BYTES = 64 * 1024
"""Below this, copying costs less than a file."""

_MAX_OPEN = 256
"""Parcels of a process at a time, and the same of mappings, which have a descriptor each, too; of a thousand that it
commonly may have. Further values are copied."""

_ALIGNMENT = 64
"""Of each buffer, as arithmetic units like it."""

PLAIN = frozenset((int, float, bool, type(None), complex))
"""Types whose objects are small and have nothing in them that the receiver might lack."""

_HEAD_BYTES = 5

_FLAT = b"\x00"
"""What a parcel begins with that was made flat; pickles begin otherwise."""

_mappings: "WeakSet[mmap.mmap]" = WeakSet()
"""Those in which something still lies."""


class Parcel:
    """A large value in a file. `spans` are offset and size of the pickle, then of each buffer."""

    open_count = 0

    def __init__(self, fileno: int, spans: Sequence[tuple[int, int]]) -> None:
        self.fileno = fileno
        self.spans = tuple(spans)
        Parcel.open_count += 1

    def __len__(self) -> int:
        """Bytes in all."""
        return sum(self.spans[-1])

    def flatten(self) -> bytes:
        """The value as bytes, for another host."""
        return _flat(self.spans, os.pread(self.fileno, len(self), 0))

    def close(self) -> None:
        """Let go of the file; who has been given its descriptor still has it."""
        if self.fileno >= 0:
            os.close(self.fileno)
            self.fileno = -1
            Parcel.open_count -= 1

    def __del__(self) -> None:
        with suppress(OSError, TypeError):
            self.close()


def dump(value: object) -> bytes | Parcel:
    """The value as bytes, or as a parcel if it is large.

    Raises:
        PickleFailed: it, or something in it, cannot be pickled.
    """
    if type(value) in PLAIN:
        return payload.dump_simple(value)
    parts, buffers = payload.dump_parts(value, LARGE_BYTES)
    size = sum(map(len, parts))
    if not buffers and size <= LARGE_BYTES:
        return b"".join(parts)
    spans = [(0, size)]
    for buffer in buffers:
        offset = -(-sum(spans[-1]) // _ALIGNMENT) * _ALIGNMENT
        spans.append((offset, buffer.nbytes))
    if Parcel.open_count >= _MAX_OPEN:
        return _flat(spans, b"".join(_padded(parts, buffers, spans)))
    try:
        fileno = os.memfd_create("meshflow-value")
    except OSError:  # No descriptors are left.
        return _flat(spans, b"".join(_padded(parts, buffers, spans)))
    parcel = Parcel(fileno, spans)
    _write(fileno, _padded(parts, buffers, spans))
    return parcel


def load(data: "bytes | Parcel", *, is_own: bool = False) -> Any:
    """The value that `dump` was given. `is_own`: nobody else has its file, so that arrays may lie in it and be changed
    there. Otherwise they are copied when they are changed. Raises whatever the pickle raises."""
    if isinstance(data, Parcel):
        content, spans = _content(data, mmap.MAP_SHARED if is_own else mmap.MAP_PRIVATE), data.spans
    elif data[:1] == _FLAT:
        view = memoryview(data)
        size = int.from_bytes(view[1:_HEAD_BYTES], "big")
        spans = msgpack.unpackb(view[_HEAD_BYTES : _HEAD_BYTES + size])
        content = memoryview(bytearray(view[_HEAD_BYTES + size :]))
    else:
        return payload.loads(data)
    head, *buffers = [content[at : at + length] for at, length in spans]
    return payload.loads(head, buffers)


def pack(*fields: object, values: Sequence[object], max_files: int = 0) -> tuple[bytes, list[int]]:
    """Fields and values as a frame, and the descriptors of at most so many parcels among them, to go beside it; those
    beyond are made flat."""
    filenos: list[int] = []
    packed: list[object] = []
    for value in values:
        if isinstance(value, Parcel) and len(filenos) < max_files:
            packed.append((len(filenos), value.spans))
            filenos.append(value.fileno)
        else:
            packed.append(value.flatten() if isinstance(value, Parcel) else value)
    frame: bytes = msgpack.packb((*fields, packed))
    return frame, filenos


def unpack(frame: bytes, filenos: Sequence[int] = ()) -> tuple[list[Any], list[Any]]:
    """The fields of a frame, and its values; the descriptors belong to the parcels among them."""
    *fields, packed = msgpack.unpackb(frame)
    return fields, [
        Parcel(filenos[value[0]], value[1]) if type(value) is list and type(value[0]) is int else value
        for value in packed
    ]


def _content(parcel: Parcel, flags: int) -> memoryview:
    if len(_mappings) < _MAX_OPEN:
        with suppress(OSError):  # No descriptors are left.
            mapped = mmap.mmap(parcel.fileno, len(parcel), flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            _mappings.add(mapped)
            return memoryview(mapped)
    copied = memoryview(bytearray(len(parcel)))
    at = 0
    while at < len(copied) and (count := os.preadv(parcel.fileno, [copied[at:]], at)):
        at += count
    return copied


def _flat(spans: Sequence[tuple[int, int]], content: bytes) -> bytes:
    packed: bytes = msgpack.packb(spans)
    return b"".join((_FLAT, len(packed).to_bytes(_HEAD_BYTES - 1, "big"), packed, content))


def _padded(
    parts: Sequence[bytes], buffers: Sequence[memoryview], spans: Sequence[tuple[int, int]]
) -> Iterator[bytes | memoryview]:
    """All that a parcel holds, in order."""
    yield from parts
    end = spans[0][1]
    for buffer, (offset, size) in zip(buffers, spans[1:], strict=True):
        yield bytes(offset - end)
        yield buffer
        end = offset + size


def _write(fileno: int, pieces: Iterable[bytes | memoryview]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(fileno, view) :]
