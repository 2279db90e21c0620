"""Two and more transports on loopback, on good days."""

import math
import select
from collections.abc import Iterator
from contextlib import closing

import pytest

from meshflow.core.client_messages import AskStatus, Draining, StoreAnswers
from meshflow.core.messages import Message, Probe, ProbeAck, SignalAnswer
from meshflow.errors import UsageError
from meshflow.ids import NodeId
from meshflow.runtime.address import parse_address
from meshflow.runtime.transport.connections import SWEEPS
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.problems import CannotBind, MessageTooLarge, OutOfSockets, PortInUse
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.remote import ANSWERS_TOO_LARGE
from tests.runtime.loopback import KEY, LOOPBACK, SETTINGS, Loopback, descriptor_count, node_id, number_of

_IDLE_S = 60.0


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with closing(Loopback()) as made:
        yield made


# --- messages between nodes ---


def test_ten_thousand_messages_arrive_in_order_both_ways(loopback: Loopback) -> None:
    one, two = loopback.pair()
    for number in range(10_000):
        assert one.send(two.me, Probe(number))
        assert two.send(one.me, Probe(number))
    loopback.run(until=lambda: len(loopback.got[one.me]) + len(loopback.got[two.me]) == 20_000)
    for receiver, sender in ((one, two), (two, one)):
        assert {who for who, _ in loopback.got[receiver.me]} == {sender.me}
        assert [number_of(message) for message in loopback.messages(receiver)] == list(range(10_000))
    assert one.counts.sent == one.counts.received == 10_000
    assert one.counts.dropped == one.counts.bad == 0


def test_what_is_sent_before_the_peer_listens_arrives_when_it_does(loopback: Loopback) -> None:
    early = loopback.node()
    placeholder = loopback.node()
    address = placeholder.address
    loopback.end(placeholder)
    late_id = node_id(3)
    early.introduce(late_id, address)
    assert early.send(late_id, Probe(1))
    loopback.run(until=lambda: loopback.lost == [late_id])
    late = loopback.node(bind=address)
    assert late.me == late_id
    loopback.expect(late)
    assert loopback.got[late.me] == [(early.me, Probe(1))]


def test_a_joining_node_that_is_not_introduced_is_answered_over_its_own_connection(loopback: Loopback) -> None:
    member, joining = loopback.node(), loopback.node()
    assert joining.send_to(member.address, Probe(1))
    loopback.expect(member)
    assert loopback.got[member.me] == [(joining.me, Probe(1))]
    assert member.send(joining.me, ProbeAck(1))
    loopback.expect(joining)
    assert loopback.got[joining.me] == [(member.me, ProbeAck(1))]


def test_a_seed_and_a_peer_may_be_the_same_node(loopback: Loopback) -> None:
    """Both connections lead to one ROUTER; with one routing id, they would take each other's place for ever."""
    member, joining = loopback.node(), loopback.node()
    joining.introduce(member.me, member.address)
    for number in range(20):
        joining.send_to(member.address, Probe(number))
        joining.send(member.me, Probe(number))
        loopback.expect(member, 2 * number + 2)
    assert loopback.lost == []


def test_a_message_to_nobody_known_is_dropped_and_counted(loopback: Loopback) -> None:
    node = loopback.node()
    assert not node.send(node_id(99), Probe(1))
    assert node.counts.dropped == 1


def test_a_full_queue_drops_and_counts_instead_of_blocking(loopback: Loopback) -> None:
    node = loopback.node(settings=TransportSettings(max_queued_messages=10, linger_s=0.01))
    gone = loopback.node()
    node.introduce(gone.me, gone.address)
    loopback.end(gone)
    accepted = [node.send(gone.me, Probe(number)) for number in range(100)]
    assert 10 <= sum(accepted) < 100
    assert node.counts.dropped == accepted.count(False)


def test_closing_lets_the_goodbye_go_out(loopback: Loopback) -> None:
    leaving, staying = loopback.pair()
    leaving.send(staying.me, Probe(7))
    loopback.expect(staying)
    for number in range(500):
        leaving.send(staying.me, Probe(number))
    loopback.end(leaving)
    loopback.expect(staying, 501)


# --- clients ---


def test_each_client_gets_its_own_answers(loopback: Loopback) -> None:
    node = loopback.node()
    lines = [loopback.line(node.address) for _ in range(5)]
    for number, line in enumerate(lines):
        line.send(AskStatus(number))
    loopback.expect(node, 5)
    for client, message in loopback.got[node.me]:
        assert isinstance(message, AskStatus)
        assert node.send(client, Draining(message.number))
    for number, line in enumerate(lines):
        assert line.receive(5.0) == Draining(number)


