"""The node's end of one task process: its sockets and pipes, and what it runs.

Nothing here blocks. What the process has not taken yet waits here; that is at most one task, and the answers to what
that task asks.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from meshflow.core.messages import Job
from meshflow.core.requests import WriteOutput
from meshflow.errors import PeerError
from meshflow.runtime.capture import Capture
from meshflow.runtime.orders import Endpoints
from meshflow.runtime.pipes import READ_BYTES, Answered, Frame, FrameReader, RunTask, StopAsked, pack

_MAX_FRAME_BYTES = 1024 * 1024 * 1024
"""Twice what a task may hand on (`payload.MAX_PAYLOAD_BYTES`)."""


class TaskProcessEvents(Protocol):
    """What is heard of a task process."""

    def said(self, process: "TaskProcess", frame: Frame) -> None:
        """It sent a frame."""

    def hung_up(self, process: "TaskProcess") -> None:
        """It has closed its end of the connection."""

    def misspoke(self, process: "TaskProcess", problem: PeerError) -> None:
        """It sent what makes no sense; nothing more is heard from it."""

    def printed(self, job: Job, chunk: WriteOutput) -> None:
        """A task printed something."""


@dataclass(slots=True)
class Running:
    """A task in a task process."""

    job: Job
    started_at: float
    """On the clock of the event loop."""
    wall_started_at: float
    timeout: asyncio.TimerHandle | None
    """None: it may take as long as it likes."""


class TaskProcess:
    """One task process, from before it is forked until its end has been seen."""

    def __init__(
        self,
        number: int,
        loop: asyncio.AbstractEventLoop,
        events: TaskProcessEvents,
        *,
        max_output_bytes: int,
        max_code_bytes: int,
    ) -> None:
        """Open the connections; the other ends are in `endpoints`, for the process to be forked with.

        Raises:
            OSError: no descriptors are left.
        """
        self.number = number
        self.running: Running | None = None
        self.task_count = 0
        """Tasks given to it so far; also the number of the one that runs."""
        self.idle_since = 0.0
        self.end_reason = ""
        """Why it has to end, if for a reason other than its own."""
        self.is_ending = False
        """It gets no more tasks."""
        self.timers: list[asyncio.TimerHandle] = []
        """What will be done to it if it does not end before."""
        self._loop = loop
        self._events = events
        self._max_code_bytes = max_code_bytes
        self._codes: dict[str, None] = {}
        """Digests of the code that it has."""
        self._code_bytes = 0
        self._is_connected = True
        self._reader = FrameReader(_MAX_FRAME_BYTES)
        with ExitStack() as opened:
            self._jobs, jobs = map(opened.enter_context, socket.socketpair())
            self._answers, answers = map(opened.enter_context, socket.socketpair())
            stdout_reader, stdout = _pipe(opened)
            stderr_reader, stderr = _pipe(opened)
            opened.pop_all()
        self.endpoints = Endpoints(jobs.detach(), answers.detach(), stdout, stderr)
        self.capture = Capture(loop, stdout_reader, stderr_reader, max_output_bytes, events.printed)
        self._unsent = {self._jobs: bytearray(), self._answers: bytearray()}
        for each in self._unsent:
            each.setblocking(False)
        loop.add_reader(self._jobs, self._read)

    def run(self, running: Running, codes: Mapping[str, bytes]) -> bool:
        """Give it a task. `codes` must hold the task's code, whether sent before or not; all values must be inline.
        Returns False if the process is gone."""
        job = running.job
        new = {digest: code for digest, code in codes.items() if digest not in self._codes}
        new_bytes = sum(map(len, new.values()))
        is_forgetting = self._code_bytes + new_bytes > self._max_code_bytes and bool(self._codes)
        if is_forgetting:
            self._codes.clear()
            self._code_bytes = 0
            new, new_bytes = dict(codes), sum(map(len, codes.values()))
        self._codes.update(dict.fromkeys(new))
        self._code_bytes += new_bytes
        if not self._send(self._jobs, RunTask(self.task_count + 1, job, new, is_forgetting)):
            return False
        self.task_count += 1
        self.running = running
        self.capture.begin(job)
        return True

    def answer(self, call: int, answers: bytes) -> None:
        """Give its task the answer to a call, an encoded `StoreAnswers`."""
        self._send(self._answers, Answered(call, answers))

    def ask_to_stop(self) -> None:
        """Tell its task that the dag run was asked to stop."""
        self._send(self._answers, StopAsked(self.task_count))

    def drain(self) -> None:
        """Take what it said before its end."""
        while self._is_connected and self._read():
            pass

    def hang_up(self) -> None:
        """Close the sockets, so that it ends when it has done what it was given; its output is still heard."""
        if not self._is_connected:
            return
        self._is_connected = False
        for each in self._unsent:
            self._loop.remove_reader(each)
            self._loop.remove_writer(each)
            each.close()

    def _send(self, to: socket.socket, frame: Frame) -> bool:
        """Send a frame, or what of it has room now. Returns False if it cannot arrive."""
        if not self._is_connected:
            return False
        data, unsent = pack(frame), self._unsent[to]
        if not unsent:
            try:
                data = data[to.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return False
            if not data:
                return True
            self._loop.add_writer(to, self._flush, to)
        unsent += data
        return True

    def _flush(self, to: socket.socket) -> None:
        unsent = self._unsent[to]
        try:
            del unsent[: to.send(unsent)]
        except BlockingIOError:
            return
        except OSError:  # It is gone, as the other direction is about to tell.
            unsent.clear()
        if not unsent:
            self._loop.remove_writer(to)

    def _read(self) -> bool:
        """Take what is there. Returns whether there may be more."""
        try:
            data = self._jobs.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._jobs)
            self._events.hung_up(self)
            return False
        try:
            for frame in self._reader.feed(data):
                self._events.said(self, frame)
        except PeerError as problem:
            self.hang_up()
            self._events.misspoke(self, problem)
            return False
        return True


def _pipe(opened: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        opened.callback(os.close, end)
    return ends
