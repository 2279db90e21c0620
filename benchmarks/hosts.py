"""Hosts made of network namespaces, on a bridge from which each of them can be taken.

The bridge has a namespace of its own, so that the machine's network is not touched, and removing the namespaces removes
everything. Their names carry the process id of their maker: what one left behind that was killed, the next removes.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MARK = "mfbench"
_SUBNET = "10.213.79"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: what goes before its command, and the address it has there."""

    prefix: tuple[str, ...]
    address: str


LOOPBACK = Place((), "127.0.0.1")
"""This host, for those who may not make others."""


class Hosts:
    """Hosts that reach each other and nobody else."""

    def __init__(self, places: Sequence[Place], here: Place, bridge: str) -> None:
        self.places = places
        self.here = here
        """Where programs run that are on none of the hosts; it reaches all."""
        self._bridge = bridge

    def cut(self, number: int) -> None:
        """Drop all that goes to and from a host. Nobody is told: both ends of its cable still see their link."""
        _ip("-n", self._bridge, "link", "set", f"port{number}", "nomaster")

    def heal(self, number: int) -> None:
        """Let it through again."""
        _ip("-n", self._bridge, "link", "set", f"port{number}", "master", "br0")


def why_not() -> str:
    """Why there can be no such hosts here; empty: there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no program `ip`"
    try:
        with open_hosts(1) as hosts:
            hosts.cut(0)
    except OSError as problem:
        return f"no network namespaces here: {problem}"
    return ""


@contextmanager
def open_hosts(count: int) -> Iterator[Hosts]:
    """Makes hosts, and removes them.

    Raises:
        OSError: the system refuses.
    """
    _remove_left_behind()
    bridge, *names = [f"{_MARK}-{os.getpid()}-{name}" for name in ("bridge", *map(str, range(count)))]
    try:
        here = _make(bridge, f"{_SUBNET}.254", ("link", "add", "br0", "type", "bridge"), "br0")
        places = []
        for number, name in enumerate(names):
            port = f"port{number}"
            cable = ("link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", bridge)
            places.append(_make(name, f"{_SUBNET}.{number + 1}", cable, "eth0"))
            _ip("-n", bridge, "link", "set", port, "up")
        hosts = Hosts(places, here, bridge)
        for number in range(count):
            hosts.heal(number)
        yield hosts
    finally:
        for name in (bridge, *names):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _make(name: str, address: str, add: tuple[str, ...], link: str) -> Place:
    _ip("netns", "add", name)
    _ip("-n", name, *add)
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
    for each in ("lo", link):
        _ip("-n", name, "link", "set", each, "up")
    return Place(("ip", "netns", "exec", name), address)


def _remove_left_behind() -> None:
    for line in _ip("netns", "list").splitlines():
        mark, _, rest = line.partition("-")
        pid = rest.partition("-")[0]
        if mark == _MARK and pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            _ip("netns", "del", line.split()[0])


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
