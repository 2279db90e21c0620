"""Whose message came over which connection."""

import pytest

from meshflow.runtime.transport.routes import Routes, is_node_id, routing_id
from tests.runtime.loopback import node_id

_ME = node_id(1)


def test_a_routing_id_names_the_sender_and_who_it_is_for() -> None:
    routes = Routes(_ME, 10)
    assert routes.sender(routing_id(node_id(2), 1, _ME)) == node_id(2)
    assert routes.sender(routing_id(node_id(3), 1, None)) == node_id(3)
    assert routes.sender(routing_id(node_id(4), 1, node_id(9))) is None
    assert routes.route(node_id(4)) is None


@pytest.mark.parametrize(
    "name", [b"", b"me", b"\x00" * 5, b"0" * 16, b"0" * 16 + b".1", b"A" * 16 + b".1.", b"\xff.1."]
)
def test_a_malformed_routing_id_has_no_sender(name: bytes) -> None:
    assert Routes(_ME, 10).sender(name) is None


def test_the_connection_heard_of_last_is_the_one_to_answer_over() -> None:
    routes = Routes(_ME, 10)
    first, second = (routing_id(node_id(2), number, _ME) for number in (1, 2))
    for name in (first, second, first):
        routes.sender(name)
        assert routes.route(node_id(2)) == name


def test_a_lost_route_is_back_with_the_next_message() -> None:
    routes = Routes(_ME, 10)
    name = routing_id(node_id(2), 1, _ME)
    routes.sender(name)
    routes.lost(node_id(2))
    routes.lost(node_id(3))
    assert routes.route(node_id(2)) is None
    routes.sender(name)
    assert routes.route(node_id(2)) == name


def test_the_oldest_is_forgotten_beyond_the_limit() -> None:
    routes = Routes(_ME, 2)
    names = [routing_id(node_id(number), 1, _ME) for number in (2, 3, 4)]
    for name in names:
        routes.sender(name)
    assert [routes.route(node_id(number)) for number in (2, 3, 4)] == [None, names[1], names[2]]
    assert routes.sender(names[0]) == node_id(2)
    assert [routes.route(node_id(number)) for number in (2, 3, 4)] == [names[0], None, names[2]]


def test_forgetting_an_old_connection_keeps_the_newer_one_of_its_sender() -> None:
    routes = Routes(_ME, 2)
    old, new = (routing_id(node_id(2), number, _ME) for number in (1, 2))
    routes.sender(old)
    routes.sender(new)
    routes.sender(routing_id(node_id(3), 1, _ME))
    assert routes.route(node_id(2)) == new


def test_a_node_id_is_sixteen_hex_digits() -> None:
    assert is_node_id(b"0123456789abcdef")
    assert not any(
        map(is_node_id, (b"", b"0123456789abcde", b"0123456789abcdef0", b"0123456789ABCDEF", b"0" * 15 + b"\n"))
    )
