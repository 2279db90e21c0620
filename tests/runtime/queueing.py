"""Tasks for the tests of jobs that are given to a task process ahead."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from meshflow.core.attempts import Attempt
from tests.runtime.executor_bench import PATIENCE_S, ExecutorBench, Signal, data_of

# Tasks are called with data, store, signal and context.
Given = Any


def inside(make: Callable[[], Callable[..., None]]) -> Callable[..., None]:
    """A function made inside of another, which is pickled by value: no task process has to import this module."""
    return make()


@inside
def hold() -> Callable[..., None]:
    """A task that runs until it is let go."""

    def wait(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.join_dags([])

    return wait


@inside
def tell() -> Callable[..., None]:
    """A task that says in which process it runs."""

    def say(data: Given, *_: Given) -> None:
        data["pid"] = os.getpid()

    return say


def held(bench: ExecutorBench) -> Signal:
    """Start a task that runs until `let_go`, and wait until it runs."""
    attempt = bench.start(hold)
    bench.until(lambda: any(each.attempt == attempt for each in bench.signals))
    return next(each for each in bench.signals if each.attempt == attempt)


def let_go(bench: ExecutorBench, holder: Signal) -> None:
    """Let a task that is held come to its end."""
    bench.executor.answer(holder.attempt, holder.call, None)


def pids_of(bench: ExecutorBench, attempts: Sequence[Attempt]) -> list[int]:
    """In which processes these have run."""
    return [data_of(bench.end(attempt))["pid"] for attempt in attempts]


def turn(bench: ExecutorBench) -> None:
    """Let the loop do what there is to do now."""
    bench.loop.run_until_complete(asyncio.sleep(0))


def stop(pid: int) -> None:
    """Have a process do nothing, not even take what it was waiting for, until SIGCONT. It is looked at again and again,
    for only its parent, the template, is told that it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        with open(f"/proc/{pid}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] == "T":
                return
        time.sleep(0.001)
    raise TimeoutError(f"process {pid} does not stop")
