"""The node's end of its template: has task processes forked, signalled, and hears of their ends.

Invariants:
1. Nothing here blocks the node: orders wait in a queue while the template is still starting, or behind.
2. Every process that was asked for is heard of exactly once more: that it ended, never was, or was lost.
3. A template that died is replaced when the next process is asked for, not before: one that cannot even start must not
   keep the node busy.
"""

import array
import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from meshflow.runtime import processes
from meshflow.runtime.orders import ORDER, REPORT, Order, Report

_START = """\
import sys
sys.path[:] = sys.argv[3:]
from meshflow.runtime import template
template.main(int(sys.argv[1]), sys.argv[2])
"""
"""What the template runs. It finds modules where its node finds them."""

_NODE_ONLY = ("MESHFLOW_STORE__", "MESHFLOW_LOGGING__")
"""Variables of sections that may hold passwords. Tasks have no use for them, and print their environment
now and then."""

_CLOSE_S = 10.0
"""How long the node waits for its template at the end; the template itself gives up earlier."""


class LauncherEvents(Protocol):
    """What is heard of task processes, named by their numbers."""

    def exited(self, number: int, end: str, refused: OSError | None = None) -> None:
        """The process and all below it are dead, or never were; `end` says why, for example `was killed by SIGKILL`.
        `refused` is what the host said if it did not let it be."""


class Launcher:
    """Starts task processes; owns the template."""

    def __init__(
        self, node_name: str, loop: asyncio.AbstractEventLoop, events: LauncherEvents, umask: int = -1
    ) -> None:
        """`umask` is the file mode mask of the task processes; -1: that of this process."""
        self._node_name = node_name
        self._loop = loop
        self._events = events
        self._umask = umask
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._orders: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._partial = b""
        self._pids: dict[int, int | None] = {}
        """`{number: process id}` of the processes that are not known to have ended; None: not forked yet."""

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Those of the task processes that exist."""
        return tuple(pid for pid in self._pids.values() if pid is not None)

    def spawn(self, number: int, filenos: Sequence[int]) -> None:
        """Have process `number` forked with these descriptors, which are the launcher's to close from here on."""
        self._pids[number] = None
        if self._control is None:
            try:
                self._launch()
            except OSError as problem:
                self._loop.call_soon(self._refuse, number, filenos, problem)
                return
        self._order(Order.SPAWN, number, tuple(filenos))

    def terminate(self, number: int) -> None:
        """SIGTERM to the process and to all below it."""
        self._order(Order.TERMINATE, number)

    def kill(self, number: int) -> None:
        """SIGKILL to the process and to all below it."""
        self._order(Order.KILL, number)

    def retire(self, number: int) -> None:
        """The process is about to end by itself: what its tasks left running may stay."""
        self._order(Order.RETIRE, number)

    def close(self) -> None:
        """Let the template end, and with it, at once, all that it and its processes ever started."""
        if self._control is not None:
            self._drop_control()
        if self._template is not None:
            with suppress(subprocess.TimeoutExpired):
                self._template.wait(_CLOSE_S)
            self._reap_template()

    def _launch(self) -> None:
        self._reap_template()
        ours, theirs = socket.socketpair()
        path = [os.path.abspath(entry) for entry in sys.path]
        environment = {name: text for name, text in os.environ.items() if not name.startswith(_NODE_ONLY)}
        with theirs:
            try:
                self._template = subprocess.Popen(
                    # -P: a `random.py` in the folder where the node was started must not pass for a module.
                    [sys.executable, "-P", "-c", _START, str(theirs.fileno()), self._node_name, *path],
                    stdin=subprocess.DEVNULL,
                    env=environment,
                    umask=self._umask,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C at the terminal of the node is for the node to deal with.
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        self._control = ours
        self._partial = b""
        self._loop.add_reader(ours, self._hear)

    def _order(self, order: Order, number: int, filenos: tuple[int, ...] = ()) -> None:
        if self._control is None:
            return  # The template died and took the process with it.
        self._orders.append((ORDER.pack(order, number), filenos))
        if len(self._orders) == 1:
            self._send_orders()

    def _send_orders(self) -> None:
        assert self._control is not None
        while self._orders:
            data, filenos = self._orders[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", filenos))] if filenos else []
            try:
                self._control.sendmsg([data], rights)
            except ConnectionError:
                return  # The template is gone, which `_hear` is about to notice.
            except OSError:  # The template is behind, or too many descriptors are on their way to it.
                self._loop.add_writer(self._control, self._send_orders)
                return
            self._orders.popleft()
            _close(filenos)
        self._loop.remove_writer(self._control)

    def _hear(self) -> None:
        assert self._control is not None
        try:
            data = self._control.recv(REPORT.size * 256)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose_template()
            return
        data = self._partial + data
        complete = len(data) - len(data) % REPORT.size
        self._partial = data[complete:]
        for report, number, detail in REPORT.iter_unpack(data[:complete]):
            self._heard(Report(report), number, detail)

    def _heard(self, report: Report, number: int, detail: int) -> None:
        match report:
            case Report.SPAWNED:
                self._pids[number] = detail
            case Report.REFUSED:
                self._refuse(number, (), OSError(detail, os.strerror(detail)))
            case Report.EXITED:
                self._end(number, processes.describe_exit_code(os.waitstatus_to_exitcode(detail)))

    def _refuse(self, number: int, filenos: Sequence[int], problem: OSError) -> None:
        _close(filenos)
        self._end(number, f"could not be started: {problem}", problem)

    def _end(self, number: int, end: str, refused: OSError | None = None) -> None:
        if number in self._pids:
            del self._pids[number]
            self._events.exited(number, end, refused)

    def _lose_template(self) -> None:
        self._drop_control()
        processes.kill_trees(self.process_ids)
        end = f"was lost with the process that starts them, which {self._reap_template()}"
        for number in list(self._pids):
            self._end(number, end)

    def _drop_control(self) -> None:
        assert self._control is not None
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        self._control = None
        for _, filenos in self._orders:
            _close(filenos)
        self._orders.clear()

    def _reap_template(self) -> str:
        """How the template ended."""
        if self._template is None:
            return "is not there"
        self._template.kill()  # It has closed its socket, so it has ended or is of no use.
        code = self._template.wait()
        self._template = None
        return processes.describe_exit_code(code)


def _close(filenos: Sequence[int]) -> None:
    for fileno in filenos:
        with suppress(OSError):
            os.close(fileno)
