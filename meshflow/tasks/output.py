"""What becomes of one output stream of a command: it is kept in a file, handed on line by line, or both.

Invariants:
1. Memory is bounded: what is kept goes to a temporary file, and a line longer than `MAX_LINE_CHARS` comes in pieces.
2. A line ends with a newline and with nothing else: a carriage return or a Unicode separator is part of it. The last
   line of a stream may lack its newline.
3. Text is UTF-8, decoded across the borders of chunks. Bytes that are not become U+FFFD: that a program prints some is
   no reason to fail its task.
"""

import codecs
import io
import os
from collections.abc import Callable, Iterator
from typing import IO

MAX_LINE_CHARS = 16 * 1024 * 1024
"""Above any line that is meant to be one, a JSON document included; costs at most 64 MiB of memory per stream."""

_TAIL_BYTES = 4096
_TAIL_LINES = 10


class Lines:
    """Cuts a stream of bytes into lines of text.

    Args:
        max_chars: A line is cut as soon as it has this length and no newline yet.
    """

    def __init__(self, max_chars: int = MAX_LINE_CHARS) -> None:
        self._max_chars = max_chars
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = io.StringIO()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that `chunk` completes, each with its newline."""
        *ends, rest = self._decoder.decode(chunk).split("\n")
        for end in ends:
            self._begun.write(end + "\n")
            yield self._take()
        self._begun.write(rest)
        if self._begun.tell() >= self._max_chars:
            yield self._take()

    def finish(self) -> Iterator[str]:
        """The last line, if it lacks its newline."""
        self._begun.write(self._decoder.decode(b"", final=True))
        if self._begun.tell():
            yield self._take()

    def _take(self) -> str:
        line = self._begun.getvalue()
        self._begun = io.StringIO()
        return line


class Output:
    """The sink of one stream.

    Args:
        file: Takes the bytes as they are, and is left to the caller to close; None: they are not kept.
        on_line: Called with each line; None: nobody asks for lines.
    """

    def __init__(self, file: IO[bytes] | None, on_line: Callable[[str], object] | None) -> None:
        self.file = file
        self._on_line = on_line
        self._lines = Lines()

    @property
    def is_wanted(self) -> bool:
        """Whether anybody asks for this stream at all; if not, the command may keep that of its parent."""
        return self.file is not None or self._on_line is not None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises what `on_line` raises."""
        if self.file is not None:
            self.file.write(chunk)
        if self._on_line is not None:
            for line in self._lines.feed(chunk):
                self._on_line(line)

    def finish(self) -> None:
        """The stream is at its end: hand on a last line without newline, and rewind the file."""
        if self._on_line is not None:
            for line in self._lines.finish():
                self._on_line(line)
        if self.file is not None:
            self.file.seek(0)


def last_lines(file: IO[bytes]) -> str:
    """The end of a captured stream, short enough for an error message. The file is rewound."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    file.seek(0)
    return "\n".join(tail)
