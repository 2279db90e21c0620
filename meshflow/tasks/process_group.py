"""A shell command that can be ended together with everything it started.

Theory of operation. The command runs in a session, and so in a process group, of its own. One loop waits for all that
can happen to it at once: output to read, room for input, its exit, the request to stop. Nothing is polled, and no pipe
can fill up unread while another one is waited for.

Invariants:
1. The command is over when the shell has exited and every piped output stream is at its end. A child that the shell
   left behind and that still holds such a stream is waited for; one that holds none lives on, undisturbed.
2. Leaving the `with` block before that ends the whole group: SIGTERM, and SIGKILL after `GRACE_S` for who is left.
   Only a process that moved to a session of its own is out of reach.
3. The shell is reaped after the last signal to its group: as long as its leader is a zombie, a group keeps its number,
   so no signal can hit a stranger. (Without `pidfd_open`, a thread has to reap the shell as soon as it exits.)
4. Input is dropped once the command is over or has closed its end: a command need not read what it is given.
"""

import contextlib
import logging
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import IO, NoReturn, Protocol

from meshflow.errors import StopTask
from meshflow.tasks.identity import Identity

GRACE_S = 3.0
"""Seconds between SIGTERM and SIGKILL: enough to close files, short enough for a user who waits for a stop."""

_CHUNK_BYTES = 65536
"""What a pipe holds on Linux, so that one read can empty it."""

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes what a command writes to one of its output streams."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, at least one."""

    def finish(self) -> None:
        """The stream is at its end."""


@contextlib.contextmanager
def running(
    command: str,
    *,
    stdin: bytes | None,
    stdout: Sink | None,
    stderr: Sink | None,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    identity: Identity,
) -> Iterator["ProcessGroup"]:
    """Start `command` with `/bin/sh -c`, and end what is left of it when the block is left early.

    Args:
        command: The text for the shell.
        stdin: Written to the command, then closed. None: the command reads the null device, because a task has no
            terminal, and the standard input of its process belongs to the mesh.
        stdout: Takes the standard output. None: the command inherits the stream of this process.
        stderr: The same for the standard error.
        cwd: The working directory; None: that of this process.
        env: The whole environment; None: that of this process.
        identity: Who runs the command.

    Raises:
        OSError, ValueError: the command could not be started; the reasons are those of `subprocess.Popen`.
    """
    with contextlib.ExitStack() as resources:
        selector = resources.enter_context(selectors.DefaultSelector())
        # Every process of the group inherits the writing end, so its closing tells that the last one has gone.
        lifeline, held = os.pipe()
        resources.callback(os.close, lifeline)
        try:
            process = subprocess.Popen(
                command,
                shell=True,
                bufsize=0,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=None if stdout is None else subprocess.PIPE,
                stderr=None if stderr is None else subprocess.PIPE,
                pass_fds=(held,),
                start_new_session=True,
                user=identity.user,
                group=identity.group,
                extra_groups=identity.groups,
            )
        finally:
            os.close(held)
        group = ProcessGroup(process, selector, lifeline)
        try:
            group._watch(resources, stdin, stdout, stderr)
            yield group
        finally:
            group._end()


