"""Addresses as text, and which one to tell others."""

import socket

import pytest

from meshflow.runtime import address as module
from meshflow.runtime.address import Address, BadAddress, NoAddress, parse_address, reachable, resolve

_ALL = Address("0.0.0.0", 7400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp://127.0.0.1:7400", Address("127.0.0.1", 7400)),
        ("node7.example:1", Address("node7.example", 1)),
        ("tcp://[::1]:65535", Address("::1", 65535)),
        ("[2001:db8::7]:7400", Address("2001:db8::7", 7400)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
    ],
)
def test_an_address_is_read_with_or_without_the_scheme(text: str, expected: Address) -> None:
    assert parse_address(text) == expected
    assert parse_address(str(expected)) == expected
    assert str(expected).startswith("tcp://")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":7400",
        "host:65536",
        "host:7400x",
        "http://host:80",
        "ipc:///tmp/socket",
        "inproc://zeromq.zap.01",
        "tcp://eth0;192.0.2.1:7400",
        "tcp://*:7400",
        "::1:7400",
        "a b:1",
        "-a:1",
        ".:1",
        "host:1\n",
        "h" * 254 + ":1",
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(BadAddress, match="is not the address of a node; expected 'host:port'"):
        parse_address(text)


def test_a_default_port_is_for_texts_without_one() -> None:
    assert parse_address("host", 7400) == Address("host", 7400)
    assert parse_address("host:1", 7400) == Address("host", 1)
    assert parse_address("[::1]", 7400) == Address("::1", 7400)
    with pytest.raises(BadAddress, match="expected 'host' or 'host:port'"):
        parse_address("", 7400)


def test_names_resolve_to_numbers_and_numbers_to_themselves() -> None:
    assert resolve(Address("localhost", 1)).is_loopback
    assert resolve(Address("192.0.2.7", 1)) == Address("192.0.2.7", 1)
    assert resolve(Address("::1", 1)) == Address("::1", 1)
    for name in ("nobody.invalid", "a..b"):
        with pytest.raises(BadAddress, match=f"'{name}' cannot be resolved"):
            resolve(Address(name, 1))


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("10.0.0.1", False)]
)
def test_loopback_is_what_other_hosts_cannot_reach(host: str, expected: bool) -> None:
    assert Address(host, 1).is_loopback is expected
    assert not Address("0.0.0.0", 1).is_loopback


def test_a_node_bound_to_one_interface_tells_that() -> None:
    assert reachable(Address("192.0.2.7", 1), [Address("198.51.100.1", 2)]) == Address("192.0.2.7", 1)


class _Routing:
    """Stands for the system: which of its hosts leads to which target, and which interfaces there are."""

    def __init__(self, routes: dict[str, str], interfaces: list[str]) -> None:
        self.routes = routes
        self.interfaces = interfaces

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def outgoing(targets: object, family: object) -> list[str]:
            assert hasattr(targets, "__iter__")
            return [self.routes[target] for target in targets if target in self.routes]

        monkeypatch.setattr(module, "_outgoing_hosts", outgoing)
        monkeypatch.setattr(module, "_interface_hosts", lambda family: self.interfaces)


@pytest.mark.parametrize(
    ("routes", "interfaces", "expected"),
    [
        ({"10.0.0.1": "10.0.0.7", "192.0.2.1": "198.51.100.7"}, [], "10.0.0.7"),
        ({"192.0.2.1": "198.51.100.7"}, ["127.0.0.1", "172.17.0.1"], "198.51.100.7"),
        ({"10.0.0.1": "127.0.0.1"}, ["127.0.0.1", "172.17.0.1"], "172.17.0.1"),
    ],
    ids=["the way to a seed", "the default route", "a network without routes"],
)
def test_a_node_bound_to_all_interfaces_tells_the_one_that_leads_out(
    monkeypatch: pytest.MonkeyPatch, routes: dict[str, str], interfaces: list[str], expected: str
) -> None:
    _Routing(routes, interfaces).install(monkeypatch)
    assert reachable(_ALL, [Address("10.0.0.1", 1)]) == Address(expected, 7400)


def test_a_host_with_loopback_only_cannot_tell_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    _Routing({}, ["127.0.0.1"]).install(monkeypatch)
    with pytest.raises(NoAddress, match=r"bound to 'tcp://0\.0\.0\.0:7400' has no address for others"):
        reachable(_ALL)


def test_the_system_can_be_asked_for_routes_and_interfaces() -> None:
    """What comes back depends on the host; loopback is there on all."""
    assert list(module._outgoing_hosts(["127.0.0.1", "nobody.invalid"], socket.AF_INET)) == ["127.0.0.1"]
    assert "127.0.0.1" in list(module._interface_hosts(socket.AF_INET))
    assert list(module._interface_hosts(socket.AF_INET6)) == []
