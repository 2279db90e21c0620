"""The shell tells membership when it could not run: that is how a starved node comes to blame itself first."""

import asyncio
import math
import os
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

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


class Stub:
    """A node, its membership, a transport and storage in one, which notes what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.late_s = 0.0
        self.me, self.membership = member(ME), self
        self.is_drained = False
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

    def __init__(self, node: Stub) -> None:
        self._node = node
        os.set_blocking(node.inbox, False)

    def receive(self, limit: int) -> list[Any]:
        self._node.notes.append("read")
        try:
            os.read(self._node.inbox, 1)
        except BlockingIOError:
            return []
        time.sleep(BLOCKED_S)
        return []

    def fileno(self) -> int:
        return self._node.inbox

    def deadline(self) -> float:
        return math.inf

    def has_more(self) -> bool:
        return False

    def nothing(self, *arguments: object) -> list[Any]:
        return []

    disconnected = problems = tick = close = nothing


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
    node = Stub()

    async def live() -> None:
        shell = await running(node)
        if is_at_work:
            node.arrive()
        else:
            time.sleep(BLOCKED_S)
        await asyncio.sleep(DUE_S)
        await shell.close(0.0)

    asyncio.run(live())
    node.close()
    late = node.notes.index("late")
    assert "read" in node.notes[:late]
    assert "act" not in node.notes[:late]
    assert node.late_s > BLOCKED_S - DUE_S - 0.01


def test_a_loop_that_runs_in_time_says_nothing() -> None:
    """On a busy machine it may be late by itself; not every time."""

    async def live(node: Stub) -> None:
        shell = await running(node)
        await asyncio.sleep(2 * DUE_S)
        await shell.close(0.0)

    def is_quiet() -> bool:
        node = Stub()
        asyncio.run(live(node))
        node.close()
        return "late" not in node.notes and "act" in node.notes

    assert any(is_quiet() for _ in range(20))
