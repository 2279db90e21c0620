"""Jobs reach a process in order, each exactly once, and what was not taken can be taken back."""

import errno
import os
import select
import socket
import threading
from collections.abc import Iterator

import pytest

from meshflow.runtime.job_queue import JobQueue, take

LARGE = bytes(range(256)) * 8 * 1024


class Ends:
    """A queue, and its other end as a process has it."""

    def __init__(self) -> None:
        self.queue = JobQueue()
        self.jobs = socket.socket(fileno=self.queue.endpoint())

    def is_anything_there(self) -> bool:
        """Whether `take` would return at once."""
        return bool(select.select([self.jobs], [], [], 0)[0])

    def close(self) -> None:
        """Let go of both ends."""
        self.queue.close()
        self.jobs.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a queue."""
    made = Ends()
    yield made
    made.close()


@pytest.fixture
def _no_leak() -> Iterator[None]:
    """Fails if the test leaves more descriptors open than there were."""
    before = os.listdir("/proc/self/fd")
    yield
    assert len(os.listdir("/proc/self/fd")) == len(before)


def fill(queue: JobQueue) -> int:
    """Put jobs until one has no room; how many there are then."""
    count = 0
    while not queue.is_full:
        count += 1
        queue.put(count, b"%d" % count * 1000)
    return count


def test_jobs_are_taken_in_the_order_in_which_they_were_put(ends: Ends) -> None:
    frames = [b"one", LARGE, b"", b"four" * 1000, LARGE[::-1]]
    for number, frame in enumerate(frames, 1):
        ends.queue.put(number, frame)

    assert [take(ends.jobs) for _ in frames] == frames
    assert not ends.is_anything_there()


def test_a_recall_takes_exactly_what_was_not_taken(ends: Ends) -> None:
    for number in range(1, 6):
        ends.queue.put(number, b"small" if number % 2 else LARGE)
    assert take(ends.jobs) == b"small"
    assert take(ends.jobs) == LARGE

    assert ends.queue.recall() == [3, 4, 5]
    assert ends.queue.recall() == []
    assert not ends.is_anything_there()

    ends.queue.put(6, b"next")
    assert take(ends.jobs) == b"next"


def test_what_the_socket_has_no_room_for_waits_and_follows(ends: Ends) -> None:
    count = fill(ends.queue)
    ends.queue.put(count + 1, LARGE)
    taken = [take(ends.jobs) for _ in range(count - 1)]
    assert not ends.is_anything_there()

    ends.queue.flush()

    assert not ends.queue.is_full
    assert [*taken, take(ends.jobs)] == [b"%d" % number * 1000 for number in range(1, count + 1)]
    assert take(ends.jobs) == LARGE


def test_what_waits_for_room_is_recalled_too(ends: Ends) -> None:
    count = fill(ends.queue)
    assert count > 33  # what a process is given at most goes into its socket, unless jobs are large

    assert ends.queue.recall() == list(range(1, count + 1))

    assert not ends.queue.is_full
    ends.queue.put(count + 1, b"next")
    assert take(ends.jobs) == b"next"


@pytest.mark.usefixtures("_no_leak")
def test_large_frames_leave_no_descriptor_behind_whatever_becomes_of_them() -> None:
    ends = Ends()
    for number in range(1, 31):
        ends.queue.put(number, LARGE)
    assert [take(ends.jobs) for _ in range(10)] == [LARGE] * 10
    assert ends.queue.recall() == list(range(11, 31))
    for number in range(31, 41):
        ends.queue.put(number, LARGE)
    ends.close()


def test_after_close_the_process_gets_what_is_there_and_then_the_end(ends: Ends) -> None:
    ends.queue.put(1, b"last")
    ends.queue.close()

    assert take(ends.jobs) == b"last"
    assert take(ends.jobs) is None
    assert take(ends.jobs) is None


def test_a_process_that_waits_is_woken_by_a_job_and_by_the_end(ends: Ends) -> None:
    taken: list[bytes | None] = []

    def serve() -> None:
        while (frame := take(ends.jobs)) is not None:
            taken.append(frame)

    process = threading.Thread(target=serve)
    process.start()
    ends.queue.put(1, b"job")
    ends.queue.close()
    process.join()

    assert taken == [b"job"]


def test_nothing_comes_back_from_a_queue_that_is_closed(ends: Ends) -> None:
    ends.queue.put(1, b"job")
    ends.queue.close()

    assert ends.queue.recall() == []


@pytest.mark.usefixtures("_no_leak")
def test_a_queue_whose_process_is_gone_can_be_filled_and_recalled() -> None:
    """The node hears of the end of a process by another way, and wants its jobs back then."""
    ends = Ends()
    ends.queue.put(1, b"before")
    ends.jobs.close()
    ends.queue.put(2, LARGE)

    assert ends.queue.recall() == [1, 2]

    ends.close()


def refuse(*_: object) -> int:
    """What the kernel says when a process has too many files open."""
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_large_job_without_memory_is_not_added(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.queue.put(1, b"before")
    with monkeypatch.context() as broken:
        broken.setattr(os, "memfd_create", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            ends.queue.put(2, LARGE)
    assert not ends.queue.is_full

    ends.queue.put(3, b"after")
    assert [take(ends.jobs), take(ends.jobs)] == [b"before", b"after"]


def test_a_large_job_that_waits_when_memory_runs_out_goes_on_waiting(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = fill(ends.queue)
    ends.queue.put(count + 1, LARGE)
    for _ in range(count - 1):
        take(ends.jobs)
    with monkeypatch.context() as broken:
        broken.setattr(os, "memfd_create", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            ends.queue.flush()
    assert ends.queue.is_full

    ends.queue.flush()
    assert take(ends.jobs) == b"%d" % count * 1000
    assert take(ends.jobs) == LARGE


def test_each_job_is_either_taken_or_recalled(ends: Ends) -> None:
    taken: list[bytes] = []

    def serve() -> None:
        while (frame := take(ends.jobs)) is not None:
            taken.append(frame)

    process = threading.Thread(target=serve)
    process.start()
    recalled: list[int] = []
    for number in range(1, 2001):
        ends.queue.put(number, b"%d" % number if number % 50 else b"%d" % number * 10_000)
        if number % 7 == 0:
            recalled += ends.queue.recall()
    recalled += ends.queue.recall()
    ends.queue.close()
    process.join()

    began = [int(frame[: len(frame) // 10_000 or None]) for frame in taken]
    assert began == sorted(began)
    assert sorted(began + recalled) == list(range(1, 2001))
