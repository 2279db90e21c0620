"""Nodes that are watched: each line of their logs is timed when it comes, and tells what the node believes of the
others. That costs the nodes nothing; asking them for their status every few milliseconds would.

The time of a line is read here, so that it is too late by as long as this process waited for a core, and never too
early.
"""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hosts import Place
from benchmarks.measure import ROOT

JOINED, SUSPECTED, DIED = "a node has joined", "a node does not answer", "a node is dead"
"""What a node logs of another."""

_TOLD = re.compile(rf"({JOINED}|{SUSPECTED}|{DIED}).* node=(\S+)")
_LONGEST_S = 60.0
_SETTLE_S = 1.0
"""After all know each other, until processes and connections that a start brings are there, too."""
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Told:
    """At `at` (seconds, monotonic) node `observer` said `what` of node `subject`."""

    at: float
    observer: str
    what: str
    subject: str


def told_in(line: str) -> tuple[str, str] | None:
    """What a line of a log says, and of which node; None: something else."""
    found = _TOLD.search(line)
    return (found[1], found[2]) if found else None


@dataclass(slots=True)
class _Node:
    process: "subprocess.Popen[bytes]"
    number: int
    view: set[str] = field(default_factory=set)
    """The others that it takes for alive."""
    rest: bytes = b""
    """The beginning of a line."""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))


class WatchedMesh:
    """One node per place, of the settings that nodes have when nobody says anything else. Folders are shared, as by
    hosts with a common disk, so that killing one of them takes no store away."""

    def __init__(self, folder: Path, places: Sequence[Place]) -> None:
        self.told: list[Told] = []
        self._places = places
        self._folder = folder
        self._nodes: dict[str, _Node] = {}
        self._start_count = 0
        self._selector = selectors.DefaultSelector()
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("MESHFLOW_", "LIGHTFLOW_", "XDG_"))
        }
        own = {f"MESHFLOW_{each.upper()}_DIR": str(folder / each) for each in ("runtime", "state")}
        self._environment = {**kept, **own, "HOME": str(folder), "PYTHONPATH": str(ROOT)}

    def name_at(self, number: int) -> str:
        """The name of the node at a place; a new one is called otherwise than the one before."""
        return next(name for name, node in self._nodes.items() if node.number == number)

    def pid(self, name: str) -> int:
        """The process of a node."""
        return self._nodes[name].process.pid

    def names(self) -> list[str]:
        """The nodes that run."""
        return list(self._nodes)

    # --- nodes ---

    def start(self, number: int) -> None:
        """Start a node at a place."""
        self._start_count += 1
        name = f"host{number}-{self._start_count}"
        place = self._places[number]
        node = ["node", "--until-eof", "--name", name, "--slots", "1", "--bind", place.address]
        process = subprocess.Popen(
            self._command(place, *node),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self._folder,
            start_new_session=True,
        )
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        self._nodes[name] = _Node(process, number)
        self._selector.register(process.stderr, selectors.EVENT_READ, name)

    def kill(self, name: str) -> float:
        """`kill -9`; the instant at which it was sent."""
        node = self._nodes.pop(name)
        at = time.monotonic()
        node.process.kill()
        self._let_go(node)
        return at

    def run(self, place: Place, *arguments: str) -> None:
        """Run `meshflow` with these arguments to its end.

        Raises:
            AssertionError: it failed.
        """
        done = subprocess.run(
            self._command(place, *arguments),
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
        )
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        """End everything."""
        for node in self._nodes.values():
            node.process.kill()
        for node in self._nodes.values():
            self._let_go(node)
        self._nodes.clear()
        self._selector.close()

    def _command(self, place: Place, *arguments: str) -> list[str]:
        return [*place.prefix, sys.executable, "-P", "-m", "meshflow", *arguments]

    def _let_go(self, node: _Node) -> None:
        assert node.process.stderr is not None
        assert node.process.stdin is not None
        self._selector.unregister(node.process.stderr)
        node.process.wait()
        node.process.stderr.close()
        node.process.stdin.close()

    # --- watching ---

    def watch(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Read what the nodes say for so long, or until something holds; whether it does.

        Raises:
            AssertionError: a node ended.
        """
        end = time.monotonic() + seconds
        while not until():
            left_s = end - time.monotonic()
            if left_s <= 0:
                return until()
            for key, _ in self._selector.select(left_s):
                self._read(key.data, key.fd)
        return True

    def await_that(self, what: str, until: Callable[[], bool]) -> None:
        """Watch until something holds that must come.

        Raises:
            AssertionError: it did not come within a minute.
        """
        came = self.watch(_LONGEST_S, until)
        views = "\n".join(f"{name} sees {sorted(node.view)}" for name, node in self._nodes.items())
        assert came, f"not within {_LONGEST_S:g} s: {what}; at last\n{views}"

    def settle(self) -> None:
        """Wait until all know each other, and a moment longer."""
        self.await_that("all know each other", self.all_see_all)
        self.watch(_SETTLE_S)

    def all_see_all(self) -> bool:
        """Whether every node takes exactly the others for alive."""
        return all(node.view == self._nodes.keys() - {name} for name, node in self._nodes.items())

    def sees(self, observer: str, subject: str) -> bool:
        """Whether one node takes another for alive."""
        return subject in self._nodes[observer].view

    def _read(self, name: str, descriptor: int) -> None:
        node = self._nodes[name]
        at = time.monotonic()
        data = os.read(descriptor, 65536)
        assert data, f"node {name} ended:\n" + "\n".join(node.lines)
        *lines, node.rest = (node.rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            node.lines.append(text)
            if found := told_in(text):
                self._take(node, Told(at, name, *found))

    def _take(self, node: _Node, told: Told) -> None:
        self.told.append(told)
        if told.what == JOINED:
            node.view.add(told.subject)
        elif told.what == DIED:
            node.view.discard(told.subject)


@contextmanager
def watched_mesh(places: Sequence[Place]) -> Iterator[WatchedMesh]:
    """A mesh of one node per place, who all know each other; ended, and its folders removed, whatever happens."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix="meshflow-"))
    mesh = WatchedMesh(folder, places)
    try:
        mesh.run(places[0], "key", "make")
        for number in range(len(places)):
            mesh.start(number)
        mesh.settle()
        yield mesh
    finally:
        mesh.close()
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)
