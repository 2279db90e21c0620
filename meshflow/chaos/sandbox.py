"""A place of its own for a game: with root, the process goes into namespaces that nobody else sees.

Processes, mounts and networks that are made in it end with the first process in it, by the kernel, however that ends.
So nothing is left behind even by SIGKILL, and nothing that was there before can be hit.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

_NEW_MOUNTS, _NEW_PIDS, _NEW_NETWORK = 0x00020000, 0x20000000, 0x40000000
"""Flags of unshare(2)."""

_SET_DEATH_SIGNAL = 1
"""Of prctl(2): the signal that comes when the parent dies."""

_PROGRAMS = ("ip", "nft", "tc", "mount")

_INTERRUPTED = 130
"""The shell's word for a process that Ctrl-C has ended."""

_NETWORKS = "/run/netns"
"""Where `ip netns` keeps the networks that have a name."""


def why_not() -> str:
    """Why there can be no sandbox here; empty: there can."""
    if os.geteuid() != 0:
        return "not run as root"
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"there is no program {' or '.join(missing)} (packages iproute2, nftables, mount)"
    return "the kernel, or the container this runs in, refuses namespaces" if run_inside(lambda: 0) else ""


def run_inside(work: Callable[[], int]) -> int:
    """Do `work` in a sandbox, in a process of its own; gives its exit code, 1 if there can be no sandbox. Ctrl-C and
    SIGTERM reach it as KeyboardInterrupt, and it is expected to end then."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Two children: one that enters the namespaces, and its child, which is the first process that is numbered anew.
    return _in_child(lambda: _in_child(lambda: _first_process(work)) if _enter() else 1)


def run_here(work: Callable[[], int]) -> int:
    """Do `work` in this process and without a sandbox; Ctrl-C and SIGTERM reach it in the same way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return work()
    except KeyboardInterrupt:
        return _INTERRUPTED


def _in_child(work: Callable[[], int]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child:
        return _await(child)
    code = 1
    try:
        os.setpgid(0, 0)  # so that Ctrl-C is heard by the first process alone, and passed on once
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() in (parent, 0):  # 0: the parent is in another namespace
            code = work()
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _await(child: int) -> int:
    """The exit code of a child that is told of every signal that should end us."""

    def pass_on(number: int, frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _enter() -> bool:
    return bool(ctypes.CDLL(None).unshare(_NEW_MOUNTS | _NEW_PIDS | _NEW_NETWORK) == 0)


def _first_process(work: Callable[[], int]) -> int:
    """What the first process of the sandbox does. It sees its own processes and networks only."""
    os.makedirs(_NETWORKS, exist_ok=True)
    for command in (
        "mount --make-rprivate /",
        "mount -t proc proc /proc",
        f"mount -t tmpfs tmpfs {_NETWORKS}",
        "ip link set lo up",
    ):
        if subprocess.run(command.split(), capture_output=True).returncode:
            return 1
    return run_here(work)


def _interrupt(number: int, frame: object) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)  # once is enough: what follows must not be interrupted
    raise KeyboardInterrupt
