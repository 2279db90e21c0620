"""Each fault shows whether it is there; what it needs besides a process is in `tests/system/test_chaos.py`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.chaos.faults import apply, impossible
from meshflow.chaos.hosts import Host, descendants, state_of
from meshflow.chaos.schedule import CELLS, Fault
from meshflow.errors import StoreUnavailable
from tests.system.real_mesh import eventually

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
"""A program that starts another, which says so, and both wait."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host whose node is a process that has started another, and does nothing."""
    made = Host("only", (), 1, tmp_path, tmp_path / "log", "127.0.0.1:1", is_namespace=False)
    made.node = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield made
    made.signal_all(signal.SIGKILL)
    made.kill()


def probe() -> None:
    """A store that is there."""


def until(event: int, host: Host) -> None:
    """Wait until the node has stopped (`WSTOPPED`) or goes on (`WCONTINUED`), once more."""
    os.waitid(os.P_PID, host.pid, event)


def test_a_paused_node_is_stopped_with_what_it_has_started(host: Host) -> None:
    assert host.node is not None
    assert host.node.stdout is not None
    host.node.stdout.readline()
    (child,) = descendants(host.pid)
    injury = apply(Fault.PAUSE, [host], 0, probe)
    until(os.WSTOPPED, host)
    # Nobody is told of the states of another's child.
    eventually(lambda: state_of(child) == "T", "what the node has started is stopped")
    assert injury.prove()[0]
    injury.heal()
    until(os.WCONTINUED, host)
    eventually(lambda: state_of(child) in ("S", "R"), "what the node has started goes on")
    assert not injury.prove()[0], "a proof can fail"


def test_a_slow_node_is_stopped_again_and_again_and_runs_in_the_end(host: Host) -> None:
    injury = apply(Fault.SLOW, [host], 0, probe)
    for _ in range(3):  # the third time, it has been looked at after two
        until(os.WSTOPPED, host)
    assert injury.prove()[0]
    injury.heal()
    until(os.WCONTINUED, host)
    assert state_of(host.pid) in ("S", "R")


def test_a_killed_node_is_gone(host: Host) -> None:
    pid = host.pid
    host.signal_all(signal.SIGKILL)
    assert apply(Fault.KILL, [host], 0, probe).prove() == (True, f"gone: {{'only': {pid}}}")
    assert state_of(pid) == ""


def test_a_store_that_is_away_cannot_be_read_and_is_the_same_file_afterwards(host: Host) -> None:
    host.store_path.parent.mkdir(parents=True)
    host.store_path.touch()
    inode = os.stat(host.store_path).st_ino

    def look() -> None:
        if not host.store_path.exists():
            raise StoreUnavailable("it has gone")

    injury = apply(Fault.OUTAGE, [host], 0, look)
    assert injury.prove() == (True, "it has gone")
    injury.heal()
    assert injury.prove() == (False, "the store could be read")
    assert os.stat(host.store_path).st_ino == inode


def test_without_a_sandbox_it_is_said_which_faults_there_cannot_be_and_why() -> None:
    assert impossible(in_sandbox=True) == {}
    skipped = impossible(in_sandbox=False)
    assert all(skipped.values())
    assert [fault for fault in CELLS if fault not in skipped] == [
        Fault.NONE,
        Fault.KILL,
        Fault.PAUSE,
        Fault.SLOW,
        Fault.OUTAGE,
        Fault.KILL_ALL,
    ]
