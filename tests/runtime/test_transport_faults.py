"""Transports on bad days: peers that die, restart, lack the key, speak nonsense, or are no peers at all."""

import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest
import zmq

from meshflow.core.client_messages import AskStatus, Draining
from meshflow.core.messages import Probe, ProbeAck
from meshflow.errors import MeshflowError, PeerError
from meshflow.runtime.address import BadAddress, parse_address
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.problems import ConnectionLost, NobodyThere, NotANode, WrongKey
from meshflow.runtime.transport.routes import routing_id
from meshflow.wire import PROTOCOL_VERSION, ProtocolMismatch, encode_message
from tests.runtime.loopback import KEY, OTHER_KEY, SETTINGS, Loopback, descriptor_count, node_id

_STRANGER = node_id(0xBAD)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with closing(Loopback()) as made:
        yield made


@contextmanager
def stranger(node: Transport, key: MeshKey, client_key: MeshKey | None, name: bytes) -> Iterator["zmq.Socket[bytes]"]:
    """A bare socket that connects to a node, to send it what no transport would."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.ROUTING_ID, name)
        if client_key is not None:
            dealer.setsockopt(zmq.CURVE_SERVERKEY, key.public.encode())
            dealer.setsockopt(zmq.CURVE_PUBLICKEY, client_key.public.encode())
            dealer.setsockopt(zmq.CURVE_SECRETKEY, client_key.secret.encode())
        dealer.connect(node.address)
        yield dealer


def tcp(node: Transport) -> socket.socket:
    """A plain TCP connection to a node."""
    address = parse_address(node.address)
    return socket.create_connection((address.host, address.port))


def assert_serves(loopback: Loopback, node: Transport) -> None:
    """The node still answers a client."""
    line = loopback.line(node.address)
    line.send(AskStatus(1))
    loopback.run(until=lambda: (line.me, AskStatus(1)) in loopback.got[node.me])
    node.send(line.me, Draining(1))
    assert line.receive(5.0) == Draining(1)


# --- who dies, and who comes after ---


def test_twenty_restarts_at_one_address_leave_no_black_hole_and_no_mail_for_the_dead(loopback: Loopback) -> None:
    """libzmq 1575 and 2019: a peer that comes back at its address can be out of reach for ever."""
    node = loopback.node()
    peer = loopback.node()
    address = peer.address
    before = descriptor_count()
    for life in range(20):
        node.introduce(peer.me, address)
        peer.introduce(node.me, node.address)
        node.send(peer.me, Probe(life))
        assert loopback.expect(peer) == [Probe(life)]  # and nothing that was for those before it
        peer.send(node.me, ProbeAck(life))
        loopback.expect(node, life + 1)
        loopback.end(peer)
        dead = peer.me
        loopback.run(until=lambda: dead in loopback.lost)  # noqa: B023
        for number in range(3):
            node.send(peer.me, Probe(1000 + number))  # nobody is there; the next to listen there must not get them
        peer = loopback.node(bind=address)
        if life % 2:
            node.forget(dead)
    loopback.run(until=lambda: descriptor_count() <= before + 10 * 5)  # ten that were not forgotten


def test_mail_for_a_node_that_listened_here_before_is_dropped_and_counted(loopback: Loopback) -> None:
    node = loopback.node()
    with stranger(node, KEY, KEY, routing_id(_STRANGER, 1, node_id(77))) as dealer:
        dealer.send(encode_message(Probe(1)))
        loopback.run(until=lambda: node.counts.bad == 1)
    assert loopback.messages(node) == []
    with stranger(node, KEY, KEY, routing_id(_STRANGER, 2, node.me)) as dealer:
        dealer.send(encode_message(Probe(2)))
        assert loopback.expect(node) == [Probe(2)]
    assert node.counts.bad == 1


@pytest.mark.system
def test_a_peer_killed_with_signal_9_is_reported_within_a_tenth_of_a_second(loopback: Loopback) -> None:
    node = loopback.node()
    code = (
        "import sys, time; from tests.runtime.loopback import *\n"
        "key = MeshKey(sys.argv[1], sys.argv[2]); node = Transport(node_id(99), key, LOOPBACK)\n"
        "print(node.address, flush=True)\n"
        "while True: node.receive(100); time.sleep(0.001)\n"
    )
    command = [sys.executable, "-c", code, KEY.public, KEY.secret]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        node.introduce(node_id(99), address)
        node.send(node_id(99), Probe(1))
        line = loopback.line(address)
        line.send(AskStatus(1))
        assert line.receive(0.2) is None  # connected by now
        loopback.run(until=lambda: True)
        process.kill()
        killed_at = time.monotonic()
        loopback.run(until=lambda: loopback.lost == [node_id(99)])
        assert time.monotonic() - killed_at < 0.1
        with pytest.raises(ConnectionLost, match=address):
            line.receive(1.0)


# --- who has no business here ---


def test_with_another_key_nothing_gets_through_and_both_ends_notice(loopback: Loopback) -> None:
    node, other = loopback.node(), loopback.node(key=OTHER_KEY)
    other.introduce(node.me, node.address)
    for number in range(100):
        other.send(node.me, Probe(number))
    other.send_to(node.address, Probe(100))
    problems: list[MeshflowError] = []

    def noticed() -> bool:
        problems.extend(problem.error for problem in other.problems())
        return node.counts.refused >= 4 and bool(problems)

    loopback.run(until=noticed)
    assert [type(problem) for problem in problems] == [WrongKey]
    assert "MESHFLOW_KEY_FILE" in str(problems[0])
    assert node.counts.received == 0
    assert other.disconnected() == []  # it is there, after all
    assert_serves(loopback, node)


@pytest.mark.parametrize("client_key", [OTHER_KEY, None], ids=["a key that is not accepted", "no key"])
def test_who_only_knows_the_public_key_of_the_mesh_gets_nothing_through(
    loopback: Loopback, client_key: MeshKey | None
) -> None:
    node = loopback.node()
    with stranger(node, KEY, client_key, routing_id(_STRANGER, 1, None)) as dealer:
        dealer.send(encode_message(Probe(1)))
        loopback.run(until=lambda: node.counts.refused)
    assert node.counts.received == 0
    assert_serves(loopback, node)


def test_garbage_and_silence_on_the_port_do_not_disturb_the_node(loopback: Loopback) -> None:
    node = loopback.node()
    before = descriptor_count()
    rng = random.Random(1)
    connections = [tcp(node) for _ in range(30)]
    for number, connection in enumerate(connections):
        if number % 3:
            connection.sendall(rng.randbytes(1000) if number % 3 == 1 else b"GET / HTTP/1.1\r\n\r\n")
        if number % 2:
            connection.close()
    assert_serves(loopback, node)
    loopback.run(until=lambda: descriptor_count() <= before + len(connections))  # the silent ones are closed as well
    for connection in connections:
        connection.close()
    assert_serves(loopback, node)


# --- who speaks otherwise ---


def test_another_protocol_version_is_reported_once_at_both_ends(loopback: Loopback) -> None:
    node = loopback.node()
    with stranger(node, KEY, KEY, routing_id(_STRANGER, 1, node.me)) as dealer:
        for _ in range(5):
            dealer.send(bytes((PROTOCOL_VERSION + 1,)) + encode_message(Probe(1))[1:])
        loopback.run(until=lambda: node.counts.bad == 5)
        (problem,) = node.problems()
        assert problem.where == _STRANGER
        assert isinstance(problem.error, ProtocolMismatch)
        sender, answer = dealer.recv_multipart()
        assert sender == node.me.encode()
        assert answer[0] == PROTOCOL_VERSION  # so that it knows, and can tell its user
        assert dealer.poll(50) == 0
    assert_serves(loopback, node)


def test_a_node_and_a_line_report_the_other_version_of_who_answers_them(loopback: Loopback) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.CURVE_SERVER, 1)
        router.setsockopt(zmq.CURVE_SECRETKEY, KEY.secret.encode())
        address = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
        node, line = loopback.node(), loopback.line(address)
        node.send_to(address, Probe(1))
        line.send(AskStatus(1))
        for _ in range(2):
            name, _ = router.recv_multipart()
            router.send_multipart([name, _STRANGER.encode(), bytes((PROTOCOL_VERSION + 1,)) + b"new"])
        with pytest.raises(ProtocolMismatch):
            line.receive(5.0)
        loopback.run(until=lambda: node.counts.bad)
        (problem,) = node.problems()
        assert problem.where == _STRANGER
        assert isinstance(problem.error, ProtocolMismatch)


@pytest.mark.parametrize("frames", [[b"\x01nonsense"], [b""], [b"\x01", b"\x01"], [b"x"] * 50])
def test_damaged_messages_of_a_member_are_dropped_and_counted(loopback: Loopback, frames: list[bytes]) -> None:
    node = loopback.node()
    with stranger(node, KEY, KEY, routing_id(_STRANGER, 1, None)) as dealer:
        dealer.send_multipart(frames)
        dealer.send(encode_message(Probe(1)))
        assert loopback.expect(node) == [Probe(1)]
    assert node.counts.bad == 1
    assert all(isinstance(problem.error, PeerError) for problem in node.problems())


def test_an_answer_without_its_sender_is_dropped(loopback: Loopback) -> None:
    asking, answering = loopback.node(), loopback.node()
    asking.send_to(answering.address, Probe(1))
    loopback.expect(answering)
    route = answering._routes.route(asking.me)
    assert route is not None
    for frames in ([b""], [b"nobody", b""], [_STRANGER.encode(), b"", b""]):
        answering._router.send_multipart([route, *frames])
    answering.send(asking.me, ProbeAck(1))
    assert loopback.expect(asking) == [ProbeAck(1)]
    assert asking.counts.bad == 3


@pytest.mark.parametrize("name", [b"me", b"0123456789abcdef", b"0123456789ABCDEF.1.", b"0123456789abcdef.1.0123"])
def test_a_sender_that_is_no_node_is_dropped(loopback: Loopback, name: bytes) -> None:
    node = loopback.node()
    with stranger(node, KEY, KEY, name) as dealer:
        dealer.send(encode_message(Probe(1)))
        loopback.run(until=lambda: node.counts.bad)
    assert node.counts.received == 0


def test_a_member_that_sends_too_much_loses_its_connection_only(loopback: Loopback) -> None:
    node = loopback.node(settings=type(SETTINGS)(max_message_bytes=1000, linger_s=0.1))
    with stranger(node, KEY, KEY, routing_id(_STRANGER, 1, None)) as dealer:
        dealer.send(b"\x01" + b"x" * 100_000)
        loopback.run(until=lambda: True)
        assert_serves(loopback, node)
    assert (_STRANGER, Probe(1)) not in loopback.got[node.me]


# --- addresses where no node is ---


def test_a_seed_that_is_not_there_is_reported_once(loopback: Loopback) -> None:
    node, gone = loopback.node(), loopback.node()
    loopback.end(gone)
    problems: list[MeshflowError] = []

    def noticed() -> bool:
        problems.extend(problem.error for problem in node.problems())
        return bool(problems)

    for number in range(3):
        assert node.send_to(gone.address, Probe(number))
    loopback.run(until=noticed)
    assert [type(problem) for problem in problems] == [NobodyThere]
    assert gone.address in str(problems[0])
    assert loopback.lost == []


def test_a_peer_that_refuses_connections_is_reported_disconnected_once(loopback: Loopback) -> None:
    node, gone = loopback.node(), loopback.node()
    loopback.end(gone)
    node.introduce(gone.me, gone.address)
    node.send(gone.me, Probe(1))
    loopback.run(until=lambda: loopback.lost)
    deadline = time.monotonic() + 4 * SETTINGS.reconnect_s
    loopback.run(until=lambda: time.monotonic() > deadline)
    assert loopback.lost == [gone.me]
    assert node.problems() == []


def test_a_client_that_is_gone_leaves_no_way_to_it_and_somebody_is_known_to_have_left(loopback: Loopback) -> None:
    node, other = loopback.pair()
    line = loopback.line(node.address)
    line.send(Probe(1))
    loopback.expect(node)
    assert not node.lost_any()
    assert (node.has_way_to(line.me), node.has_way_to(other.me), node.has_way_to(node_id(99))) == (True, True, False)
    line.close()
    loopback.run(until=node.lost_any)
    loopback.run(until=lambda: not node.send(line.me, Probe(2)))
    assert not node.has_way_to(line.me)
    assert not node.lost_any()


def test_a_peer_that_is_only_silent_is_not_reported(loopback: Loopback) -> None:
    """It may be stopped for a moment; how long to wait is for the membership to say."""
    node = loopback.node()
    with socket.create_server(("127.0.0.1", 0)) as server:
        node.introduce(node_id(50), f"tcp://127.0.0.1:{server.getsockname()[1]}")
        node.send(node_id(50), Probe(1))
        first, _ = server.accept()
        started_at = time.monotonic()
        second, _ = server.accept()  # ZeroMQ has given up on the first
        assert time.monotonic() - started_at >= SETTINGS.handshake_s
        first.close()
        second.close()
        loopback.run(until=lambda: True)
    assert loopback.lost == []
    assert node.problems() == []


def test_no_peer_can_make_us_use_another_kind_of_address(loopback: Loopback) -> None:
    node = loopback.node()
    for address in (
        "inproc://zeromq.zap.01",
        "ipc:///tmp/x",
        "tcp://127.0.0.1:1;127.0.0.1:2",
        "tcp://*:1",
        "tcp://a:b",
    ):
        node.introduce(node_id(50), address)
        assert not node.send(node_id(50), Probe(1))
        (problem,) = node.problems()
        assert isinstance(problem.error, BadAddress)
        assert repr(address) in str(problem.error)


def test_a_node_that_starts_where_something_else_listened_is_reached(loopback: Loopback) -> None:
    """ZeroMQ stops trying for good where it met another protocol."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server,))
        thread.start()
        node = loopback.node()
        peer_id, address = node_id(2), f"tcp://127.0.0.1:{server.getsockname()[1]}"
        node.introduce(peer_id, address)
        node.send(peer_id, Probe(1))
        problems: list[MeshflowError] = []

        def noticed() -> bool:
            problems.extend(problem.error for problem in node.problems())
            return bool(problems)

        loopback.run(until=noticed)
        thread.join()
    assert [type(problem) for problem in problems] == [NotANode]
    peer = loopback.node(bind=address)
    assert peer.me == peer_id
    loopback.run(until=lambda: node.send(peer_id, Probe(2)) and loopback.got[peer.me])


def test_a_connection_that_was_given_up_is_not_called_a_full_queue(loopback: Loopback) -> None:
    """It takes nothing more; that it was given up is not heard before the next look at what was received."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_greet, args=(server,))
        thread.start()
        node = loopback.node(settings=replace(SETTINGS, max_queued_messages=1_000_000))
        node.introduce(_STRANGER, f"tcp://127.0.0.1:{server.getsockname()[1]}")
        node.send(_STRANGER, Probe(1))
        thread.join()
        while node.send(_STRANGER, Probe(2)):
            pass
    assert node.problems() == []


def _greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection, suppress(OSError):
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 and what else a server of another kind may have to say\r\n" * 3)
        connection.settimeout(5.0)
        while connection.recv(1000):
            pass
