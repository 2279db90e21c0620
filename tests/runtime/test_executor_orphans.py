"""Nothing that tasks started outlives its node, however that dies: an orphan would write what its successor writes."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.runtime.executor_bench import is_alive
from tests.source_tree import ROOT

GONE_S = 1.0

NODE = """
import os, sys, threading
from meshflow.tasks.bash_task import BashTask
from tests.runtime.executor_bench import ExecutorBench

behaviour = sys.argv[1]

def busy(*_):
    print(os.getpid(), flush=True)
    if behaviour == "swallow":
        while True:
            try:
                threading.Event().wait()
            except BaseException:
                pass
    if behaviour == "compute":
        sum(range(10**12))
    threading.Event().wait()

bench = ExecutorBench()
left = bench.start(BashTask("left", "setsid sleep 60 >/dev/null 2>&1 & echo $!"))
bench.end(left)
python = bench.start(busy)
bash = bench.start(BashTask("bash", "trap '' TERM; setsid sleep 60 & echo $!; (sleep 60 & echo $!); echo $$; wait"))
lines = [*bench.until_printed(left), *bench.until_printed(python), *bench.until_printed(bash, 3)]
assert not {python, bash} & set(bench.ends)
print(*lines, flush=True)
bench.until(lambda: False)
"""
"""A node with a process left by an ended task, a task in Python, and a shell with a tree below it; tells their pids."""


@contextmanager
def node(behaviour: str) -> Iterator[tuple["subprocess.Popen[str]", list[int]]]:
    """A running node, and the processes that its tasks have started; the second is a task process."""
    with subprocess.Popen(
        [sys.executable, "-c", NODE, behaviour], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        try:
            yield process, pids
        finally:
            process.kill()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def end_times(pids: list[int]) -> list[float]:
    """How many seconds from now each process ended; infinite if it is there after GONE_S."""
    started_at = time.monotonic()
    ended = dict.fromkeys(pids, float("inf"))
    poll = select.poll()
    watches = {}
    for pid in pids:
        try:
            watches[os.pidfd_open(pid)] = pid
        except ProcessLookupError:
            ended[pid] = 0.0
    for watch in watches:
        poll.register(watch, select.POLLIN)
    while watches and (left_s := started_at + GONE_S - time.monotonic()) > 0:
        for watch, _ in poll.poll(left_s * 1000):
            ended[watches.pop(watch)] = time.monotonic() - started_at
            poll.unregister(watch)
            os.close(watch)
    for watch in watches:
        os.close(watch)
    return list(ended.values())


def parent_of(pid: int) -> int:
    """The process id of its parent."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


@pytest.mark.system
@pytest.mark.parametrize("behaviour", ["wait", "swallow", "compute"])
def test_all_processes_are_gone_when_the_node_is_killed(behaviour: str) -> None:
    with node(behaviour) as (process, pids):
        assert len(pids) == 5
        assert all(map(is_alive, pids))

        process.kill()

        assert max(end_times(pids)) < GONE_S


@pytest.mark.system
def test_tasks_end_even_if_node_and_template_are_killed_at_once() -> None:
    with node("wait") as (process, pids):
        task_process = pids[1]
        template = parent_of(task_process)

        os.kill(template, signal.SIGSTOP)  # So that it cannot do anything for them.
        process.kill()
        os.kill(template, signal.SIGKILL)

        assert end_times([task_process])[0] < GONE_S


@pytest.mark.system
def test_ctrl_c_at_the_terminal_of_the_node_does_not_reach_its_tasks() -> None:
    with node("wait") as (_, pids):
        assert os.getpgid(pids[1]) != os.getpgid(0)
        assert os.getsid(pids[1]) == pids[1]
        assert os.getsid(parent_of(pids[1])) == parent_of(pids[1])
