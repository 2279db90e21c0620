"""Lines and captures of an output stream."""

import io

import pytest

from meshflow.tasks.output import Lines, Output, last_lines


def lines_of(*chunks: bytes, max_chars: int = 1000) -> list[str]:
    lines = Lines(max_chars)
    return [line for chunk in chunks for line in lines.feed(chunk)] + list(lines.finish())


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b"a\nb\n"], ["a\n", "b\n"]),
        ([b"a", b"b", b"\n"], ["ab\n"]),
        ([b"a\nb"], ["a\n", "b"]),
        ([b"\n\n"], ["\n", "\n"]),
        ([b"a\r\nb\rc\xe2\x80\xa8d\n"], ["a\r\n", "b\rc\u2028d\n"]),
        ([b"\xc3", b"\xa9\n"], ["é\n"]),
        ([b"a\xff\n\xc3"], ["a\ufffd\n", "\ufffd"]),
    ],
)
def test_a_stream_is_cut_at_newlines_only(chunks: list[bytes], expected: list[str]) -> None:
    assert lines_of(*chunks) == expected


def test_a_line_comes_as_soon_as_it_is_complete() -> None:
    lines = Lines()
    assert list(lines.feed(b"one\ntw")) == ["one\n"]
    assert list(lines.feed(b"o\n")) == ["two\n"]


def test_a_line_beyond_the_limit_comes_in_pieces() -> None:
    assert lines_of(b"abc", b"de", b"f\ng\n", max_chars=4) == ["abcde", "f\n", "g\n"]


def test_an_output_without_file_and_callback_is_not_wanted() -> None:
    assert not Output(None, None).is_wanted
    assert Output(io.BytesIO(), None).is_wanted
    assert Output(None, print).is_wanted


def test_a_captured_stream_keeps_its_bytes_and_is_rewound() -> None:
    output = Output(io.BytesIO(), None)
    output.feed(b"a\xff")
    output.feed(b"b")
    output.finish()
    assert output.file is not None
    assert output.file.read() == b"a\xffb"


def test_a_stream_may_be_captured_and_handed_on_at_once() -> None:
    seen: list[str] = []
    output = Output(io.BytesIO(), seen.append)
    output.feed(b"a\nb")
    output.finish()
    assert seen == ["a\n", "b"]
    assert output.file is not None
    assert output.file.read() == b"a\nb"


def test_the_last_lines_are_few_and_leave_the_file_rewound() -> None:
    file = io.BytesIO(b"".join(b"line %d\n" % number for number in range(2000)))
    assert last_lines(file).split("\n") == [f"line {number}" for number in range(1990, 2000)]
    assert file.tell() == 0


def test_the_last_lines_of_a_file_without_lines_are_cut() -> None:
    assert last_lines(io.BytesIO(b"x" * 10_000)) == "x" * 4096
    assert last_lines(io.BytesIO()) == ""
