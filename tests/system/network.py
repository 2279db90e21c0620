"""Hosts that are network namespaces of this one: with addresses of their own, and a cable that can be pulled."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator

import pytest

ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the program `ip`."""
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20)


def why_not() -> str:
    """Why there can be no network namespaces here; empty: there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no program `ip`"
    name = f"mf-{secrets.token_hex(3)}"
    made = ip("netns", "add", name)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    ip("netns", "del", name)
    return ""


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """The names of two network namespaces that reach each other and nobody else."""
    if reason := why_not():
        pytest.skip(reason)
    mark = secrets.token_hex(3)
    names = [f"mf-{mark}-{side}" for side in "ab"]
    ends = [f"v{mark}{side}" for side in "ab"]
    try:
        for name in names:
            assert ip("netns", "add", name).returncode == 0
        made = ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        if made.returncode:
            pytest.skip(f"no virtual network cables here: {made.stderr.strip()}")
        for name, end, address in zip(names, ends, ADDRESSES, strict=True):
            for arguments in (
                ("addr", "add", f"{address}/24", "dev", end),
                ("link", "set", end, "up"),
                ("link", "set", "lo", "up"),
            ):
                done = ip("-n", name, *arguments)
                assert done.returncode == 0, done.stderr
        yield names
    finally:
        for name in names:
            ip("netns", "del", name)


def plug(host: str, *, is_in: bool) -> None:
    """Put the cable of a host in, or pull it out."""
    links = [line.split(":")[1].split("@")[0].strip() for line in ip("-n", host, "-o", "link").stdout.splitlines()]
    cable = next(link for link in links if link.startswith("v"))
    assert ip("-n", host, "link", "set", cable, "up" if is_in else "down").returncode == 0
