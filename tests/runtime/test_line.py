"""The end of a client: what it gets, and how soon it says that it gets nothing."""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import closing

import pytest

from meshflow.core.client_messages import AskStatus, Draining
from meshflow.core.messages import SignalAnswer
from meshflow.errors import PeerError
from meshflow.runtime.address import BadAddress
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.problems import (
    ConnectionLost,
    MessageTooLarge,
    NobodyThere,
    NotANode,
    OutOfSockets,
    Silent,
    WrongKey,
)
from meshflow.runtime.transport.settings import TransportSettings
from tests.runtime.loopback import KEY, OTHER_KEY, SETTINGS, Loopback, descriptor_count, node_id

_PROMPTLY_S = 0.5


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with closing(Loopback()) as made:
        yield made


def test_receiving_waits_for_as_long_as_it_is_told(loopback: Loopback) -> None:
    line = loopback.line(loopback.node().address)
    started_at = time.monotonic()
    assert line.receive(0.05) is None
    assert line.receive(0.0) is None
    assert 0.05 <= time.monotonic() - started_at < 0.05 + _PROMPTLY_S


def test_a_wait_is_interrupted_by_a_descriptor_that_is_readable(loopback: Loopback) -> None:
    line = loopback.line(loopback.node().address)
    reading, writing = os.pipe()
    assert line.receive(0.05, reading) is None
    os.write(writing, b"!")
    started_at = time.monotonic()
    assert line.receive(10.0, reading) is None
    assert time.monotonic() - started_at < _PROMPTLY_S
    os.close(reading)
    os.close(writing)
    assert line.receive(0.0) is None


def test_nobody_at_the_address_is_said_at_once(loopback: Loopback) -> None:
    gone = loopback.node()
    loopback.end(gone)
    line = loopback.line(gone.address)
    line.send(AskStatus(1))
    started_at = time.monotonic()
    with pytest.raises(NobodyThere, match=f"no node answers at '{gone.address}' .connection refused."):
        line.receive(10.0)
    assert time.monotonic() - started_at < _PROMPTLY_S
    line.send(AskStatus(2))  # does no harm
    with pytest.raises(NobodyThere):
        line.receive(10.0)


def test_a_wrong_key_is_said_at_once_and_how_to_get_the_right_one(loopback: Loopback) -> None:
    line = loopback.line(loopback.node().address, key=OTHER_KEY)
    started_at = time.monotonic()
    with pytest.raises(WrongKey, match="copy the key of its mesh"):
        line.receive(10.0)
    assert time.monotonic() - started_at < _PROMPTLY_S


def test_a_key_that_is_not_accepted_any_more_is_a_wrong_key(loopback: Loopback) -> None:
    """The node proves itself with its own key, and its list says no."""
    node = loopback.node()
    node._door.keeper.accept(OTHER_KEY.public)
    line = loopback.line(node.address)
    problems: list[WrongKey] = []

    def refused() -> bool:
        try:
            line.receive(0.0)
        except WrongKey as problem:
            problems.append(problem)
        return bool(problems)

    loopback.run(until=refused)


def test_something_that_is_no_node_is_said_to_be_none(loopback: Loopback) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = loopback.line(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"220 mail.example ESMTP ready and waiting for you to say something polite\r\n" * 3)
            with pytest.raises(NotANode, match="is not a node"):
                line.receive(10.0)


def test_a_silent_address_is_said_to_be_silent_after_the_handshake_had_its_time(loopback: Loopback) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = loopback.line(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Silent, match="it is silent"):
            line.receive(10.0)


def test_a_name_that_does_not_resolve_is_said_so(loopback: Loopback) -> None:
    line = loopback.line("tcp://nobody.invalid:7400")
    with pytest.raises(NobodyThere, match="cannot be resolved"):
        line.receive(10.0)
    with pytest.raises(BadAddress, match="'nonsense' is not the address of a node"):
        Line(node_id(1), KEY, "nonsense")


def test_a_node_that_ends_is_said_after_its_last_words(loopback: Loopback) -> None:
    node = loopback.node()
    line = loopback.line(node.address)
    line.send(AskStatus(1))
    loopback.expect(node)
    for number in range(100):
        node.send(line.me, Draining(number))
    loopback.end(node)
    assert [line.receive(1.0) for _ in range(100)] == [Draining(number) for number in range(100)]
    with pytest.raises(ConnectionLost, match="broke"):
        line.receive(10.0)


def test_a_message_above_the_limit_is_refused(loopback: Loopback) -> None:
    line = loopback.line(loopback.node().address, settings=TransportSettings(max_message_bytes=100, linger_s=0.1))
    with pytest.raises(MessageTooLarge, match="the limit is 100"):
        line.send(SignalAnswer("key", "x" * 100))


def test_a_damaged_answer_is_a_fault_of_the_peer(loopback: Loopback) -> None:
    node = loopback.node()
    line = loopback.line(node.address)
    line.send(AskStatus(1))
    loopback.expect(node)
    route = node._routes.route(line.me)
    assert route is not None
    node._router.send_multipart([route, b"\x01", b"\x01", b"\x01"])
    with pytest.raises(PeerError):
        line.receive(5.0)
    node.send(line.me, Draining(1))
    assert line.receive(5.0) == Draining(1)


def test_hundreds_of_lines_share_threads_and_leave_nothing_behind(loopback: Loopback) -> None:
    node = loopback.node()
    before, threads = descriptor_count(), len(os.listdir("/proc/self/task"))
    lines = [Line(node_id(100 + number), KEY, node.address, SETTINGS) for number in range(50)]
    for line in lines:
        line.send(AskStatus(1))
    loopback.expect(node, 50)
    assert len(os.listdir("/proc/self/task")) <= threads + 2
    for line in lines:
        line.close()
        line.close()
    loopback.run(until=lambda: descriptor_count() <= before)
    assert len(os.listdir("/proc/self/task")) == threads


def test_without_sockets_to_spare_a_line_cannot_be_made_and_the_limit_is_named(loopback: Loopback) -> None:
    address = loopback.node().address
    few = TransportSettings(max_sockets=4, linger_s=0.1)
    before = descriptor_count()
    line = Line(node_id(5), KEY, address, few)
    with pytest.raises(OutOfSockets, match="ulimit"):
        Line(node_id(6), KEY, address, few)
    line.close()
    loopback.run(until=lambda: descriptor_count() <= before)


def test_what_was_sent_just_before_closing_goes_out(loopback: Loopback) -> None:
    node = loopback.node()
    loopback.expect(node, 0)
    with closing(Line(node_id(99), KEY, node.address, SETTINGS)) as line:
        line.send(AskStatus(1))
        loopback.expect(node)
        for number in range(200):
            line.send(AskStatus(number))
    loopback.expect(node, 201)


def test_a_line_made_after_a_fork_works_in_the_child(loopback: Loopback) -> None:
    """The context that the parent's Lines share does not survive a fork."""
    gone = loopback.node()
    loopback.end(gone)
    loopback.line(gone.address).send(AskStatus(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: this process has threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            with closing(Line(node_id(7), KEY, gone.address, SETTINGS)) as line:
                line.receive(5.0)
        except NobodyThere:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0) == (child, 0)