def test_an_answer_to_a_client_that_left_is_dropped(loopback: Loopback) -> None:
    node = loopback.node()
    line = loopback.line(node.address)
    line.send(AskStatus(1))
    loopback.expect(node)
    line.close()
    loopback.run(until=lambda: not node.send(line.me, Draining(1)))


# --- the loop's side ---


def test_one_descriptor_tells_of_all_sockets_that_come_and_go(loopback: Loopback) -> None:
    node = loopback.node()
    descriptor = node.fileno()
    for _ in range(3):
        peer = loopback.node()
        node.introduce(peer.me, peer.address)
        peer.introduce(node.me, node.address)
        node.send(peer.me, Probe(1))
        loopback.expect(peer)
        node.forget(peer.me)
        loopback.end(peer)
    assert node.fileno() == descriptor


@pytest.mark.parametrize("is_introduced", [True, False], ids=["over its connection", "as answers over ours"])
def test_what_is_left_after_the_limit_is_announced_by_has_more_only(loopback: Loopback, is_introduced: bool) -> None:
    one, two = loopback.node(), loopback.node()
    two.send_to(one.address, Probe(0))
    loopback.expect(one)
    if is_introduced:
        one.introduce(two.me, two.address)
    for number in range(100):
        one.send(two.me, Probe(number))
    got = 0
    while got < 100:
        if not two.has_more():
            select.select([two.fileno()], [], [], 5.0)
        one.receive(7)  # handshakes
        batch = two.receive(7)
        assert len(batch) <= 7
        got += len(batch)
    assert not two.has_more()


def test_sending_does_not_swallow_the_news_that_something_arrived(loopback: Loopback) -> None:
    """ZeroMQ takes news from the descriptor in any call, `send` too."""
    one, two = loopback.pair()
    one.send(two.me, Probe(0))
    loopback.expect(two)
    for number in range(1, 200):
        one.send(two.me, Probe(number))
        two.send(one.me, ProbeAck(number))
        loopback.expect(two, number + 1)
        loopback.expect(one, number)


# --- connections come and go ---


def test_forgetting_a_peer_closes_all_its_descriptors(loopback: Loopback) -> None:
    node = loopback.node()
    peers = [loopback.node() for _ in range(5)]
    loopback.run(until=lambda: True)
    before = descriptor_count()
    for peer in peers:
        node.introduce(peer.me, peer.address)
        node.send(peer.me, Probe(1))
    loopback.run(until=lambda: all(loopback.got[peer.me] for peer in peers))
    assert descriptor_count() >= before + 5 * 4
    for peer in peers:
        node.forget(peer.me)
    loopback.run(until=lambda: descriptor_count() <= before)


def test_idle_connections_are_closed_and_made_again_when_needed(loopback: Loopback) -> None:
    one, two = loopback.node(), loopback.node()
    one.introduce(two.me, two.address)
    assert one.deadline() == math.inf
    one.tick(1000.0)
    assert one.deadline() == 1000.0 + _IDLE_S / SWEEPS
    before = descriptor_count()
    one.send(two.me, Probe(1))
    loopback.expect(two)
    sweeps = [1000.0 + each * _IDLE_S / SWEEPS for each in range(1, SWEEPS + 2)]
    for now in sweeps[:-1]:
        one.tick(now)
    assert descriptor_count() > before
    one.tick(sweeps[-1])
    loopback.run(until=lambda: descriptor_count() <= before)
    assert loopback.lost == []  # we closed it, nobody is gone
    one.send(two.me, Probe(2))
    loopback.run(until=lambda: loopback.messages(two) == [Probe(1), Probe(2)])


def test_a_connection_to_an_address_where_nobody_is_stays_no_longer_than_a_look_around(loopback: Loopback) -> None:
    """The dead are asked now and then whether they are back: those connections must not pile up."""
    one = loopback.node()
    one.tick(1000.0)
    before = descriptor_count()
    one.send_to("tcp://127.0.0.1:1", Probe(1))
    loopback.run(until=one.problems)
    for sweep in (1, 2):
        one.tick(1000.0 + sweep * _IDLE_S / SWEEPS)
    loopback.run(until=lambda: descriptor_count() <= before)


