"""Where does the time of a task, and of a call, go?

A dag of 10,000 no-op tasks, and 100,000 calls of a client, on the mesh that all others are measured on. What counts is
what the kernel counts for each thread: nanoseconds on a core (`/proc/PID/task/*/schedstat`), system calls, context
switches, messages that ZeroMQ's threads send, and how often the disk is told to write. The last four are counted by
`perf`, in further runs, for it slows what it watches; without it they are left out.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Report
from benchmarks.mesh import PLANS, WORKFLOWS, run_once
from benchmarks.peer.calling import same
from meshflow.client import Client
from meshflow.config import Config
from meshflow.private_mesh import PrivateMesh
from meshflow.version import __version__

_QUESTION = "Where does the time of a task, and of a call, go?"
_TASKS = 10_000
"""Of the workflow `many`."""
_CALLS = 100_000
_RUNS = 5
_ATTACH_S = 1.0
"""What `perf` takes at most until it counts."""

_CLIENT, _OWNER, _LOG = "client", "owner: its loop", "owner: its other threads, which write the log"
_NODES, _ZEROMQ, _TASK_PROCESSES = "nodes that run the tasks: their loops", "ZeroMQ's threads", "task processes"
STAGES = (_CLIENT, _OWNER, _LOG, _NODES, _ZEROMQ, _TASK_PROCESSES)
IN_ALL = "in all"

_EVENTS = {
    "raw_syscalls:sys_enter": "system calls",
    "context-switches": "context switches",
    "syscalls:sys_enter_sendto": "messages to others",
    "syscalls:sys_enter_fdatasync": "writes to the disk",
}
_ONLY_OF = {"messages to others": _ZEROMQ, "writes to the disk": _LOG}
"""Where this event means what it is called here."""

Thread = tuple[int, int]
"""Process and thread id."""


def measure() -> Report:
    """One mesh for all."""
    figures: list[Figure] = []
    skipped: list[str] = []
    with PrivateMesh(Config(), PLANS, libraries=[str(ROOT)]) as mesh, Client(Config(), mesh=mesh.connect()) as client:
        pids = [mesh.pid(plan.name) for plan in PLANS]
        for what, count, action in (
            ("task", _TASKS, lambda: run_once(client, WORKFLOWS / "many.py")),
            ("call", _CALLS, lambda: client.gather(client.map(same, range(_CALLS)))),
        ):
            action()
            figures += _cpu(what, count, action, pids)
            try:
                figures += _events(what, count, action, pids)
            except OSError as problem:
                skipped.append(f"system calls and the like of a {what}: {problem}")
    return Report(_QUESTION, tuple(figures), {"MeshFlow": __version__}, tuple(skipped))


def _cpu(what: str, count: int, action: Callable[[], object], pids: list[int]) -> Iterator[Figure]:
    """Microseconds of each stage."""
    values: dict[str, list[float]] = {stage: [] for stage in (*STAGES, IN_ALL)}
    for _ in range(_RUNS):
        before = {thread: spent for thread, _, spent in _threads(pids)}
        action()
        spent_us = dict.fromkeys(STAGES, 0.0)
        for thread, stage, spent in _threads(pids):
            spent_us[stage] += (spent - before.get(thread, 0)) / 1000 / count
        for stage, value in spent_us.items():
            values[stage].append(value)
        values[IN_ALL].append(sum(spent_us.values()))
    for stage, each in values.items():
        yield Figure(f"a {what}: CPU, {stage}", "µs", tuple(each))


def _events(what: str, count: int, action: Callable[[], object], pids: list[int]) -> Iterator[Figure]:
    """What `perf` counts, per thousand tasks or calls.

    Raises:
        OSError: `perf` is not here, or may not count.
    """
    stages = {thread[1]: stage for thread, stage, _ in _threads(pids)}
    counted = _perf(action, sorted({thread[0] for thread, _, _ in _threads(pids)}))
    for event, name in _EVENTS.items():
        totals = dict.fromkeys(STAGES, 0.0)
        for (tid, each), number in counted.items():
            if each == event and tid in stages:
                totals[stages[tid]] += 1000 * number / count
        only = _ONLY_OF.get(name)
        for stage in (only,) if only else STAGES:
            yield Figure(f"a {what}: {name}, {stage}", "per 1,000", (totals[stage],))
        if not only:
            yield Figure(f"a {what}: {name}, {IN_ALL}", "per 1,000", (sum(totals.values()),))


def _perf(action: Callable[[], object], pids: list[int]) -> dict[tuple[int, str], int]:
    """How often each event happened in each thread during an action."""
    if shutil.which("perf") is None:
        raise OSError("perf is not installed")
    command = ["perf", "stat", "-x;", "--per-thread", "-e", ",".join(_EVENTS), "-p", ",".join(map(str, pids))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as perf:
        time.sleep(_ATTACH_S)
        action()
        perf.send_signal(signal.SIGINT)
        _, said = perf.communicate()
    counted: dict[tuple[int, str], int] = {}
    for line in said.splitlines():
        match line.split(";"):
            case [thread, number, _, event, *_] if number.isdecimal():
                counted[int(thread.rpartition("-")[2]), event] = int(number)
    if not counted:
        raise OSError(f"perf does not count here: {' '.join(said.split())[:200]}")
    return counted


def _threads(pids: list[int]) -> Iterator[tuple[Thread, str, int]]:
    """All threads of the client, the nodes and what is below them: which, its stage, and its nanoseconds so far."""
    for pid in (os.getpid(), *pids, *_below(pids)):
        for folder in Path(f"/proc/{pid}/task").iterdir():
            try:
                spent = int((folder / "schedstat").read_text().split()[0])
                name = (folder / "comm").read_text()
            except OSError:
                continue  # It has just ended.
            tid = int(folder.name)
            yield (pid, tid), _stage(pid, is_first=tid == pid, name=name, pids=pids), spent


def _stage(pid: int, *, is_first: bool, name: str, pids: list[int]) -> str:
    if name.startswith("ZMQ"):
        return _ZEROMQ
    if pid == os.getpid():
        return _CLIENT
    if pid == pids[0]:
        return _OWNER if is_first else _LOG
    return _NODES if pid in pids else _TASK_PROCESSES


def _below(pids: list[int]) -> list[int]:
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        for thread in Path(f"/proc/{pid}/task").iterdir():
            children = [int(child) for child in (thread / "children").read_text().split()]
            found += children
            waiting += children
    return found
