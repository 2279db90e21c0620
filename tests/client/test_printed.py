"""Chunks of output that come late, twice or not at all become lines."""

from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.requests import WriteOutput
from meshflow.printed import Line, Printed
from tests.client.run_stories import DAG, printed


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


def test_a_line_is_given_out_when_it_is_complete() -> None:
    collected = Printed()
    assert collected.accept([printed("put", "one\ntw")]) == [Line("main_dag:1", "put", 1, "stdout", "one", 104.0)]
    assert texts(collected.accept([printed("put", "o\n", 6)])) == ["two"]


def test_a_chunk_that_comes_twice_is_printed_once() -> None:
    collected = Printed()
    collected.accept([printed("put", "one\n")])
    assert collected.accept([printed("put", "one\n")]) == []
    assert collected.flush() == []


def test_a_chunk_that_comes_early_waits_for_those_before_it() -> None:
    collected = Printed()
    assert collected.accept([printed("put", "two\n", 4)]) == []
    assert collected.has_gaps
    assert texts(collected.accept([printed("put", "one\n")])) == ["one", "two"]
    assert not collected.has_gaps


def test_flush_passes_over_bytes_that_never_came() -> None:
    collected = Printed()
    collected.accept([printed("put", "three", 8)])
    assert texts(collected.flush()) == ["three"]
    assert collected.flush() == []


def test_tasks_attempts_and_streams_do_not_mix() -> None:
    collected = Printed()
    error = WriteOutput(DAG, "put", 1, "stderr", 0, b"oops\n", 104.0)
    lines = collected.accept([printed("put", "a"), printed("print", "b\n"), printed("put", "c\n", attempt=2), error])
    assert [(line.task, line.attempt, line.stream, line.text) for line in lines] == [
        ("print", 1, "stdout", "b"),
        ("put", 2, "stdout", "c"),
        ("put", 1, "stderr", "oops"),
    ]


def test_an_endless_line_is_given_out_in_pieces() -> None:
    collected = Printed()
    [piece] = collected.accept([printed("put", "x" * 70_000)])
    assert len(piece.text) == 70_000
    assert collected.flush() == []


@given(st.binary(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8), st.randoms())
def test_any_overlapping_chunks_in_any_order_give_the_same_lines(
    data: bytes, cuts: list[tuple[int, int]], rng: object
) -> None:
    """Every byte once and in order, whatever was pushed and read in which pieces."""
    pieces = [(0, data[:30]), (min(30, len(data)), data[30:])]
    pieces += [(min(a, b, len(data)), data[min(a, b) : max(a, b)]) for a, b in cuts]
    rng.shuffle(pieces)  # type: ignore[attr-defined]
    collected = Printed()
    lines = collected.accept(WriteOutput(DAG, "put", 1, "stdout", offset, piece) for offset, piece in pieces)
    lines += collected.flush()
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert texts(lines) == [line.decode("utf-8", "replace").removesuffix("\r") for line in expected]
