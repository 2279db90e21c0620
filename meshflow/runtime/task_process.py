"""The node's end of one task process: its sockets and pipes, what it runs, and what it will run next.

Nothing here blocks. Several jobs may be given ahead, so that short ones follow each other without a word in between;
those that were not begun can be taken back. While jobs are ahead, what the process says may wait for `_GATHER_S`, so
that the node is woken once for many short tasks.

Invariants:
1. Jobs are done in the order they were given. The *head* is the one that, as far as was heard, runs now.
2. `settle` makes that exact: after it nothing is ahead of the head, and the head has not ended.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from meshflow.core.messages import Job
from meshflow.core.requests import WriteOutput
from meshflow.errors import PeerError
from meshflow.runtime.capture import Capture
from meshflow.runtime.job_queue import JobQueue
from meshflow.runtime.orders import Endpoints
from meshflow.runtime.pipes import READ_BYTES, Answered, Frame, FrameReader, RunTask, StopAsked, pack
from meshflow.runtime.processes import unread_bytes

_MAX_FRAME_BYTES = 1024 * 1024 * 1024
"""Twice what a task may hand on (`payload.MAX_PAYLOAD_BYTES`)."""

_GATHER_S = 0.006
"""What is said by a process that has more to do may wait for so long, in seconds: it costs a node more to wake up than
to hear of the end of a task."""

_GATHER_MOST_S = 0.024
"""As long as that may wait of a process that gets little done in the meantime, because others have the CPU."""

_GATHER_BYTES = 1024
"""So little is not worth waking up for."""

_GATHER_COUNT = 2
"""From so many jobs behind the head on: with fewer, the process may be without work before it is heard."""

_RETRY_S = 0.1
"""Pause, in seconds, before a large job that waits for room is tried again when there was no memory or descriptor."""


class TaskProcessEvents(Protocol):
    """What is heard of a task process."""

    def said(self, process: "TaskProcess", frame: Frame) -> None:
        """It sent a frame."""

    def began(self, process: "TaskProcess", assigned: "Assigned") -> None:
        """It runs this job now, or will as soon as it takes it."""

    def hung_up(self, process: "TaskProcess") -> None:
        """It has closed its end of the connection."""

    def misspoke(self, process: "TaskProcess", problem: PeerError) -> None:
        """It sent what makes no sense; nothing more is to be heard from it."""

    def printed(self, job: Job, chunk: WriteOutput) -> None:
        """A task printed something."""


@dataclass(slots=True, eq=False)
class Assigned:
    """A job that was given to a task process, or is about to be."""

    job: Job
    codes: Mapping[str, bytes]
    number: int = 0
    """Counts the jobs given to one process."""
    new_codes: tuple[str, ...] = ()
    """Digests of the code that went along."""
    is_forgetting: bool = False
    process: "TaskProcess | None" = None
    """Who has it; None: it waits for one."""
    is_asked_to_stop: bool = False
    death_count: int = 0
    """Processes that had it as their next job and died before they began it."""
    started_at: float = 0.0
    """On the clock of the event loop; 0 as long as it waits for others."""
    wall_started_at: float = 0.0
    timeout: asyncio.TimerHandle | None = None
    """None: it may take as long as it likes, or has not started."""


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
        self.assigned: deque[Assigned] = deque()
        """What it was given and has not ended, in order; the head is what it runs."""
        self.task_count = 0
        """Jobs given to it so far, without those taken back."""
        self.has_ended_any = False
        """Whether a task has come to its end in it, well or not; one that never got so far is not worth replacing."""
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
        self._must_forget = False
        """Whether the next job has it drop all code."""
        self._last_number = 0
        self._is_connected = True
        self._has_hung_up = False
        self._gathering: asyncio.TimerHandle | None = None
        self._gather_s = _GATHER_S
        self._reader = FrameReader(_MAX_FRAME_BYTES)
        with ExitStack() as opened:
            self._jobs = JobQueue()
            opened.callback(self._jobs.close)
            self._talk, talk = map(opened.enter_context, socket.socketpair())
            stdout_reader, stdout = _pipe(opened)
            stderr_reader, stderr = _pipe(opened)
            jobs = self._jobs.endpoint()
            opened.pop_all()
        self.endpoints = Endpoints(jobs, talk.detach(), stdout, stderr)
        self.capture = Capture(loop, stdout_reader, stderr_reader, max_output_bytes, self.drain, events.printed)
        self._unsent = bytearray()
        self._talk.setblocking(False)
        loop.add_reader(self._talk, self._read)

    @property
    def head(self) -> Assigned | None:
        """What it runs."""
        return self.assigned[0] if self.assigned else None

    def give(self, assigned: Assigned) -> None:
        """Give it a job. `assigned.codes` must hold the job's code, whether sent before or not; all values must be
        inline.

        Raises:
            OSError: there is no memory or descriptor for it; it was not given.
        """
        codes = assigned.codes
        new = {digest: code for digest, code in codes.items() if digest not in self._codes}
        new_bytes = sum(map(len, new.values()))
        is_forgetting = self._must_forget or (self._code_bytes + new_bytes > self._max_code_bytes and bool(self._codes))
        if is_forgetting:
            new, new_bytes = dict(codes), sum(map(len, codes.values()))
        number = self._last_number + 1
        self._jobs.put(number, pack(RunTask(number, assigned.job, new, is_forgetting)))
        if self._jobs.is_full:
            self._loop.add_writer(self._jobs, self._flush_jobs)
        if is_forgetting:
            self._codes.clear()
            self._code_bytes = 0
            self._must_forget = False
        self._codes.update(dict.fromkeys(new))
        self._code_bytes += new_bytes
        self._last_number = number
        assigned.process = self
        assigned.number, assigned.new_codes, assigned.is_forgetting = number, tuple(new), is_forgetting
        self.task_count += 1
        self.assigned.append(assigned)
        if len(self.assigned) == 1:
            self._begin(assigned)
        if assigned.is_asked_to_stop:
            self._send(StopAsked(number))

    def recall(self) -> list[Assigned]:
        """Take back all that it has not begun."""
        numbers = dict.fromkeys(self._jobs.recall())
        recalled = [each for each in self.assigned if each.number in numbers]
        for each in recalled:
            self.assigned.remove(each)
            for digest in each.new_codes:
                self._codes.pop(digest, None)
                self._code_bytes -= len(each.codes[digest])
            # What it was to forget is not known here any more.
            self._must_forget = self._must_forget or each.is_forgetting
            if each.timeout is not None:
                each.timeout.cancel()
            each.started_at, each.wall_started_at, each.timeout, each.process = 0.0, 0.0, None, None
        self.task_count -= len(recalled)
        if recalled and not self.assigned:
            self.capture.cancel()
        return recalled

    def settle(self) -> list[Assigned]:
        """Take back all that it has not begun, and hear what it has said: what is left, if anything, runs."""
        recalled = self.recall()
        self.drain()
        return recalled

    def ended(self) -> None:
        """Its head has ended: the next job is its head."""
        self.assigned.popleft().process = None
        self.has_ended_any = True
        if self.assigned:
            self._begin(self.assigned[0])

    def answer(self, call: int, answers: bytes) -> None:
        """Give its task the answer to a call, an encoded `StoreAnswers`."""
        self._send(Answered(call, answers))

    def ask_to_stop(self, assigned: Assigned) -> None:
        """Tell a task, whether it was begun or not, that its dag run was asked to stop."""
        assigned.is_asked_to_stop = True
        self._send(StopAsked(assigned.number))

    def drain(self) -> None:
        """Hear all that it has said."""
        left_bytes = unread_bytes(self._talk.fileno()) if self._is_connected else 0
        while left_bytes > 0 and self._is_connected:  # Not until it is empty: a task may go on speaking for ever.
            left_bytes -= self._read_once()

    def hang_up(self) -> None:
        """Close the sockets, so that it ends when it has done what it was given; its output is still heard."""
        if not self._is_connected:
            return
        self._is_connected = False
        if self._gathering is not None:
            self._gathering.cancel()
        self._loop.remove_reader(self._talk)
        self._loop.remove_writer(self._talk)
        self._loop.remove_writer(self._jobs)
        self._talk.close()
        self._jobs.close()

    def _begin(self, assigned: Assigned) -> None:
        self.capture.begin(assigned.job)
        self._events.began(self, assigned)

    def _flush_jobs(self) -> None:
        try:
            self._jobs.flush()
            is_done = not self._jobs.is_full
        except OSError:  # No descriptor or memory for a large one just now.
            is_done = True
            self.timers.append(self._loop.call_later(_RETRY_S, self._retry_jobs))
        if is_done:
            self._loop.remove_writer(self._jobs)

    def _retry_jobs(self) -> None:
        if self._is_connected:
            self._loop.add_writer(self._jobs, self._flush_jobs)

    def _send(self, frame: Frame) -> None:
        """Send a frame, or what of it has room now. If the process is gone, that is about to be heard."""
        if not self._is_connected:
            return
        data, unsent = pack(frame), self._unsent
        if not unsent:
            try:
                data = data[self._talk.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return
            if not data:
                return
            self._loop.add_writer(self._talk, self._flush)
        unsent += data

    def _flush(self) -> None:
        try:
            del self._unsent[: self._talk.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError:  # It is gone, as the other direction is about to tell.
            self._unsent.clear()
        if not self._unsent:
            self._loop.remove_writer(self._talk)

    # --- listening ---

    def _read(self) -> None:
        if self._hear():
            self._loop.remove_reader(self._talk)
            self._gathering = self._loop.call_later(self._gather_s, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        if self._hear():
            self._gathering = self._loop.call_later(self._gather_s, self._gathered)
        elif self._is_connected and not self._has_hung_up:
            self._loop.add_reader(self._talk, self._read)

    def _hear(self) -> bool:
        """Take what is there. Returns whether what follows may wait."""
        head = self.head
        heard_bytes = self._read_once()
        self._gather_s = min(2 * self._gather_s, _GATHER_MOST_S) if heard_bytes < _GATHER_BYTES else _GATHER_S
        is_next = self.head is not head  # Otherwise its task may have asked something, and ask on.
        may_wait = self._gathering is None and self._is_connected and not self._has_hung_up
        return is_next and may_wait and len(self.assigned) > _GATHER_COUNT

    def _read_once(self) -> int:
        """Take what is there. Returns how much it was."""
        try:
            data = self._talk.recv(READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._has_hung_up = True
            self._loop.remove_reader(self._talk)
            self._events.hung_up(self)
            return 0
        try:
            for frame in self._reader.feed(data):
                self._events.said(self, frame)
        except PeerError as problem:
            self._events.misspoke(self, problem)
        return len(data)


def _pipe(opened: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        opened.callback(os.close, end)
    return ends
