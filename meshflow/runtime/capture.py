"""What a task process prints, cut into chunks for the attempt that printed it.

Both streams of a process are pipes to its node, so that C code and the programs that a task starts are heard too. One
task runs at a time in a process, and its end is reported only when the pipes are empty, unless no other task follows.
So what they hold belongs to one task. Before anything is read from them, the ends of tasks that were reported by then
are heard (`settle`): this divides the output between attempts exactly.

Invariants:
1. Chunks of a stream follow each other without gap; a chunk is no larger than CHUNK_BYTES and waits no longer than
   FLUSH_S.
2. An attempt keeps `max_bytes` at most, both streams together. The rest is read, so that the task does not block, and
   dropped, and a last line says so.
"""

import asyncio
import os
import time
from collections.abc import Callable

from meshflow.core.messages import Job
from meshflow.core.requests import WriteOutput
from meshflow.runtime.processes import unread_bytes

CHUNK_BYTES = 64 * 1024
"""What a pipe holds."""
FLUSH_S = 0.05
"""Long enough to gather what is printed in a loop, short enough to follow a task by eye."""


class Capture:
    """The output of one task process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stdout: int,
        stderr: int,
        max_bytes: int,
        settle: Callable[[], object],
        emit: Callable[[Job, WriteOutput], None],
    ) -> None:
        """`stdout` and `stderr` are the reading ends of the pipes, which are closed when they come to their ends."""
        self._loop = loop
        self._max_bytes = max_bytes
        self._settle = settle
        self._emit = emit
        self._job: Job | None = None
        self._left_bytes = 0
        self._streams = [_Stream("stdout", stdout), _Stream("stderr", stderr)]
        self._flush_timer: asyncio.TimerHandle | None = None
        for stream in self._streams:
            os.set_blocking(stream.fileno, False)
            loop.add_reader(stream.fileno, self._read, stream)

    @property
    def is_whole(self) -> bool:
        """Whether someone can still write to both streams."""
        return len(self._streams) == 2

    @property
    def is_open(self) -> bool:
        """Whether someone can still write to either."""
        return bool(self._streams)

    def begin(self, job: Job) -> None:
        """What comes from now on belongs to `job`."""
        self._job = job
        self._left_bytes = self._max_bytes
        for stream in self._streams:
            stream.offset = 0

    def end(self, *, is_more: bool = True) -> None:
        """The job has ended: hand on all that it printed. `is_more`: some of it may still be in the pipes. What comes
        later is dropped."""
        for stream in self._streams if is_more else ():
            # Not until it is empty: a process that the task left behind may go on writing for ever.
            left_bytes = unread_bytes(stream.fileno)
            while left_bytes > 0:
                left_bytes -= self._take(stream, os.read(stream.fileno, min(left_bytes, CHUNK_BYTES)))
        self._flush()
        self._job = None

    def cancel(self) -> None:
        """The job has not begun after all: what came since `begin` is no one's."""
        self._job = None
        for stream in self._streams:
            stream.data.clear()

    def close(self) -> None:
        """Listen no more."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        for stream in list(self._streams):
            self._close(stream)

    def _read(self, stream: "_Stream") -> None:
        self._settle()
        if stream not in self._streams:
            return
        try:
            data = os.read(stream.fileno, CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._take(stream, data)
        else:
            self._close(stream)

    def _take(self, stream: "_Stream", data: bytes) -> int:
        """Add what was read to the job's output. Returns how much was read."""
        if self._job is None or self._left_bytes < 0:
            return len(data)
        self._left_bytes -= len(data)
        kept = data
        if self._left_bytes < 0:
            cut = f"\noutput cut: more than {self._max_bytes} bytes (limits.max_output_bytes)\n"
            kept = data[: self._left_bytes] + cut.encode()
        stream.data += kept
        if self._left_bytes < 0 or len(stream.data) >= CHUNK_BYTES:
            self._flush()
        elif self._flush_timer is None:
            self._flush_timer = self._loop.call_later(FLUSH_S, self._flush)
        return len(data)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if self._job is None:
            return
        for stream in self._streams:
            self._flush_stream(stream, self._job)

    def _flush_stream(self, stream: "_Stream", job: Job) -> None:
        attempt = job.attempt
        while stream.data:
            chunk = bytes(stream.data[:CHUNK_BYTES])
            del stream.data[:CHUNK_BYTES]
            at = time.time()
            written = WriteOutput(attempt.run, job.name, attempt.attempt, stream.name, stream.offset, chunk, at)
            stream.offset += len(chunk)
            self._emit(job, written)

    def _close(self, stream: "_Stream") -> None:
        if self._job is not None:
            self._flush_stream(stream, self._job)
        self._loop.remove_reader(stream.fileno)
        os.close(stream.fileno)
        self._streams.remove(stream)


class _Stream:
    def __init__(self, name: str, fileno: int) -> None:
        self.name = name
        self.fileno = fileno
        self.offset = 0
        """Bytes of the job's output before `data`."""
        self.data = bytearray()
        """Read and not handed on yet."""
