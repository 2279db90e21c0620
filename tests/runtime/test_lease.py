"""A client and the process that serves it directly: real sockets, the process is a thread."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import TypeVar

import msgpack
import pytest

from meshflow.ids import new_node_id
from meshflow.lease_door import Answer, LeaseDoor
from meshflow.models.calls import dump_arguments, dump_function, load_results
from meshflow.models.parcels import Parcel
from meshflow.runtime import job_queue
from meshflow.runtime import lease as module
from meshflow.runtime.callees import Callees
from meshflow.runtime.lease import NotThere, serve

T = TypeVar("T")

PATIENCE_S = 10.0
LEASE = 7


class Client:
    """A door with a poll of its own, and processes that call there."""

    def __init__(self) -> None:
        self.poll = select.poll()
        self.door = LeaseDoor(new_node_id(Random(os.urandom(8))), self.poll)
        self.answers: list[Answer] = []
        self.gone: list[int] = []
        self.callees = Callees()
        self.restored = 0
        self.problems: list[Exception] = []
        self._processes: list[threading.Thread] = []

    def call(self, lease: int = LEASE) -> None:
        """A process calls, and does what it is told until the end."""

        def run() -> None:
            try:
                serve(self.door.name, lease, self.callees, self._restore)
            except Exception as problem:
                self.problems.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._processes.append(thread)

    def _restore(self) -> None:
        self.restored += 1

    def welcomed(self) -> list[int]:
        """The leases whose processes have called, once there are some."""
        return self.until(self.door.welcome)

    def admit(self, lease: int = LEASE) -> None:
        """Have a process call, and let it in."""
        self.call(lease)
        assert self.welcomed() == [lease]
        self.door.admit(lease)

    def feed(self, packet: int, function: Callable[..., object], *rows: tuple[object, ...]) -> None:
        """Feed calls of a function."""
        self.door.feed(LEASE, packet, *dump_function(function), [dump_arguments(row) for row in rows])

    def heard(self, count: int) -> list[Answer]:
        """The first answers, once there are so many."""

        def listen() -> bool:
            answers, gone = self.door.answers()
            self.answers += answers
            self.gone += gone
            return len(self.answers) >= count

        self.until(listen)
        return self.answers

    def until(self, look: Callable[[], T]) -> T:
        """What `look` says, once it says anything."""
        give_up_at = time.monotonic() + PATIENCE_S
        while not (found := look()):
            assert time.monotonic() < give_up_at
            self.poll.poll(50)
        return found

    def close(self) -> None:
        """Close, and see that all processes end."""
        self.door.close()
        for process in self._processes:
            process.join(PATIENCE_S)
            assert not process.is_alive()


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def results(answer: Answer) -> list[object]:
    """What came of the calls of a packet."""
    return [value for _, value in load_results(answer.results)]


def test_calls_are_made_in_order_and_answered_by_packet(client: Client) -> None:
    client.admit()
    client.feed(1, divmod, (7, 2))
    client.feed(2, len, ("a",), ("bc",))
    client.feed(3, divmod, (9, 2))
    answers = client.heard(3)
    assert [(answer.lease, answer.packet) for answer in answers] == [(LEASE, 1), (LEASE, 2), (LEASE, 3)]
    assert [results(answer) for answer in answers] == [[(3, 1)], [1, 2], [(4, 1)]]
    assert all(0 <= answer.seconds < PATIENCE_S for answer in answers)


def test_the_process_is_put_in_order_after_each_packet(client: Client) -> None:
    client.admit()
    client.feed(1, len, ("a",), ("b",))
    client.feed(2, len, ("c",))
    client.heard(2)
    client.until(lambda: client.restored == 2)


def test_an_error_is_that_of_its_call_alone(client: Client) -> None:
    client.admit()
    client.feed(1, int, ("1",), ("x",), ("3",))
    first, (is_result, error), third = load_results(client.heard(1)[0].results)
    assert (first, third) == ((True, 1), (True, 3))
    assert not is_result
    assert isinstance(error, ValueError)


def test_large_values_go_both_ways_in_files(client: Client) -> None:
    client.admit()
    large = bytearray(os.urandom(5_000_000))
    client.feed(1, reversed_copy, (large,))
    (answer,) = client.heard(1)
    assert isinstance(answer.results[0], Parcel)
    assert results(answer) == [large[::-1]]


def test_many_large_values_in_one_packet(client: Client) -> None:
    client.admit()
    rows = [(bytearray([number]) * 70_000,) for number in range(100)]
    client.feed(1, first_of, *rows)
    (answer,) = client.heard(1)
    assert results(answer) == list(range(100))


def test_many_small_values_that_are_large_together(client: Client) -> None:
    client.admit()
    client.feed(1, len, *[("x" * 1000,) for _ in range(500)])
    assert results(client.heard(1)[0]) == [1000] * 500


def test_what_was_not_begun_can_be_taken_back_and_the_rest_is_done(client: Client) -> None:
    client.admit()
    begun, may_end = threading.Event(), threading.Event()
    _gates[LEASE] = (begun, may_end)
    client.feed(1, wait_at_gate, (LEASE,))
    client.feed(2, len, ("a",))
    client.feed(3, len, ("b" * 100_000,))
    assert begun.wait(PATIENCE_S)
    assert client.door.take_back(LEASE) == [2, 3]
    client.feed(4, len, ("abc",))
    may_end.set()
    assert [(answer.packet, results(answer)) for answer in client.heard(2)] == [(1, [None]), (4, [3])]


def test_when_the_client_hangs_up_the_process_ends_what_it_was_fed_and_goes(client: Client) -> None:
    client.admit()
    client.feed(1, len, ("a",))
    client.heard(1)
    client.door.hang_up(LEASE)
    client.until(lambda: client.heard(1) and client.gone)
    assert client.gone[0] == LEASE
    client.door.close_line(LEASE)
    client.door.close_line(LEASE)
    assert client.problems == []


def test_a_lease_that_is_not_wanted_any_more_ends(client: Client) -> None:
    client.call()
    assert client.welcomed() == [LEASE]
    client.door.close_line(LEASE)
    client.until(lambda: client.problems)
    assert isinstance(client.problems[0], NotThere)


def test_where_nobody_is_a_lease_ends_with_a_reason() -> None:
    with pytest.raises(NotThere, match="cannot be reached"):
        serve("\0meshflow-nobody", LEASE, Callees(), lambda: None)


def test_who_belongs_to_another_user_is_neither_served_nor_let_in(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_own", lambda peer: False)
    with pytest.raises(NotThere, match="another user"):
        serve(client.door.name, LEASE, Callees(), lambda: None)


def test_nothing_is_left_open(client: Client) -> None:
    before = len(os.listdir("/proc/self/fd"))
    client.admit()
    client.feed(1, reversed_copy, (bytearray(100_000),))
    assert len(client.heard(1)) == 1
    client.answers.clear()
    client.door.hang_up(LEASE)
    client.until(lambda: client.heard(0) is not None and client.gone)
    client.door.close_line(LEASE)
    client.until(lambda: len(os.listdir("/proc/self/fd")) == before)


def reversed_copy(value: bytearray) -> bytearray:
    return value[::-1]


def first_of(value: bytearray) -> int:
    return value[0]


_gates: dict[int, tuple[threading.Event, threading.Event]] = {}


def wait_at_gate(number: int) -> None:
    begun, may_end = _gates[number]
    begun.set()
    assert may_end.wait(PATIENCE_S)


# --- processes that say what makes no sense, and descriptors that run out ---


@pytest.mark.parametrize(
    "said", [b"", b"\x00" * 9, b"\x05" + b"\x00" * 8 + b"\xc1", b"\x05" + b"\x00" * 7 + b"\x01"], ids=repr
)
def test_who_answers_what_makes_no_sense_is_let_go_of(client: Client, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as talk:
        talk.connect(client.door.name)
        job_queue.send(talk, LEASE, b"")
        assert client.welcomed() == [LEASE]
        client.door.admit(LEASE)
        if said:
            talk.send(said)
        else:
            job_queue.send(talk, 1, msgpack.packb(("no seconds", [])))
        answers, gone = client.door.answers()
        assert (answers, gone) == ([], [LEASE])
        client.door.close_line(LEASE)


def test_who_introduces_itself_with_what_makes_no_sense_is_not_let_in(client: Client) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as talk:
        talk.connect(client.door.name)
        talk.send(b"x")
        talk.settimeout(PATIENCE_S)
        client.until(lambda: client.door.welcome() == [] and _is_closed(talk))


def test_without_descriptors_nobody_is_let_in(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("meshflow.lease_door._Line.__init__", lambda *_: refuse())
    client.call()
    client.until(lambda: client.door.welcome() == [] and client.problems)
    assert isinstance(client.problems[0], NotThere)


def _is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_the_client_sees_how_far_a_packet_is_and_has_the_process_begin_no_more_of_it(client: Client) -> None:
    going, begun = threading.Event(), threading.Event()
    _GATES[:] = [begun, going]
    client.admit()
    client.feed(3, wait_if_second, (0,), (1,), (2,), (3,))
    assert begun.wait(PATIENCE_S)
    assert (client.door.begun(LEASE, 3), client.door.begun(LEASE, 4)) == (2, 0)
    client.door.halt(LEASE, 3)
    going.set()
    (answer,) = client.heard(1)
    assert [result for _, result in load_results(answer.results)] == [0, 1]
    client.door.halt(99, 3)
    assert client.door.begun(99, 3) > 1000


_GATES: list[threading.Event] = []


def wait_if_second(number: int) -> int:
    if number == 1:
        _GATES[0].set()
        _GATES[1].wait(PATIENCE_S)
    return number
