"""Processes as the operating system sees them: who descends from whom, who dies with whom, and how one ended.

Linux has all of it. Elsewhere `hear_of_parents_end` and `adopt_orphans` do nothing and only a process itself is found,
so that what a killed task had started in the background may stay.
"""

import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

_IS_LINUX = sys.platform == "linux"

# From <linux/prctl.h>; the standard library has no binding.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_MARK = "MESHFLOW_TASK_PROCESS"

_INT_BYTES = struct.calcsize("i")

_OOM_SCORE = "500"
"""Of 1000: when memory runs out, the kernel should end a task and not the node."""


def hear_of_parents_end(parent: int) -> None:
    """Have the kernel send SIGTERM to this process as soon as its parent, the process `parent`, has ended."""
    if not _IS_LINUX:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # It ended before the kernel was told.
        os.kill(os.getpid(), signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of each descendant that loses its own: so none gets out of reach, whatever its session."""
    if _IS_LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def offer_to_oom_killer() -> None:
    """Make this process and what it starts the first choice when the kernel has to end something for want of memory."""
    with suppress(OSError):  # Not Linux, or a sandbox that forbids it: then the kernel's own choice stands.
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def unread_bytes(fileno: int) -> int:
    """How much is in a pipe; either of its ends will do.

    Raises:
        OSError: the descriptor is closed, or of something else.
    """
    count = bytearray(_INT_BYTES)
    fcntl.ioctl(fileno, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def has_children() -> bool:
    """Whether this process has any living children, adopted ones included. Those that have ended are reaped."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def mark(name: str) -> None:
    """Have the programs that this process starts, and those that they start, say by `mark_of` where they come from."""
    os.environ[_MARK] = name


def mark_of(pid: int) -> str:
    """The mark with which a program was started; empty: it has none, or is a fork that has started no program."""
    with suppress(OSError):  # It has ended.
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            name, _, text = variable.partition(b"=")
            if name == _MARK.encode():
                return text.decode(errors="replace")
    return ""


def has_ended(child: int) -> bool:
    """Whether a child of this process has ended; it is not reaped by this."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def session_of(pid: int) -> int:
    """The process id of who began the session of this process; 0: it is gone."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def children_by_parent() -> dict[int, list[int]]:
    """`{parent: its children}` of all processes of this machine at this moment."""
    table: dict[int, list[int]] = {}
    if not _IS_LINUX:
        return table
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):  # It ended since the folder was listed.
            with open(f"/proc/{entry}/stat", "rb") as file:
                stat = file.read()
            # The name stands in brackets and may hold any character; the parent is the second field after it.
            parent = int(stat[stat.rindex(b")") + 1 :].split()[1])
            table.setdefault(parent, []).append(int(entry))
    return table


def descendants(root: int, table: Mapping[int, list[int]]) -> list[int]:
    """All processes below `root`, parents before their children."""
    found = list(table.get(root, ()))
    for pid in found:
        found.extend(table.get(pid, ()))
    return found


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process, which may have ended, or may have become another user's."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_trees(roots: Iterable[int]) -> None:
    """SIGKILL to these processes and to all below them."""
    table = children_by_parent()
    for root in roots:
        for pid in (root, *descendants(root, table)):
            send_signal(pid, signal.SIGKILL)


def describe_exit_code(code: int) -> str:
    """What an exit code says, for example `was killed by SIGSEGV` where it is negative."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _prctl(option: int, value: int) -> None:
    import ctypes  # Here, because the node imports this module and needs none of that.

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}) failed: {os.strerror(error)}")
