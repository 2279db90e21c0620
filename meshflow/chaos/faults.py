"""Applies a fault to a host, shows that it is there, and takes it back.

Every fault comes with its proof: a counter of packets that were dropped, the state of a process in /proc, a write that
was refused. A fault without an effect would make every promise look kept.
"""

import errno
import json
import math
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from meshflow.chaos.delay import HELD_S, Delay
from meshflow.chaos.hosts import BRIDGE, INTERFACE, SWITCH, Host, run, state_of
from meshflow.chaos.schedule import NETWORK, Fault
from meshflow.errors import StoreError

_LOSS_PERCENT = 5

_STOPPED_S, _RUNNING_S = 0.08, 0.02
"""The turns of a slow node: it has a fifth of its time."""

_PIPE = ("rate", "2mbit", "burst", "3kb", "latency", "2000ms")
"""Of a slow link: a message of a few KiB takes tens of milliseconds, ten megabytes as long as the fault."""

_TABLE = "meshflow_chaos"

_PROBE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    for _ in range(200):
        try:
            probe.sendto(bytes(1000), (sys.argv[1], 9))
        except OSError:
            pass  # a packet that is dropped on its way out is an error, and so is one that nobody waits for
"""

_CLOSED_PORT = 9
"""Of the discard service, which nobody offers."""

_ANSWER_S = 10.0

_CHUNK_BYTES = 1024 * 1024

_COMPACT_S = 10.0
"""How long to wait for the store's lock."""

Proof = tuple[bool, str]
"""Whether the fault was there, and what shows it."""


@dataclass(frozen=True, slots=True)
class Injury:
    """A fault that was applied."""

    nodes: tuple[str, ...]
    prove: Callable[[], Proof]
    """To be called before it is taken back."""
    heal: Callable[[], object]


def impossible(*, in_sandbox: bool) -> dict[Fault, str]:
    """`{fault: why it cannot be had here}`."""
    if in_sandbox:
        return {}
    skipped = dict.fromkeys(NETWORK, "all nodes share the loopback interface")
    return skipped | {Fault.DISK_FULL: "the nodes have no disks of their own"}


def apply(fault: Fault, hosts: Sequence[Host], choice: int, probe: Callable[[], object]) -> Injury:
    """Apply a fault to these hosts. `choice` draws what the fault leaves open; `probe` reads something in the store's
    file.

    Raises:
        ChaosFailed: a program that it takes has failed.
    """
    names = tuple(host.name for host in hosts)
    match fault:
        case Fault.NONE:
            return Injury((), lambda: (True, "nothing was done"), lambda: None)
        case Fault.KILL | Fault.KILL_ALL:
            prove, heal = _kill(hosts)
        case Fault.PAUSE:
            prove, heal = _pause(hosts[0])
        case Fault.SLOW:
            prove, heal = _slow(hosts[0])
        case Fault.PARTITION:
            prove, heal = _drop(hosts[0], ("input", "output"), "")
        case Fault.ONE_WAY:
            prove, heal = _drop(hosts[0], (("input", "output")[choice % 2],), "")
        case Fault.LOSS:
            prove, heal = _drop(hosts[0], ("input", "output"), f"numgen random mod 100 < {_LOSS_PERCENT}")
        case Fault.LINK_DOWN:
            prove, heal = _link_down(hosts[0])
        case Fault.SLOW_LINK:
            prove, heal = _narrow(hosts[0])
        case Fault.DELAY:
            prove, heal = _delay(hosts[0], choice)
        case Fault.OUTAGE:
            prove, heal = _outage(hosts[0], probe)
        case Fault.DISK_FULL:
            prove, heal = _fill(hosts[0])
    return Injury(names, prove, heal)


_Pair = tuple[Callable[[], Proof], Callable[[], object]]


# --- processes ---


def _kill(hosts: Sequence[Host]) -> _Pair:
    pids = {host.name: host.pid for host in hosts}
    for host in hosts:
        host.kill()

    def prove() -> Proof:
        left = [name for name, pid in pids.items() if state_of(pid)]
        return not left, f"still there: {left}" if left else f"gone: {pids}"

    def heal() -> None:
        for host in hosts:
            host.start()
        for host in hosts:
            host.await_ready()

    return prove, heal


def _pause(host: Host) -> _Pair:
    host.signal_all(signal.SIGSTOP)

    def prove() -> Proof:
        state = state_of(host.pid)
        return state == "T", f"process {host.pid} is in state {state!r}"

    return prove, lambda: host.signal_all(signal.SIGCONT)


def _slow(host: Host) -> _Pair:
    is_over = threading.Event()
    seen: list[str] = []

    def take_turns() -> None:
        while not is_over.is_set():
            host.signal_all(signal.SIGSTOP)
            is_over.wait(_STOPPED_S)
            seen.append(state_of(host.pid))
            host.signal_all(signal.SIGCONT)
            is_over.wait(_RUNNING_S)

    thread = threading.Thread(target=take_turns, name="slow", daemon=True)
    thread.start()

    def prove() -> Proof:
        count = seen.count("T")
        return count > 1, f"process {host.pid} was in state T at {count} of {len(seen)} looks"

    def heal() -> None:
        is_over.set()
        thread.join()
        host.signal_all(signal.SIGCONT)

    return prove, heal


