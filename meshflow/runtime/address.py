"""Where nodes are reached: `tcp://host:port`.

People write `host` or `host:port`; members advertise, and ZeroMQ wants, the whole form. What peers send goes through
`parse_address` too: ZeroMQ has other transports (inproc, ipc) and further syntax, and no peer may make us use them.
"""

import ipaddress
import re
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from meshflow.errors import UsageError

_FORM = re.compile(r"(?:tcp://)?(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9][A-Za-z0-9_.-]{0,252}))(?::([0-9]{1,5}))?")
_MAX_PORT = 65535

_FAR_AWAY = ("192.0.2.1", "2001:db8::1")
"""Addresses reserved for documentation (RFC 5737, RFC 3849): nobody has them, so the way there is the default route."""

_SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of an interface (netdevice(7))."""
_IFREQ_BYTES = 40
_IFREQ_ADDRESS = slice(20, 24)


class BadAddress(UsageError):
    """Text that is no address of a node, or a name that does not resolve."""


class NoAddress(UsageError):
    """A node listens on all interfaces, and none of them has an address that it could give to others."""


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address. `str()` is the form that ZeroMQ and members use."""

    host: str
    """A name or a numeric address; IPv6 without brackets."""
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if self.is_ipv6 else f"tcp://{self.host}:{self.port}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is a numeric IPv6 address."""
        return ":" in self.host

    @property
    def is_any(self) -> bool:
        """Whether it stands for all interfaces of a host, and so can be bound but not reached."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it. The address must be numeric."""
        return ipaddress.ip_address(self.host).is_loopback


def parse_address(text: str, default_port: int | None = None) -> Address:
    """The address that `host:port`, `[IPv6]:port` or `tcp://...` names; `default_port` is for a text without a port.

    Raises:
        BadAddress: it names none.
    """
    found = _FORM.fullmatch(text)
    port = default_port if found is None or found[3] is None else int(found[3])
    if found is None or port is None or port > _MAX_PORT:
        expected = "'host:port'" if default_port is None else "'host' or 'host:port'"
        raise BadAddress(f"{text!r} is not the address of a node; expected {expected}, the port up to {_MAX_PORT}")
    return Address(found[1] or found[2], port)


def resolve(address: Address) -> Address:
    """The same with a numeric host, IPv4 where there is a choice.

    Raises:
        BadAddress: the name does not resolve.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as problem:
        raise BadAddress(f"the host name {address.host!r} cannot be resolved: {problem}; check its spelling") from None
    family, _, _, _, target = min(found, key=lambda each: each[0] != socket.AF_INET)
    assert family in (socket.AF_INET, socket.AF_INET6), family
    return Address(str(target[0]), address.port)


def reachable(bound: Address, toward: Sequence[Address] = ()) -> Address:
    """What a node bound to `bound` tells others: `bound` itself, or for all interfaces, the address of the one that
    leads to the first of `toward` (its seeds) that can be routed to, else to the world, else of any.

    Raises:
        NoAddress: this host has only loopback.
    """
    if not bound.is_any:
        return bound
    family = socket.AF_INET6 if bound.is_ipv6 else socket.AF_INET
    targets = chain((each.host for each in toward), _FAR_AWAY)
    for host in chain(_outgoing_hosts(targets, family), _interface_hosts(family)):
        candidate = Address(host, bound.port)
        if not candidate.is_loopback and not candidate.is_any:
            return candidate
    raise NoAddress(f"a node bound to '{bound}' has no address for others: only loopback is up; name one to advertise")


def _outgoing_hosts(targets: Iterable[str], family: socket.AddressFamily) -> Iterator[str]:
    for target in targets:
        try:
            # Connecting a UDP socket sends nothing; it asks the routing table which of our addresses would be used.
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                yield probe.getsockname()[0]
        except (OSError, UnicodeError):
            continue


def _interface_hosts(family: socket.AddressFamily) -> Iterator[str]:
    """For networks without a default route, such as those of instruments. Linux and IPv4 only; elsewhere none."""
    if family != socket.AF_INET:
        return
    import fcntl  # not on every platform

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                request = struct.pack(f"{_IFREQ_BYTES}s", name.encode())
                yield socket.inet_ntoa(fcntl.ioctl(probe, _SIOCGIFADDR, request)[_IFREQ_ADDRESS])
            except OSError:
                continue
