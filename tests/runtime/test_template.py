"""What becomes of the strays of a task process when its end and an order of the node, or another end, meet.

The template runs alone here, with a program of the test in the place of a task process. The order always comes after
the template has heard of an end, and before it looks who has ended; the other end as soon as the first is reaped.
"""

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from meshflow.runtime.orders import ORDER, REPORT, Endpoints, Order, Report
from tests.runtime.executor_bench import PATIENCE_S, is_alive

PROGRAM = """
import os, select, signal, socket, subprocess, sys
from meshflow.runtime import processes
from meshflow.runtime.template import Template

class Late(Template):
    is_late = True

    def _reap(self):
        if self.is_late:
            self.is_late = False
            print("about to reap", flush=True)
            select.select([self._control], [], [])
            self.first, self.second = self._pids[1], self._pids.get(2)
        super()._reap()

def waitpid(pid, options, waitpid=os.waitpid):
    reaped = waitpid(pid, options)
    if pid == template.first and template.second in template._numbers:
        os.kill(template.second, signal.SIGKILL)
        os.waitid(os.P_PID, template.second, os.WEXITED | os.WNOWAIT)
    return reaped

os.waitpid = waitpid
template = Late(socket.socket(fileno=int(sys.argv[1])))
birth = template.serve()
if birth is not None:
    os.setsid()
    if "marks" in sys.argv:
        processes.mark(birth.mark)
    stray = subprocess.Popen(["sleep", "60"], start_new_session="own session" in sys.argv)
    os.write(birth.endpoints.stdout, b"%d" % stray.pid)
    os.read(birth.endpoints.jobs, 1)
    os._exit(0)
"""


class LateTemplate:
    """The node's end of a template that takes an order between hearing of the end of process 1 and looking for it."""

    def __init__(self, opened: ExitStack, *flags: str) -> None:
        self._control, theirs = (opened.enter_context(end) for end in socket.socketpair())
        self._control.settimeout(PATIENCE_S)
        self._pids: dict[int, int] = {}
        command = [sys.executable, "-c", PROGRAM, str(theirs.fileno()), *flags]
        self._process = opened.enter_context(
            subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.PIPE)
        )
        theirs.close()
        opened.callback(self._control.close)  # Before the process is waited for: this ends it.

    def spawn(self, number: int) -> tuple[int, int]:
        """Have a process forked; gives the process id of what it started, and what to close so that it ends."""
        (jobs, until), (heard, stdout) = os.pipe(), os.pipe()
        socket.send_fds(self._control, [ORDER.pack(Order.SPAWN, number)], Endpoints(jobs, stdout, stdout, stdout))
        os.close(jobs)
        os.close(stdout)
        report, told, self._pids[number] = self.report()
        assert (report, told) == (Report.SPAWNED, number)
        stray = int(os.read(heard, 64))
        os.close(heard)
        return stray, until

    def stray_of_process(self) -> int:
        """Have process 1 forked, and let it end; gives the process id of what it left running."""
        stray, until = self.spawn(1)
        os.close(until)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"about to reap\n"
        return stray

    def until_ended(self, number: int) -> None:
        """Wait for the end of a process, before it is reaped."""
        watch = os.pidfd_open(self._pids[number])
        assert select.select([watch], [], [], PATIENCE_S)[0]
        os.close(watch)

    def order(self, order: Order, number: int) -> None:
        """Give an order."""
        self._control.sendall(ORDER.pack(order, number))

    def report(self) -> tuple[int, int, int]:
        """The next report."""
        report, number, detail = REPORT.unpack(self._control.recv(REPORT.size, socket.MSG_WAITALL))
        return report, number, detail


@pytest.fixture
def template() -> Iterator[LateTemplate]:
    """A template without task processes, which will leave something running in a session of its own."""
    with ExitStack() as opened:
        yield LateTemplate(opened, "own session")


def test_what_a_process_left_running_is_spared_if_the_order_to_retire_it_comes_with_its_end(
    template: LateTemplate,
) -> None:
    stray = template.stray_of_process()

    template.order(Order.RETIRE, 1)

    assert template.report() == (Report.EXITED, 1, 0)
    assert is_alive(stray)


def test_what_a_process_left_running_is_dead_when_its_end_is_told_whatever_else_was_ordered(
    template: LateTemplate,
) -> None:
    stray = template.stray_of_process()

    template.order(Order.RETIRE, 99)

    assert template.report() == (Report.EXITED, 1, 0)
    assert not is_alive(stray)


def test_what_a_process_left_running_is_spared_if_another_is_killed_as_soon_as_it_is_gone(
    template: LateTemplate,
) -> None:
    of_killed, until = template.spawn(2)
    stray = template.stray_of_process()

    template.order(Order.RETIRE, 1)

    assert {template.report()[1], template.report()[1]} == {1, 2}
    os.close(until)
    assert is_alive(stray)
    assert not is_alive(of_killed)


@pytest.mark.parametrize("flags", [(), ("own session", "marks")], ids=["its session", "its mark"])
def test_by_session_or_mark_what_a_retired_process_left_is_told_from_what_another_left_that_ends_at_the_same_time(
    flags: tuple[str, ...],
) -> None:
    with ExitStack() as opened:
        template = LateTemplate(opened, *flags)
        of_killed, until = template.spawn(2)
        stray = template.stray_of_process()
        os.close(until)
        template.until_ended(2)

        template.order(Order.RETIRE, 1)

        assert {template.report()[1], template.report()[1]} == {1, 2}
        assert is_alive(stray)
        assert not is_alive(of_killed)
