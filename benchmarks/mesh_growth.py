"""Does a call, or a task of a dag, cost more in a larger mesh?

Meshes of 1 to 16 nodes on this host, of which one drives runs and each has a slot, so that all take part. What counts
is the CPU time of all their processes and of the client, from `/proc`: on a machine with few cores a larger mesh is not
faster, but it should not have to do more. What nodes use of the CPU while nothing happens is measured before, as a
figure of its own.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Report
from benchmarks.mesh import WORKFLOWS, run_once
from benchmarks.peer.calling import same
from meshflow.client import Client
from meshflow.config import Config
from meshflow.private_mesh import NodePlan, PrivateMesh
from meshflow.version import __version__

SIZES = (1, 2, 4, 8, 16)

_QUESTION = "Does a call, or a task of a dag, cost more in a larger mesh?"
_CALLS = 100_000
_TASKS = 10_000
"""Of the workflow `many`."""
_RUNS = 3
_IDLE_S = 3.0
_JOIN_S = 30.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def measure() -> Report:
    """A mesh for each size."""
    figures = [figure for size in SIZES for figure in _figures(size)]
    return Report(_QUESTION, tuple(figures), {"MeshFlow": __version__})


def _figures(size: int) -> Iterator[Figure]:
    name = f"{size} node{'s' if size > 1 else ''}"
    plans = [NodePlan("node-0", ("workflow", "dag", "task"), slots=1)]
    plans += [NodePlan(f"node-{number}", ("task",), slots=1) for number in range(1, size)]
    with PrivateMesh(Config(), plans, libraries=[str(ROOT)]) as mesh, Client(Config(), mesh=mesh.connect()) as client:
        _await_nodes(client, size)
        roots = [mesh.pid(plan.name) for plan in plans]

        def call() -> None:
            client.gather(client.map(same, range(_CALLS)))

        def run() -> None:
            run_once(client, WORKFLOWS / "many.py")

        call()
        run()
        idle_s = _cpu_s(roots, lambda: time.sleep(_IDLE_S))
        call_us = tuple(1e6 / _CALLS * _cpu_s(roots, call) for _ in range(_RUNS))
        task_us = tuple(1e6 / _TASKS * _cpu_s(roots, run) for _ in range(_RUNS))
    yield Figure(f"a call, {name}", "µs of CPU", call_us)
    yield Figure(f"a task, {name}", "µs of CPU", task_us)
    yield Figure(f"an idle node, {name}", "% of a core", (100 * idle_s / _IDLE_S / size,))


def _await_nodes(client: Client, size: int) -> None:
    until = time.monotonic() + _JOIN_S
    while len(client.nodes()) < size:
        assert time.monotonic() < until, f"{size} nodes did not find each other within {_JOIN_S:g} s"
        time.sleep(0.1)


def _cpu_s(roots: Sequence[int], action: Callable[[], object]) -> float:
    """What an action costs this process and those below `roots`, dead ones included: parents inherit their times."""
    before = _ticks(roots) / _TICKS_PER_S + time.process_time()
    action()
    return _ticks(roots) / _TICKS_PER_S + time.process_time() - before


def _ticks(roots: Sequence[int]) -> int:
    """CPU time so far of processes and all below them."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                after_name = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            children.setdefault(int(after_name[1]), []).append(int(folder.name))
            ticks[int(folder.name)] = sum(map(int, after_name[11:15]))
    total, waiting = 0, list(roots)
    while waiting:
        pid = waiting.pop()
        total += ticks.get(pid, 0)
        waiting += children.get(pid, [])
    return total
