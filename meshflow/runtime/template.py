"""The template: a small process that has imported all that a task process needs, and forks one whenever it is asked to.

A fork of it is ready in milliseconds and shares its memory. The node itself must not be forked: it has threads, sockets
and keys. The template has one thread and nothing but a socket to its node.

Invariants:
1. What tasks start never outlives the node: the template sees the end of its node as the end of that socket, then kills
   all below it and ends. Should the template be killed, the node kills the task processes and all below them (but what
   tasks that ended had left running is lost from sight); should both be, the kernel tells the task processes, with
   SIGTERM.
2. Nothing started by a task gets out of reach. Task processes adopt the orphans below them, and the template adopts
   those of task processes that have ended ("strays"). Strays of a process that was retired are left alone: it ended
   well, and what its tasks left behind was meant to run on. Strays of one that died or was killed are killed before its
   end is reported. Whose a program is, a mark in its environment says, which its children inherit. Only if it has none,
   the session or the order of events must tell, and in doubt it is killed.
3. Only the template signals task processes, because only it knows which it has not reaped: until then nobody else can
   have their process id.
"""

import array
import errno
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from meshflow.runtime import child, processes
from meshflow.runtime.orders import ORDER, REPORT, Birth, Endpoints, Order, Report

_ENDPOINT_COUNT = len(Endpoints._fields)
_PROGRAM = "meshflow-task"
"""What tasks find in `sys.argv`."""
_STRAYS_S = 1.0
"""How long the template waits for strays that do not die (they are stuck in the kernel, or not ours to kill)."""
_LAST_KILLS_S = 5.0
"""The same for all processes, when its node is gone."""
_KILLS_EVERY_S = 0.002


def main(control_fileno: int, node_name: str) -> None:
    """Serve the node at the other end of the control socket, until it is gone; or, in a fork, run its tasks."""
    sys.argv = [_PROGRAM]
    faulthandler.enable()
    # What is there now is never garbage; collecting it in each fork would only unshare its memory.
    gc.collect()
    gc.freeze()
    birth = Template(socket.socket(fileno=control_fileno)).serve()
    if birth is not None:
        child.main(birth, node_name)