# --- the network ---


def _drop(host: Host, directions: Sequence[str], condition: str) -> _Pair:
    way = {"input": "iifname", "output": "oifname"}
    chains = "\n".join(
        f"chain {each} {{\ntype filter hook {each} priority 0; policy accept;\n"
        f'{way[each]} "{INTERFACE}" {condition} counter drop\n}}'
        for each in directions
    )
    run(*host.prefix, "nft", "-f", "-", text=f"table inet {_TABLE} {{\n{chains}\n}}\n")

    def prove() -> Proof:
        _send_probes(host)
        listed = json.loads(run(*host.prefix, "nft", "-j", "list", "table", "inet", _TABLE))
        rules = [each["rule"] for each in listed["nftables"] if "rule" in each]
        counts = {
            rule["chain"]: part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part
        }
        # Of few packets, it may be that none is lost in one of two ways.
        is_there = any(counts.values()) if condition else len(counts) == len(directions) and all(counts.values())
        return is_there, f"packets dropped by {host.name}: {counts}"

    return prove, lambda: run(*host.prefix, "nft", "delete", "table", "inet", _TABLE)


def _send_probes(host: Host) -> None:
    """Send packets that nobody wants, from the host to us and from us to the host, so that there are some to drop."""
    run(*host.prefix, sys.executable, "-c", _PROBE, SWITCH, text="")
    run(sys.executable, "-c", _PROBE, host.address.partition(":")[0], text="")


def _link_down(host: Host) -> _Pair:
    run("ip", "-n", host.name, "link", "set", INTERFACE, "down")

    def prove() -> Proof:
        (link,) = json.loads(run("ip", "-j", "-n", host.name, "link", "show", INTERFACE))
        return link["operstate"] == "DOWN", f"the interface of {host.name} is {link['operstate']}"

    return prove, lambda: run("ip", "-n", host.name, "link", "set", INTERFACE, "up")


def _narrow(host: Host) -> _Pair:
    run("tc", "-n", host.name, "qdisc", "add", "dev", INTERFACE, "root", "tbf", *_PIPE)

    def prove() -> Proof:
        _send_probes(host)
        (queue,) = json.loads(run("tc", "-n", host.name, "-s", "-j", "qdisc", "show", "dev", INTERFACE))
        return queue["overlimits"] > 0, f"packets that had to wait at {host.name}: {queue['overlimits']}"

    return prove, lambda: run("tc", "-n", host.name, "qdisc", "del", "dev", INTERFACE, "root")


def _delay(host: Host, seed: int) -> _Pair:
    before_s = round_trip_s(host)
    delay = Delay(host.cable, BRIDGE, seed)

    def prove() -> Proof:
        now_s = round_trip_s(host)
        text = f"from the game to {host.name} and back: {1000 * before_s:.1f} ms before, {1000 * now_s:.1f} ms now"
        return before_s < 2 * HELD_S[0] <= now_s < math.inf, text

    return prove, delay.close


def round_trip_s(host: Host) -> float:
    """How long it takes from the game to this host and back: until its kernel has refused a connection to a port at
    which nobody listens. Infinite: there was no answer."""
    began = time.monotonic()
    try:
        socket.create_connection((host.address.partition(":")[0], _CLOSED_PORT), timeout=_ANSWER_S).close()
    except ConnectionRefusedError:
        return time.monotonic() - began
    except OSError:
        pass
    return math.inf


# --- the store and the disk ---


def _outage(host: Host, probe: Callable[[], object]) -> _Pair:
    away = host.store_path.with_suffix(".away")
    host.store_path.rename(away)

    def prove() -> Proof:
        try:
            probe()
        except StoreError as problem:
            return not host.store_path.exists(), str(problem)
        return False, "the store could be read"

    return prove, lambda: away.rename(host.store_path)


def _fill(host: Host) -> _Pair:
    filler = host.folder / "filler"
    if host.store_path.exists():
        _compact(host.store_path)
    _write_until_full(filler)

    def prove() -> Proof:
        # What a node has removed meanwhile is room again. It is taken, and then the next byte must be refused.
        try:
            _write_until_full(filler)
            with (host.folder / "probe").open("wb", buffering=0) as file:
                file.write(b"x")
        except OSError as problem:
            return problem.errno == errno.ENOSPC, f"a byte written to the disk of {host.name}: {problem.strerror}"
        return False, f"a byte could be written to the disk of {host.name}"

    def heal() -> None:
        filler.unlink()
        (host.folder / "probe").unlink(missing_ok=True)

    return prove, heal


def _compact(store: Path) -> None:
    """Take the room away that the store has to itself: what is free in its file, and in its log."""
    connection = sqlite3.connect(store, timeout=_COMPACT_S, isolation_level=None)
    try:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        connection.close()


def _write_until_full(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    size_bytes = _CHUNK_BYTES
    try:
        while size_bytes:
            try:
                os.write(descriptor, bytes(size_bytes))
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                size_bytes //= 2
    finally:
        os.close(descriptor)
