"""Strangers by the hundred at the port of a real node, while a mesh works.

    python -m tests.siege --seconds 180 --connections 400

Each stranger is of one kind: it sends garbage, or a byte a second of what a client would say, or nothing at all, or a
greeting and the beginning of a message as large as may be, or it says what a client without a key says. Who is thrown
out comes again. Printed is how long workflows took in peace and under siege, and the descriptors and the memory of the
node, which must stay bounded.
"""

import argparse
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshflow.core.records import State
from meshflow.runtime.address import parse_address
from tests.system.real_mesh import RealMesh, finish

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + b"\0" * 32
"""What a ZeroMQ client says first (RFC 23)."""
NO_KEY = GREETING.replace(b"CURVE", b"NULL\0") + b"\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
LARGE = GREETING + b"\x02" + (64 * 1024 * 1024).to_bytes(8, "big")
"""A greeting, and the header of a frame of 64 MiB."""
KINDS = ("garbage", "slow", "silent", "large", "keyless")
TURN_S = 0.05


@dataclass
class Stranger:
    """One connection to the node."""

    kind: str
    socket: socket.socket
    said_at: float = 0.0
    said_bytes: int = 0

    def speak(self, now: float, rng: random.Random) -> None:
        """Say what is due. Raises OSError when it was thrown out."""
        with suppress(BlockingIOError):
            if not self.socket.recv(4096):
                raise ConnectionResetError
        data = self._next(now, rng)
        if data:
            with suppress(BlockingIOError):
                self.said_bytes += self.socket.send(data)
            self.said_at = now

    def _next(self, now: float, rng: random.Random) -> bytes:
        match self.kind:
            case "garbage":
                return rng.randbytes(rng.randrange(1, 2000))
            case "slow":
                return GREETING[self.said_bytes % len(GREETING) :][:1] if now - self.said_at >= 1.0 else b""
            case "large":
                return LARGE if not self.said_bytes else bytes(1000)
            case "keyless":
                return NO_KEY if not self.said_bytes else b""
        return b""


@dataclass
class Siege:
    """Strangers around a port, in a thread of their own."""

    address: str
    count: int
    seed: int = 1
    connected: int = 0
    """Connections made so far."""
    _strangers: list[Stranger | None] = field(default_factory=list)
    _is_ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Siege":
        self._strangers = [None] * self.count
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_ended.set()
        self._thread.join()

    def _run(self) -> None:
        rng = random.Random(self.seed)
        place = parse_address(self.address)
        while not self._is_ended.wait(TURN_S):
            for index, stranger in enumerate(self._strangers):
                try:
                    if stranger is None:
                        made = socket.create_connection((place.host, place.port), 0.05)
                        made.setblocking(False)
                        self._strangers[index] = Stranger(KINDS[index % len(KINDS)], made)
                        self.connected += 1
                    else:
                        stranger.speak(time.monotonic(), rng)
                except OSError:
                    if stranger is not None:
                        stranger.socket.close()
                    self._strangers[index] = None
                    if stranger is None:
                        break  # nobody is let in just now
        for each in self._strangers:
            if each is not None:
                each.socket.close()


def descriptor_count(pid: int) -> int:
    """How many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def memory_mb(pid: int) -> float:
    """What a process has in memory, in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@dataclass(frozen=True)
class Outcome:
    """What a siege did to a node."""

    peace_s: float
    """The median time of a workflow before."""
    siege_s: list[float]
    """The times of the workflows under siege."""
    connected: int
    descriptors: tuple[int, int, int]
    """Before, at most, and a while after."""
    memory_mb: tuple[float, float, float]

    def __str__(self) -> str:
        times = sorted(self.siege_s)
        return (
            f"{self.connected} connections; a workflow took {self.peace_s:.2f} s in peace, and under siege "
            f"{times[len(times) // 2]:.2f} s (at most {times[-1]:.2f} s, {len(times)} of them)\n"
            f"descriptors before, at most, after: {self.descriptors}\n"
            f"memory in MB: {tuple(round(each) for each in self.memory_mb)}"
        )


def besiege(mesh: RealMesh, name: str, seconds: float, count: int) -> Outcome:
    """Besiege the node of that name, while the mesh works. Raises AssertionError if a workflow fails."""
    pid = mesh.pid(name)
    address = next(report.member.address for report in mesh.await_nodes(2) if report.member.name == name)
    peace = sorted(timed(lambda: run_one(mesh)) for _ in range(3))
    before = descriptor_count(pid), memory_mb(pid)
    times, most = [], list(before)
    with Siege(address, count) as siege:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            times.append(timed(lambda: run_one(mesh)))
            most = [max(most[0], descriptor_count(pid)), max(most[1], memory_mb(pid))]
    until = time.monotonic() + 10.0
    while descriptor_count(pid) > before[0] + 20 and time.monotonic() < until:
        time.sleep(0.1)
    after = descriptor_count(pid), memory_mb(pid)
    return Outcome(
        peace[1],
        times,
        siege.connected,
        (before[0], int(most[0]), after[0]),
        (before[1], float(most[1]), after[1]),
    )


def run_one(mesh: RealMesh) -> None:
    """Run a small workflow."""
    assert finish(mesh.submit("simple")) is State.COMPLETED


def timed(work: Callable[[], None]) -> float:
    """How long something took."""
    started_at = time.monotonic()
    work()
    return time.monotonic() - started_at


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Besiege a real node.")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--connections", type=int, default=400)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mesh = RealMesh(Path(folder) / "mesh")
        try:
            for name in ("one", "two"):
                mesh.start(name)
                mesh.await_ready(name)
            print(besiege(mesh, "one", given.seconds, given.connections))
        finally:
            mesh.close()


if __name__ == "__main__":
    main()