class Template:
    """The state of the template process."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._me = os.getpid()
        self._pids: dict[int, int] = {}
        """`{number: process id}` of the task processes."""
        self._numbers: dict[int, int] = {}
        """The same the other way round."""
        self._retiring: dict[int, None] = {}
        self._ended: list[tuple[int, int]] = []
        """Number and wait status of those that were reaped and are still to be reported."""
        self._left_alone: dict[int, None] = {}
        """Process ids of strays that may go on."""
        self._wake_reader, self._wake_writer = os.pipe()

    def serve(self) -> Birth | None:
        """Returns None when the node is gone and all is cleaned up; in each forked process, what it was born with."""
        processes.adopt_orphans()
        for fileno in (self._wake_reader, self._wake_writer):
            os.set_blocking(fileno, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        try:
            while True:
                ready = [fileno for fileno, _ in poll.poll()]
                if self._control.fileno() in ready:
                    birth = self._obey()
                    if birth is not None:
                        return birth
                elif self._wake_reader in ready:
                    with suppress(BlockingIOError):
                        os.read(self._wake_reader, 4096)
                    self._reap()
        except (EOFError, ConnectionError):
            self._end_all()
        return None

    def _obey(self) -> Birth | None:
        """Carry out one order. Returns something in a forked process only.

        Raises:
            EOFError: the node is gone.
        """
        data, filenos = _receive(self._control)
        if not data:
            raise EOFError
        order, number = ORDER.unpack(data)
        match Order(order):
            case Order.SPAWN:
                return self._spawn(number, Endpoints(*filenos))
            case Order.TERMINATE if number in self._pids:
                root = self._pids[number]
                for pid in (root, *processes.descendants(root, processes.children_by_parent())):
                    processes.send_signal(pid, signal.SIGTERM)
            case Order.KILL if number in self._pids:
                processes.send_signal(self._pids[number], signal.SIGKILL)
            case Order.RETIRE if number in self._pids:
                self._retiring[number] = None
            case _:
                pass  # It has ended, and the node is about to read so.
        return None

    def _spawn(self, number: int, endpoints: Endpoints) -> Birth | None:
        try:
            pid = os.fork()
        except OSError as problem:
            pid = -1
            self._report(Report.REFUSED, number, problem.errno or errno.EAGAIN)
        if pid == 0:
            return self._be_born(endpoints, number)
        for fileno in endpoints:
            os.close(fileno)
        if pid > 0:
            self._pids[number] = pid
            self._numbers[pid] = number
            self._report(Report.SPAWNED, number, pid)
        return None

    def _be_born(self, endpoints: Endpoints, number: int) -> Birth:
        """Take off, in a forked process, what makes it the template."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._control.close()
        return Birth(endpoints, self._me, self._mark(number))

    def _mark(self, number: int) -> str:
        return f"{self._me}.{number}"

    def _reap(self) -> None:
        """Take note of processes that have ended, and deal with the strays they left."""
        while (dead := self._next_dead()) is not None:
            if select.select([self._control], [], [], 0)[0]:
                # Orders that were given before it ended go first: one may say that it was retired.
                os.write(self._wake_writer, b"!")
                return
            # Before it is reaped: who waits for it to be gone may let others die then.
            self._spare_strays(dead)
            _, status = os.waitpid(dead, 0)
            number = self._numbers.pop(dead)
            del self._pids[number]
            self._ended.append((number, status))
        if died := [number for number, _ in self._ended if number not in self._retiring]:
            self._kill_strays(died)
        for number, status in self._ended:
            self._retiring.pop(number, None)
            self._report(Report.EXITED, number, status)
        self._ended.clear()

    def _next_dead(self) -> int | None:
        """The process id of a task process that has ended and was not reaped yet; strays that have ended are reaped by
        the way."""
        with suppress(ChildProcessError):
            while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if dead.si_pid in self._numbers:
                    return dead.si_pid
                os.waitpid(dead.si_pid, 0)
                self._left_alone.pop(dead.si_pid, None)
        return None

    def _spare_strays(self, dead: int) -> None:
        """Strays that have no mark may go on if `dead` was retired, and so was whatever else has ended. If not, it
        can't be told whose they are, but for those that stayed in the session of `dead`."""
        if self._numbers[dead] not in self._retiring:
            return
        strays = self._strays(processes.children_by_parent())
        ended = [number for number, _ in self._ended]
        ended += [number for pid, number in self._numbers.items() if processes.has_ended(pid)]
        if any(number not in self._retiring for number in ended):
            strays = [pid for pid in strays if processes.session_of(pid) == dead]
        self._left_alone.update(dict.fromkeys(strays))

    def _strays(self, table: Mapping[int, list[int]]) -> list[int]:
        children = table.get(self._me, ())
        return [pid for pid in children if pid not in self._numbers and pid not in self._left_alone]

    def _kill_strays(self, died: Sequence[int]) -> None:
        """Kill what processes that have died left, and what may have been theirs. Returns when they are dead, with all
        below them, which become strays in their turn."""
        marks = ("", *map(self._mark, died))
        give_up_at = time.monotonic() + _STRAYS_S
        while strays := self._strays(table := processes.children_by_parent()):
            others = [pid for pid in strays if processes.mark_of(pid) not in marks]
            if time.monotonic() > give_up_at:
                others = strays
            self._left_alone.update(dict.fromkeys(others))
            for stray in strays:
                if stray not in self._left_alone:
                    for pid in (stray, *processes.descendants(stray, table)):
                        processes.send_signal(pid, signal.SIGKILL)
            time.sleep(_KILLS_EVERY_S)
            for stray in strays:
                with suppress(ChildProcessError):
                    os.waitpid(stray, os.WNOHANG)

    def _end_all(self) -> None:
        """Kill everything below. Each death may hand over further orphans, so this goes on until there are none."""
        give_up_at = time.monotonic() + _LAST_KILLS_S
        while time.monotonic() < give_up_at:
            for pid in processes.descendants(self._me, processes.children_by_parent()) or list(self._numbers):
                processes.send_signal(pid, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(_KILLS_EVERY_S)

    def _report(self, report: Report, number: int, detail: int) -> None:
        self._control.sendall(REPORT.pack(report, number, detail))


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """One order and its descriptors; empty at the end of the stream.

    The kernel never joins bytes that came with descriptors to those of another order, and orders are of one size.
    """
    filenos = array.array("i")
    data, ancillary, _, _ = control.recvmsg(ORDER.size, socket.CMSG_SPACE(_ENDPOINT_COUNT * filenos.itemsize))
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            filenos.frombytes(content[: len(content) - len(content) % filenos.itemsize])
    for fileno in filenos:
        os.set_inheritable(fileno, False)
    return data, list(filenos)
