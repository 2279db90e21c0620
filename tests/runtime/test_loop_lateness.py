"""The shell tells membership when it could not run: that is how a starved node comes to blame itself first.

The clock of the event loop is one of the test: it stands still while something runs, and jumps when nothing is due.
"""

import asyncio
import math
import os
import selectors
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from meshflow.core.kept import Kept
from meshflow.core.node import Node
from meshflow.runtime.fleet import ExecutorSettings
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.loop import NodeLoop
from meshflow.runtime.storage import Storage
from meshflow.runtime.transport.node import Transport
from tests.core.builders import ME, member

DUE_S = 0.02
"""A node with nothing to do wants to be called so often."""

BLOCKED_S = 0.4


class Clock(selectors.DefaultSelector):
    """The time of an event loop, and its selector, which has time pass instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; if nothing is, `timeout` is over at once."""
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen"
            self.now += timeout
        return ready

    def run(self, main: Coroutine[Any, Any, None]) -> None:
        """Run this in an event loop with this clock."""

        def make_loop() -> asyncio.AbstractEventLoop:
            loop = asyncio.SelectorEventLoop(self)
            loop.time = lambda: self.now  # type: ignore[method-assign]
            return loop

        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main)


class Stub:
    """A node, its membership, a transport and storage in one, which notes what it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.notes: list[str] = []
        self.late_s = 0.0
        self.me, self.membership = member(ME), self
        self.is_drained = False
        self.kept = Kept()
        self.inbox, self._outbox = os.pipe()
        self._due_at = 0.0

    def arrive(self) -> None:
        """Let the shell be told that something arrived, which takes long to read."""
        os.write(self._outbox, b"!")

    def deadline(self) -> float:
        return self._due_at

    def flush(self, now: float) -> list[Any]:
        if now >= self._due_at:
            self.notes.append("act")
            self._due_at = now + DUE_S
        return []

    def loop_was_late(self, seconds: float, now: float) -> None:
        self.notes.append("late")
        self.late_s = seconds

    def nothing(self, *arguments: object) -> list[Any]:
        return []

    start = leave = perform = nothing

    def close(self, *arguments: object) -> None:
        for descriptor in (self.inbox, self._outbox):
            os.close(descriptor)


class Wire:
    """A transport, and storage, that are never due."""

    max_message_bytes = 1024 * 1024

    def __init__(self, node: Stub) -> None:
        self._node = node
        os.set_blocking(node.inbox, False)

    def receive(self, limit: int) -> list[Any]:
        self._node.notes.append("read")
        try:
            os.read(self._node.inbox, 1)
        except BlockingIOError:
            return []
        self._node.clock.now += BLOCKED_S
        return []

    def fileno(self) -> int:
        return self._node.inbox

    def deadline(self) -> float:
        return math.inf

    def has_more(self) -> bool:
        return False

    def nothing(self, *arguments: object) -> list[Any]:
        return []

    disconnected = problems = tick = close = lost_any = nothing


async def running(node: Stub) -> NodeLoop:
    """A shell of the node that has been at it for a while."""
    wire = Wire(node)
    shell = NodeLoop(
        cast(Node, node),
        cast(Transport, wire),
        lambda on_state: cast(Storage, wire),
        ExecutorSettings(),
        asyncio.get_running_loop(),
        cast(KeyRing, SimpleNamespace(keys=())),
    )
    shell.start([], 0)
    await asyncio.sleep(2 * DUE_S)
    node.notes.clear()
    return shell


@pytest.mark.parametrize("is_at_work", [False, True], ids=["stopped", "at work"])
def test_a_loop_that_could_not_run_says_so_after_it_has_read_and_before_it_acts(is_at_work: bool) -> None:
    """What has arrived meanwhile may be the very answer whose absence it would complain of. Work of its own that takes
    long is no better than being stopped."""
    clock = Clock()
    node = Stub(clock)

    async def live() -> None:
        shell = await running(node)
        if is_at_work:
            node.arrive()
        else:
            clock.now += BLOCKED_S
        await asyncio.sleep(DUE_S)
        await shell.close(0.0)

    clock.run(live())
    node.close()
    late = node.notes.index("late")
    assert "read" in node.notes[:late]
    assert "act" not in node.notes[:late]
    assert node.late_s == pytest.approx(BLOCKED_S - DUE_S)


def test_a_loop_that_runs_in_time_says_nothing() -> None:
    clock = Clock()
    node = Stub(clock)

    async def live() -> None:
        shell = await running(node)
        await asyncio.sleep(10 * DUE_S)
        await shell.close(0.0)

    clock.run(live())
    node.close()
    assert "late" not in node.notes
    assert node.notes.count("act") >= 9
