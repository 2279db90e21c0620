"""What takes bytes from outside, with examples of what it should be given, and what it may raise.

A target is a function of bytes. It returns, or raises what its documentation says and the function catches; all else is
a fault.
"""

import atexit
import random
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import msgpack

from meshflow import wire
from meshflow.config import Config
from meshflow.core import records
from meshflow.core.attempts import Attempt
from meshflow.core.messages import Job
from meshflow.core.records import State
from meshflow.core.requests import Request
from meshflow.errors import ConfigLoadError, PeerError
from meshflow.runtime.key_files import keep_keys, read_keys
from meshflow.runtime.keys import BadKey, make_key
from meshflow.runtime.pipes import Frame, FrameReader, RunTask, Signalled, StoreAsked, TaskEnded, pack
from meshflow.settings import build
from meshflow.tags import TAGS
from tests.fuzz.kept import feed_rows, feed_spool, row_examples, spool_examples
from tests.system.strangers import messages_with, variants

_MAX_BYTES = 1 << 26
_MAX_FRAME_BYTES = 1 << 30
_ENTRIES = records.Entry
_WALL = 1.7e9


@dataclass(frozen=True)
class Target:
    """One thing to be fed."""

    run: Callable[[bytes], object]
    examples: Callable[[], Sequence[bytes]]


@cache
def _folder() -> Path:
    folder = mkdtemp(prefix="fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _messages(data: bytes) -> None:
    try:
        message = wire.decode_message(data, _MAX_BYTES)
    except PeerError:
        return
    wire.encode_message(message)  # what was let in can be sent on


def _records(data: bytes) -> None:
    """What a store kept: entries and records of any class."""
    for kind in (_ENTRIES, Request, records.Batch, records.RunRecord):
        try:
            wire.encode(wire.decode(kind, data))
        except PeerError:
            continue


def _values(data: bytes) -> None:
    try:
        wire.encode_value(wire.decode_value(data))
    except PeerError:
        return


def _frames(data: bytes) -> None:
    """What a task process says, in pieces as a socket gives them."""
    reader = FrameReader(_MAX_FRAME_BYTES)
    try:
        for start in range(0, len(data), 61):
            list(reader.feed(data[start : start + 61]))
    except PeerError:
        return


def _keys(data: bytes) -> None:
    path = _folder() / "mesh.key"
    path.touch(0o600)
    path.write_bytes(data)
    try:
        read_keys(path)
    except BadKey:
        return


def _key_examples() -> list[bytes]:
    files = []
    for count in (1, 2):
        path = Path(mkdtemp(dir=_folder()), "mesh.key")
        keep_keys(path, tuple(make_key() for _ in range(count)))
        files.append(path.read_bytes())
    return files


def _configs(data: bytes) -> None:
    path = _folder() / "meshflow.yml"
    path.write_bytes(data)
    config = Config()
    config._extend_module_path = lambda: None  # type: ignore[method-assign]  # sys.path would grow for ever
    try:
        config.load_from_file(str(path))
    except ConfigLoadError:
        return
    config.shown()
    assert build({}) is not None


def _frame_examples() -> list[bytes]:
    job = Job(Attempt("65a1f0c2d3e4b5a697887766/d:1", 0, 1, 1), "t", "w", "q", "digest", (), None, None)  # type: ignore[arg-type]
    frames: list[Frame] = [
        RunTask(1, job, {"digest": b"code"}, False),
        TaskEnded(1, State.COMPLETED, b"value", ("a", "b"), "why", _WALL, _WALL, False),
        Signalled(1, 1, "start_dag", wire.encode_value({"name": "d"}), b"data"),
        StoreAsked(1, 1, b"request"),
    ]
    return [pack(frame) for frame in frames] + [b"".join(map(pack, frames))]


def _record_examples() -> list[bytes]:
    found: list[object] = []
    for kind in TAGS.values():
        found += variants(kind, b"data")
    return [wire.encode(value) for value in found]


def _value_examples() -> list[bytes]:
    found: list[object] = [None, [1, {"a": 2.5, "b": [b"x", "text"]}], {"x": [[[[]]]]}]
    return [wire.encode_value(value) for value in found]


TARGETS = {
    "messages": Target(_messages, lambda: [wire.encode_message(each) for each in messages_with(b"data")]),
    "records": Target(_records, _record_examples),
    "values": Target(_values, _value_examples),
    "frames": Target(_frames, _frame_examples),
    "rows": Target(lambda data: feed_rows(data, _folder()), row_examples),
    "spool": Target(lambda data: feed_spool(data, _folder()), spool_examples),
    "keys": Target(_keys, _key_examples),
    "configs": Target(_configs, lambda: [Config.default().encode()]),
}


def mutated(example: bytes, rng: random.Random) -> bytes:
    """Something like the example: changed as bytes, as a msgpack value where it is one, or both."""
    data = bytearray(example)
    if rng.random() < 0.6:
        data = bytearray(_restructured(example, rng) or data)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0 if at < len(data):
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(1, 9)]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:  # headers that announce more than there is
                data[at:at] = bytes([rng.choice(b"\xc6\xc9\xdb\xdd\xdf")]) + struct.pack(">I", rng.getrandbits(32))
            case _:
                data[at:at] = data[: rng.randrange(1, 65)] * rng.choice((1, 2, 100))
    return bytes(data)


def _restructured(example: bytes, rng: random.Random) -> bytes | None:
    head = example[:1] if example[:1] == b"\x01" else b""
    try:
        plain = msgpack.unpackb(example[len(head) :], strict_map_key=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None  # atheris gives what was damaged before
    spots: list[tuple[Any, object]] = []
    waiting: list[object] = [plain]
    while waiting:
        node = waiting.pop()
        items = (
            list(enumerate(node)) if isinstance(node, list) else list(node.items()) if isinstance(node, dict) else []
        )
        for key, each in items:
            spots.append((node, key))
            waiting.append(each)
    for _ in range(rng.choice((1, 1, 2)) if spots else 0):
        node, key = rng.choice(spots)
        if isinstance(node, dict) or (isinstance(key, int) and key < len(node)):
            node[key] = _anything(rng, 0)
    try:
        packed: bytes = msgpack.packb(plain, unicode_errors="surrogatepass")
    except (ValueError, TypeError, OverflowError):
        return None
    return head + packed


def _anything(rng: random.Random, depth: int) -> object:
    match rng.randrange(9 if depth < 3 else 7):
        case 0:
            return rng.choice((None, True, False))
        case 1:
            return rng.choice((0, -1, 1, 2**63 - 1, -(2**63), 2**64 - 1, rng.getrandbits(20)))
        case 2:
            return rng.choice((0.0, -1.5, 1e308, float("inf"), float("nan")))
        case 3:
            return rng.choice(("", "x", "\0", "65a1f0c2d3e4b5a697887766", "a" * 3000, "/", "\ud800"))
        case 4:
            return rng.randbytes(rng.randrange(20))
        case 5:
            return msgpack.ExtType(rng.randrange(4), rng.randbytes(rng.choice((0, 7, 8, 9))))
        case 6:
            return rng.randrange(120)
        case 7:
            return [_anything(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {rng.choice(("a", "b", "")): _anything(rng, depth + 1) for _ in range(rng.randrange(3))}
