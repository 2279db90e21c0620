"""What tasks printed, put together from chunks that may come late, twice, or not at all.

A chunk is pushed to watchers when it is captured and can be read from the store soon after, so the same bytes may
arrive by both ways, in any order. `(run, task, attempt, stream)` names a stream; the offset says where in it a chunk
belongs.

Invariants:
1. Every byte of a stream is given out once, in order.
2. Text is given out in whole lines; what ends without a newline is given out by `flush`.
3. A line may have any length, but one longer than `_MAX_LINE_BYTES` is given out in pieces, so memory is bounded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from meshflow.core.requests import WriteOutput
from meshflow.ids import RunId, dag_run_name

_MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line that a task printed, without its newline."""

    dag: str
    """Dag run name."""
    task: str
    attempt: int
    stream: str
    """`stdout` or `stderr`."""
    text: str
    at: float
    """Wall clock of the host that captured its end."""


@dataclass(slots=True)
class _Stream:
    """One stream: what was taken so far, the beginning of a line, and chunks that came before their time."""

    next_offset: int = 0
    rest: bytes = b""
    at: float = 0.0
    early: dict[int, WriteOutput] = field(default_factory=dict)

    def accept(self, chunk: WriteOutput) -> None:
        known = self.early.get(chunk.offset)
        is_longer = known is None or len(known.data) < len(chunk.data)
        if is_longer and chunk.offset + len(chunk.data) > self.next_offset:
            self.early[chunk.offset] = chunk
            self._advance()

    def _advance(self) -> None:
        """Take what follows without a gap."""
        for offset in sorted(self.early):
            if offset > self.next_offset:
                return
            self._take(self.early.pop(offset))

    def skip_gap(self) -> None:
        """Take all that is there, missing bytes or not."""
        for offset in sorted(self.early):
            self.next_offset = max(self.next_offset, offset)
            self._take(self.early.pop(offset))

    def _take(self, chunk: WriteOutput) -> None:
        fresh = chunk.data[self.next_offset - chunk.offset :]
        self.rest += fresh
        self.next_offset += len(fresh)
        self.at = chunk.at


class Printed:
    """Collects chunks of one workflow run and gives out lines."""

    def __init__(self) -> None:
        self._streams: dict[tuple[RunId, str, int, str], _Stream] = {}

    def accept(self, chunks: Iterable[WriteOutput]) -> list[Line]:
        """Take chunks in any order; the lines that are complete because of them, in the order of the chunks."""
        lines: list[Line] = []
        for chunk in chunks:
            key = (chunk.run, chunk.task, chunk.attempt, chunk.stream)
            self._streams.setdefault(key, _Stream()).accept(chunk)
            lines += self._complete_lines(key)
        return lines

    @property
    def has_gaps(self) -> bool:
        """Whether something was received that cannot be given out because bytes before it are missing."""
        return any(stream.early for stream in self._streams.values())

    def flush(self) -> list[Line]:
        """Give out what is left of all streams, unfinished lines included; bytes that never came are passed over."""
        lines: list[Line] = []
        for key, stream in self._streams.items():
            stream.skip_gap()
            lines += self._complete_lines(key)
            if stream.rest:
                lines.append(_line(key, stream.rest, stream.at))
                stream.rest = b""
        return lines

    def _complete_lines(self, key: tuple[RunId, str, int, str]) -> list[Line]:
        stream = self._streams[key]
        *whole, stream.rest = stream.rest.split(b"\n")
        if len(stream.rest) > _MAX_LINE_BYTES:
            whole.append(stream.rest)
            stream.rest = b""
        return [_line(key, text, stream.at) for text in whole]


def _line(key: tuple[RunId, str, int, str], text: bytes, at: float) -> Line:
    run, task, attempt, stream = key
    return Line(dag_run_name(run), task, attempt, stream, text.decode("utf-8", "replace").removesuffix("\r"), at)