class ProcessGroup:
    """A running command and its descendants; made by `running`."""

    def __init__(self, process: "subprocess.Popen[bytes]", selector: selectors.BaseSelector, lifeline: int) -> None:
        self.pid = process.pid
        """The shell's, which is also the number of the group."""
        self._process = process
        self._selector = selector
        self._lifeline = lifeline
        self._input = memoryview(b"")
        self._open_output_count = 0
        self._has_exited = False
        self._is_deserted = False
        self._is_ending = False
        self._is_over = False

    def wait(self, stop_fileno: int | None) -> int:
        """Serve the command until it is over, and return its exit code; a negative one is the signal that ended it.

        Args:
            stop_fileno: A descriptor that becomes readable, and stays so, when the command shall be stopped; None: it
                will not be.

        Raises:
            StopTask: `stop_fileno` became readable.
            BaseException: whatever a sink raises.
        """
        if stop_fileno is not None:
            self._selector.register(stop_fileno, selectors.EVENT_READ, _stop)
        try:
            self._serve(lambda: self._has_exited and not self._open_output_count)
        finally:
            if stop_fileno is not None:
                self._selector.unregister(stop_fileno)
        self._is_over = True
        return self._process.wait()

    def _watch(
        self, resources: contextlib.ExitStack, stdin: bytes | None, stdout: Sink | None, stderr: Sink | None
    ) -> None:
        exit_fileno = _exit_fileno(self._process)
        resources.callback(os.close, exit_fileno)
        self._selector.register(exit_fileno, selectors.EVENT_READ, partial(self._note_exit, exit_fileno))
        for stream, sink in ((self._process.stdout, stdout), (self._process.stderr, stderr)):
            if stream is not None and sink is not None:
                resources.enter_context(stream)
                self._selector.register(stream, selectors.EVENT_READ, partial(self._read, stream, sink))
                self._open_output_count += 1
        if self._process.stdin is not None and stdin is not None:
            resources.enter_context(self._process.stdin)
            self._input = memoryview(stdin)
            os.set_blocking(self._process.stdin.fileno(), False)
            write = partial(self._write, self._process.stdin)
            self._selector.register(self._process.stdin, selectors.EVENT_WRITE, write)

    def _serve(self, is_done: Callable[[], bool], limit_s: float = math.inf) -> None:
        """Handle what happens until `is_done` or the limit is reached."""
        limit_at = time.monotonic() + limit_s
        while not is_done() and (left_s := limit_at - time.monotonic()) > 0:
            for key, _ in self._selector.select(None if left_s == math.inf else left_s):
                key.data()

    def _read(self, stream: IO[bytes], sink: Sink) -> None:
        chunk = os.read(stream.fileno(), _CHUNK_BYTES)
        if not chunk:
            self._close(stream)
            self._open_output_count -= 1
        if self._is_ending:
            return  # Read on, so that a process which says goodbye is not stuck in a full pipe; but nobody is told.
        if chunk:
            sink.feed(chunk)
        else:
            sink.finish()

    def _write(self, stream: IO[bytes]) -> None:
        try:
            self._input = self._input[os.write(stream.fileno(), self._input[:_CHUNK_BYTES]) :]
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input:
            self._close(stream)

    def _close(self, stream: IO[bytes]) -> None:
        self._selector.unregister(stream)
        stream.close()

    def _note_exit(self, exit_fileno: int) -> None:
        self._has_exited = True
        self._selector.unregister(exit_fileno)

    def _note_desertion(self) -> None:
        self._is_deserted = True
        self._selector.unregister(self._lifeline)

    def _end(self) -> None:
        if self._is_over:
            return
        self._is_ending = True
        self._input = self._input[:0]
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._note_desertion)
        self._signal(signal.SIGTERM)
        try:
            self._serve(lambda: self._has_exited and self._is_deserted, GRACE_S)
        finally:
            self._signal(signal.SIGKILL)
        # Not for ever: a process stuck in the kernel (a dead network disk) dies only when that answers.
        self._serve(lambda: self._has_exited, GRACE_S)
        if self._has_exited:
            self._process.wait()
        else:
            _log.warning("process group %d is still there %g s after SIGKILL", self.pid, GRACE_S)

    def _signal(self, number: signal.Signals) -> None:
        # Who is gone needs no signal; who runs as somebody else (sudo) is not ours to end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _stop() -> NoReturn:
    raise StopTask("the run was asked to stop")


def _exit_fileno(process: "subprocess.Popen[bytes]") -> int:
    """A descriptor that becomes readable when the process has exited."""
    with contextlib.suppress(AttributeError, OSError):  # Not every system, kernel and sandbox has it.
        return os.pidfd_open(process.pid)
    reader, writer = os.pipe()
    threading.Thread(target=_close_after, args=(process, writer), daemon=True).start()
    return reader


def _close_after(process: "subprocess.Popen[bytes]", writer: int) -> None:
    process.wait()
    os.close(writer)
