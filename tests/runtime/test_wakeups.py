"""Which sockets are looked at, and when the loop may wait: with pairs of sockets inside the process."""

import select
from collections.abc import Iterator
from contextlib import closing

import pytest
import zmq

from meshflow.runtime.transport.wakeups import Wakeups


class Ends:
    """Pairs of sockets: what is written to one end is drained from the other, and noted by the number of the pair."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", wakeups: Wakeups) -> None:
        self._context = context
        self._wakeups = wakeups
        self._opened: list[zmq.Socket[bytes]] = []
        self.drained: list[int] = []

    def make(self, number: int) -> "tuple[zmq.Socket[bytes], zmq.Socket[bytes]]":
        """The end to write to, and the end that is looked after."""
        writer, reader = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        writer.bind(f"inproc://{number}")
        reader.connect(f"inproc://{number}")
        self._opened += [writer, reader]

        def drain(limit: int) -> int:
            for done in range(limit):
                try:
                    reader.recv(zmq.NOBLOCK)
                except zmq.Again:
                    return done
                self.drained.append(number)
            return limit

        self._wakeups.add(reader, drain)
        return writer, reader

    def close(self) -> None:
        """Close all."""
        for socket in self._opened:
            socket.close(0)


@pytest.fixture
def wakeups() -> Iterator[Wakeups]:
    with closing(Wakeups()) as made:
        yield made


@pytest.fixture
def ends(wakeups: Wakeups) -> Iterator[Ends]:
    with zmq.Context() as context, closing(Ends(context, wakeups)) as made:
        yield made


def is_readable(wakeups: Wakeups) -> bool:
    """Whether the descriptor says that there is news."""
    return bool(select.select([wakeups.fileno()], [], [], 0)[0])


def test_the_descriptor_tells_of_each_socket(wakeups: Wakeups, ends: Ends) -> None:
    writers = [ends.make(number)[0] for number in range(3)]
    wakeups.run(10)
    for number, writer in enumerate(writers):
        assert not wakeups.has_more()
        assert not is_readable(wakeups)
        writer.send(b"")
        assert is_readable(wakeups)
        wakeups.run(10)
        assert ends.drained[-1] == number


def test_after_the_limit_there_is_more_though_the_descriptor_is_silent(wakeups: Wakeups, ends: Ends) -> None:
    writer, _ = ends.make(1)
    for _ in range(10):
        writer.send(b"")
    wakeups.run(4)
    assert len(ends.drained) == 4
    assert not is_readable(wakeups)
    assert wakeups.has_more()
    wakeups.run(6)
    assert len(ends.drained) == 10
    assert not wakeups.has_more()


def test_news_that_a_send_swallowed_is_found_if_the_socket_is_touched(wakeups: Wakeups, ends: Ends) -> None:
    writer, reader = ends.make(1)
    wakeups.run(10)
    assert not wakeups.has_more()
    writer.send(b"")
    reader.getsockopt(zmq.EVENTS)  # takes the news from the descriptor, as a send may
    assert not is_readable(wakeups)
    assert not wakeups.has_more()
    wakeups.touch(reader)
    assert wakeups.has_more()
    wakeups.run(10)
    assert ends.drained == [1]


def test_a_busy_socket_delays_the_others_by_one_call_at_most(wakeups: Wakeups, ends: Ends) -> None:
    busy, _ = ends.make(1)
    for _ in range(100):
        busy.send(b"")
    wakeups.run(10)
    quiet, _ = ends.make(2)
    quiet.send(b"")
    wakeups.run(10)
    wakeups.run(10)
    assert 2 in ends.drained
    assert len(ends.drained) <= 30


def test_a_removed_socket_is_not_looked_at_any_more(wakeups: Wakeups, ends: Ends) -> None:
    writer, reader = ends.make(1)
    writer.send(b"")
    wakeups.remove(reader)
    assert not is_readable(wakeups)
    assert not wakeups.has_more()
    wakeups.run(10)
    assert ends.drained == []
