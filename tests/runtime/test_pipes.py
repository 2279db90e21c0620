"""Frames survive the way through a stream, and what is none is refused."""

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.attempts import Attempt
from meshflow.core.messages import Input, Job
from meshflow.core.records import State, Value
from meshflow.errors import PeerError
from meshflow.ids import RunId
from meshflow.runtime.pipes import (
    Answered,
    Frame,
    FrameReader,
    RunTask,
    Signalled,
    StopAsked,
    StoreAsked,
    TaskEnded,
    pack,
)

JOB = Job(
    Attempt(RunId("0" * 24 + "/main:1"), 3, 1, 7),
    "fit",
    "flow",
    "task",
    "digest",
    inputs=(Input("a", None, Value(b"\x80\x05")), Input("b", "slot", Value(b""))),
    initial=Value(b"data"),
    timeout_s=1.5,
)

FRAMES: list[Frame] = [
    RunTask(1, JOB, {"digest": b"code"}, False),
    Answered(1, b"answers"),
    StopAsked(2),
    TaskEnded(1, State.COMPLETED, b"value", ("left", "right"), "", 1.0, 2.0, False),
    TaskEnded(1, State.FAILED, b"", None, "ValueError: no", 1.0, 2.0, True),
    Signalled(1, 2, "start_dag", b"arguments", None),
    Signalled(1, 2, "start_dag", b"arguments", b"data"),
    StoreAsked(1, 3, b"request"),
]


def reader() -> FrameReader:
    """A reader of frames of up to 1,000 bytes."""
    return FrameReader(1000)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_back_equal(frame: Frame) -> None:
    assert list(reader().feed(pack(frame))) == [frame]


@given(st.lists(st.integers(1, 50)))
def test_a_stream_may_be_cut_anywhere(sizes: list[int]) -> None:
    stream, feeder = b"".join(map(pack, FRAMES)), reader()
    heard: list[Frame] = []
    for size in [*sizes, len(stream)]:
        heard += feeder.feed(stream[:size])
        stream = stream[size:]

    assert heard == FRAMES


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_reader_that_has_had_much_may_be_cut_anywhere_too(frame: Frame) -> None:
    """Between two fields nothing of a frame is left to read, and yet it is not complete."""
    much, data = Answered(1, bytes(2 * 1024 * 1024)), pack(frame)
    for cut in range(len(data)):
        feeder = FrameReader(10_000_000)
        assert list(feeder.feed(pack(much) + data[:cut])) == [much]
        assert list(feeder.feed(data[cut:])) == [frame]


def test_lone_surrogates_are_spelled_out() -> None:
    (frame,) = reader().feed(pack(TaskEnded(1, State.FAILED, b"", None, "no file '\udc80'", 1.0, 2.0, False)))

    assert isinstance(frame, TaskEnded)
    assert frame.reason == "no file '\\udc80'"


@pytest.mark.parametrize(
    "plain",
    [
        None,
        7,
        [],
        [2],
        ["StopAsked", [1]],
        [-1, [1]],
        [6, [1]],
        [2, [1], "more"],
        [2, ["one"]],
        [2, None],
        [3, [1, "running away", b"", None, "", 1.0, 2.0, False]],
        [3, [1, "failed", b"", [1], "", 1.0, 2.0, False]],
        [3, [1, "failed", "text", None, "", 1.0, 2.0, False]],
        [4, [1, 2, "stop_dag", {}, None]],
    ],
)
def test_what_is_no_frame_is_refused(plain: Any) -> None:
    with pytest.raises(PeerError, match="not a frame"):
        list(reader().feed(msgpack.packb(plain)))


@given(st.binary(min_size=1))
def test_random_bytes_raise_nothing_but_peer_error(data: bytes) -> None:
    feeder = reader()
    try:
        for _number in range(3):
            list(feeder.feed(data))
    except PeerError:
        pass


def test_a_frame_that_is_too_large_is_refused_before_it_is_complete() -> None:
    feeder = reader()
    part = pack(Answered(1, bytes(10_000)))[:600]

    assert list(feeder.feed(part)) == []
    with pytest.raises(PeerError, match="not a frame: BufferFull"):
        list(feeder.feed(bytes(600)))


def test_a_reader_does_not_keep_the_room_that_a_large_frame_took() -> None:
    """Each task process has one: 20 MB each would add up."""
    frames, large = (
        FrameReader(100_000_000),
        TaskEnded(1, State.COMPLETED, bytes(20_000_000), None, "", 1.0, 2.0, False),
    )
    data = pack(large) + pack(FRAMES[0])
    found: list[Frame] = []
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for start in range(0, len(data), 64 * 1024):
        found += frames.feed(data[start : start + 64 * 1024])
    assert found == [large, FRAMES[0]]
    del found
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1_100_000
    assert list(frames.feed(pack(FRAMES[0]))) == [FRAMES[0]]
