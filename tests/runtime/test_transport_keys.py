"""A node listens with one key at a time, and reaches others whichever of its keys they have."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from meshflow.core.client_messages import AskStatus
from meshflow.core.messages import Demand, Probe
from meshflow.runtime.keys import MeshKey, make_key
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.problems import ConnectionLost, WrongKey
from tests.runtime.loopback import KEY, OTHER_KEY, SETTINGS, Loopback, descriptor_count, node_id

_BOTH = (KEY, OTHER_KEY)
_TURNED = (OTHER_KEY, KEY)


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with closing(Loopback()) as made:
        yield made


def greet(loopback: Loopback, sender: Transport, receiver: Transport, number: int) -> None:
    """Send until it arrives: what was on its way over a connection that is closed may be lost."""
    sender.introduce(receiver.me, receiver.address)
    sent_at = 0.0

    def has_arrived() -> bool:
        nonlocal sent_at
        if time.monotonic() - sent_at > 0.5:
            sent_at = time.monotonic()
            sender.send(receiver.me, Probe(number))
        return Probe(number) in loopback.messages(receiver)

    loopback.run(until=has_arrived)


def assert_refused(loopback: Loopback, node: Transport, key: MeshKey) -> None:
    line = loopback.line(node.address, key)
    line.send(AskStatus(1))
    told: list[WrongKey] = []

    def is_told() -> bool:
        try:
            line.receive(0.0)
        except WrongKey as problem:
            told.append(problem)
        return bool(told)

    loopback.run(until=is_told)


def test_nodes_in_any_two_neighbouring_steps_of_a_change_reach_each_other(loopback: Loopback) -> None:
    one, two = loopback.node(), loopback.node()
    steps = [(KEY,), _BOTH, _TURNED, (OTHER_KEY,)]
    number = 0
    for after in steps[1:]:
        for node in (one, two):
            node.use_keys(after)
            for sender, receiver in ((one, two), (two, one)):
                number += 1
                greet(loopback, sender, receiver, number)
    assert_refused(loopback, one, KEY)


def test_a_node_that_begins_with_two_keys_reaches_and_is_reached(loopback: Loopback) -> None:
    old = loopback.node()
    both = Transport(node_id(77), OTHER_KEY, "tcp://127.0.0.1:0", SETTINGS, others=(KEY,))
    loopback.adopt(both)
    greet(loopback, both, old, 1)
    old.use_keys(_BOTH)
    greet(loopback, old, both, 2)


def test_changing_the_key_cuts_who_came_in_with_the_old_one(loopback: Loopback) -> None:
    node = loopback.node()
    line = loopback.line(node.address)
    line.send(AskStatus(1))
    loopback.expect(node)
    line.receive(0.0)
    began_at = time.monotonic()
    node.use_keys(_TURNED)
    lost: list[ConnectionLost] = []

    def is_lost() -> bool:
        try:
            line.receive(0.0)
        except ConnectionLost as problem:
            lost.append(problem)
        return bool(lost)

    loopback.run(until=is_lost)
    assert time.monotonic() - began_at < 2.0
    assert_refused(loopback, node, KEY)


@pytest.mark.parametrize("keys", [_BOTH, _TURNED])
def test_a_client_with_two_keys_gets_through_whichever_the_node_has(
    loopback: Loopback, keys: tuple[MeshKey, ...]
) -> None:
    node = loopback.node(key=OTHER_KEY)
    with closing(Line(node_id(50), keys[0], node.address, SETTINGS, others=keys[1:])) as line:
        line.send(AskStatus(1))
        loopback.run(until=lambda: line.receive(0.0) or loopback.messages(node))
        assert loopback.messages(node) == [AskStatus(1)]
        node.send(node_id(50), Probe(5))
        loopback.run(until=lambda: line.receive(0.0) == Probe(5))


def test_a_client_whose_keys_are_all_wrong_is_told_so(loopback: Loopback) -> None:
    node = loopback.node()
    with (
        closing(Line(node_id(50), make_key(), node.address, SETTINGS, others=(OTHER_KEY,))) as line,
        pytest.raises(WrongKey),
    ):
        loopback.run(until=lambda: line.receive(0.0))


def test_what_is_held_back_waits_and_then_arrives_in_order(loopback: Loopback) -> None:
    one, two = loopback.pair()
    one.hold()
    for number in range(3):
        one.send(two.me, Demand(number, 0))
    one.send(two.me, Probe(9))  # who is alive does not wait
    loopback.expect(two)
    assert loopback.messages(two) == [Probe(9)]
    two.use_keys(_TURNED)
    one.use_keys(_BOTH)
    assert_refused(loopback, two, KEY)  # what came in through the old door is cut until then, and what is in it lost
    greet(loopback, one, two, 10)
    one.release()
    loopback.run(until=lambda: Demand(2, 0) in loopback.messages(two))
    assert [each for each in loopback.messages(two) if isinstance(each, Demand)] == [Demand(n, 0) for n in range(3)]


def test_changing_keys_again_and_again_leaves_no_descriptors_behind(loopback: Loopback) -> None:
    one, two = loopback.pair()
    counts = []
    for number in range(6):
        for node in (one, two):
            node.use_keys(_TURNED if number % 2 else _BOTH)
        greet(loopback, one, two, 2 * number)
        greet(loopback, two, one, 2 * number + 1)
        counts.append(descriptor_count())
    assert max(counts[3:]) <= max(counts[:3]) + 8
