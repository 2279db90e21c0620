"""Output is cut into chunks that follow each other, belong to the right job, and stay within the limit."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.messages import Job
from meshflow.core.requests import WriteOutput
from meshflow.ids import RunId
from meshflow.runtime.capture import CHUNK_BYTES, Capture


def job(number: int) -> Job:
    """The attempt `number` of a task."""
    attempt = Attempt(RunId("0" * 24 + "/main:1"), 0, number, 1)
    return Job(attempt, "work", "flow", "task", "digest", inputs=(), initial=None)


class Printer:
    """Both ends of the pipes of a capture, and what it told."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.loop = asyncio.new_event_loop()
        readers, self.writers = zip(os.pipe(), os.pipe(), strict=True)
        self.told: list[tuple[int, WriteOutput]] = []
        self._news = asyncio.Event()
        self.capture = Capture(self.loop, *readers, max_bytes, lambda: None, self._tell)
        for writer in self.writers:
            os.set_blocking(writer, False)

    def _tell(self, of: Job, chunk: WriteOutput) -> None:
        self.told.append((of.attempt.attempt, chunk))
        self._news.set()

    def write(self, data: bytes, stream: int = 1) -> None:
        """Print to the stream of that descriptor."""
        assert os.write(self.writers[stream - 1], data) == len(data)

    def turn(self) -> None:
        """Let the loop see what there is."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def until_told(self) -> None:
        """Let the loop run until something is told."""
        self._news.clear()
        self.loop.run_until_complete(asyncio.wait_for(self._news.wait(), 10))

    def text(self, number: int, stream: str = "stdout") -> bytes:
        """What attempt `number` printed; fails if there is a gap."""
        text = b""
        for of, chunk in self.told:
            if (of, chunk.stream) == (number, stream):
                assert chunk.offset == len(text)
                text += chunk.data
        return text

    def close(self) -> None:
        """Let go of all descriptors."""
        self.capture.close()
        for writer in self.writers:
            with suppress(OSError):
                os.close(writer)
        self.loop.close()


@pytest.fixture
def printer() -> Iterator[Printer]:
    """A process that prints."""
    made = Printer()
    yield made
    made.close()


def test_the_end_of_a_job_hands_on_what_is_in_the_pipes(printer: Printer) -> None:
    printer.capture.begin(job(1))
    printer.write(b"out")
    printer.write(b"err", 2)
    printer.capture.end()

    assert (printer.text(1), printer.text(1, "stderr")) == (b"out", b"err")


def test_output_is_handed_on_after_a_moment_in_one_chunk(printer: Printer) -> None:
    printer.capture.begin(job(1))
    for _number in range(3):
        printer.write(b"line\n")
        printer.turn()
    assert printer.told == []

    printer.until_told()

    assert [chunk.data for _, chunk in printer.told] == [b"line\n" * 3]


def test_a_full_chunk_does_not_wait(printer: Printer) -> None:
    printer.capture.begin(job(1))
    printer.write(bytes(CHUNK_BYTES))
    printer.turn()

    assert [len(chunk.data) for _, chunk in printer.told] == [CHUNK_BYTES]


def test_offsets_begin_anew_with_each_job(printer: Printer) -> None:
    for number in (1, 2):
        printer.capture.begin(job(number))
        printer.write(b"first ")
        printer.turn()
        printer.write(b"second")
        printer.capture.end()

    assert printer.text(1) == printer.text(2) == b"first second"


def test_what_is_printed_between_jobs_is_dropped(printer: Printer) -> None:
    printer.capture.begin(job(1))
    printer.capture.end()
    printer.write(b"late")
    printer.turn()
    printer.capture.begin(job(2))
    printer.capture.end()

    assert printer.told == []


def test_the_limit_counts_both_streams_and_cuts_within_a_read() -> None:
    printer = Printer(max_bytes=10)
    printer.capture.begin(job(1))
    printer.write(b"12345678", 2)
    printer.turn()
    printer.write(b"abcdef")
    printer.turn()
    printer.write(b"more", 2)
    printer.capture.end()

    assert printer.text(1) == b"ab\noutput cut: more than 10 bytes (limits.max_output_bytes)\n"
    assert printer.text(1, "stderr") == b"12345678"
    printer.close()


def test_a_job_may_print_as_much_as_the_limit() -> None:
    printer = Printer(max_bytes=10)
    printer.capture.begin(job(1))
    printer.write(b"1234567890")
    printer.capture.end()
    printer.capture.begin(job(2))
    printer.write(b"1234567890")
    printer.capture.end()

    assert printer.text(1) == printer.text(2) == b"1234567890"
    printer.close()


def test_the_end_of_a_job_does_not_wait_for_others_that_print_on(printer: Printer) -> None:
    is_over = threading.Event()

    def print_on() -> None:
        while not is_over.is_set():
            with suppress(BlockingIOError):
                os.write(printer.writers[0], b"on and on ")

    thread = threading.Thread(target=print_on)
    thread.start()
    printer.capture.begin(job(1))
    printer.capture.end()
    is_over.set()
    thread.join()

    assert len(printer.text(1)) <= CHUNK_BYTES


def test_a_closed_stream_is_noticed_and_its_last_output_kept(printer: Printer) -> None:
    def state() -> tuple[bool, bool]:
        printer.turn()
        return printer.capture.is_whole, printer.capture.is_open

    printer.capture.begin(job(1))
    printer.write(b"last words")
    assert state() == (True, True)

    os.close(printer.writers[0])
    assert state() == (False, True)
    assert printer.text(1) == b"last words"

    os.close(printer.writers[1])
    assert state() == (False, False)
    printer.capture.end()


def test_what_is_printed_before_a_job_that_was_cancelled_is_dropped(printer: Printer) -> None:
    printer.capture.begin(job(1))
    printer.write(b"of a thread that was left")
    printer.turn()
    printer.capture.cancel()
    printer.capture.begin(job(2))
    printer.write(b"own")
    printer.capture.end()

    assert (printer.text(1), printer.text(2)) == (b"", b"own")