def test_a_peer_that_moves_is_reached_at_its_new_address(loopback: Loopback) -> None:
    one, old = loopback.pair()
    one.send(old.me, Probe(1))
    loopback.expect(old)
    with closing(Transport(old.me, KEY, LOOPBACK, SETTINGS)) as new:
        one.introduce(old.me, new.address)
        one.send(old.me, Probe(2))
        received: list[tuple[NodeId, Message]] = []
        while not received:
            loopback.run(until=lambda: True)
            one.receive(10)
            received = new.receive(10)
        assert received == [(one.me, Probe(2))]


# --- limits and mistakes ---


def test_a_message_above_the_limit_is_dropped_and_reported_once(loopback: Loopback) -> None:
    one, two = loopback.pair(TransportSettings(max_message_bytes=1000, linger_s=0.1))
    large = SignalAnswer("key", "x" * 2000)
    assert not one.send(two.me, large)
    assert not one.send_to(two.address, large)
    (problem,) = one.problems()
    assert isinstance(problem.error, MessageTooLarge)
    assert "SignalAnswer message of 20" in str(problem.error)
    assert "1000 (max_message_bytes)" in str(problem.error)
    assert one.counts.dropped == 2


def test_without_sockets_to_spare_messages_are_dropped_and_the_limit_is_named(loopback: Loopback) -> None:
    node = loopback.node(settings=TransportSettings(max_sockets=12, linger_s=0.1))
    peers = [loopback.node() for _ in range(5)]
    for peer in peers:
        node.introduce(peer.me, peer.address)
    sent = [peer for peer in peers if node.send(peer.me, Probe(1))]
    assert 0 < len(sent) < 5
    problem = node.problems()[0]
    assert isinstance(problem.error, OutOfSockets)
    assert "max_sockets" in str(problem.error)
    for peer in sent:
        loopback.expect(peer)
        node.forget(peer.me)
    loopback.run(until=lambda: node.send(peers[-1].me, Probe(2)))


def test_a_client_that_does_not_read_loses_what_does_not_fit_and_holds_up_nobody(loopback: Loopback) -> None:
    settings = TransportSettings(max_queued_messages=5, linger_s=0.01)
    node = loopback.node(settings=settings)
    deaf, line = loopback.line(node.address, settings=settings), loopback.line(node.address)
    for client in (deaf, line):
        client.send(AskStatus(1))
    loopback.expect(node, 2)
    loopback.run(until=lambda: not node.send(deaf.me, SignalAnswer("key", "x" * 100_000)))
    assert node.send(line.me, Draining(1))
    assert line.receive(5.0) == Draining(1)


def test_answers_of_a_store_above_the_limit_are_replaced_by_one_that_says_so(loopback: Loopback) -> None:
    one, two = loopback.pair(TransportSettings(max_message_bytes=1000, linger_s=0.1))
    assert one.send(two.me, StoreAnswers(5, (b"x" * 2000,)))
    assert loopback.expect(two) == [StoreAnswers(5, (), ANSWERS_TOO_LARGE)]


def test_a_port_in_use_is_refused_with_its_address(loopback: Loopback) -> None:
    node = loopback.node()
    before = descriptor_count()
    with pytest.raises(PortInUse, match=f"'{node.address}': the port is in use") as caught:
        Transport(node_id(9), KEY, node.address, SETTINGS)
    assert "choose another" in str(caught.value)
    assert descriptor_count() == before


def test_an_address_of_another_host_cannot_be_bound() -> None:
    with pytest.raises(CannotBind, match=r"cannot listen on 'tcp://192\.0\.2\.77:0'"):
        Transport(node_id(9), KEY, "tcp://192.0.2.77:0", SETTINGS)


def test_the_advertised_address_is_the_bound_one_unless_another_is_given() -> None:
    with closing(Transport(node_id(9), KEY, "localhost:0", SETTINGS)) as node:
        bound = parse_address(node.address)
        assert bound.host == "127.0.0.1"
        assert bound.port > 0
    with closing(Transport(node_id(9), KEY, LOOPBACK, SETTINGS, advertise="node7.example")) as node:
        assert parse_address(node.address).host == "node7.example"
        assert parse_address(node.address).port > 0
    with closing(Transport(node_id(9), KEY, LOOPBACK, SETTINGS, advertise="node7.example:7400")) as node:
        assert node.address == "tcp://node7.example:7400"


def test_settings_must_be_above_zero() -> None:
    with pytest.raises(UsageError, match="'idle_s' is 0"):
        TransportSettings(idle_s=0)
