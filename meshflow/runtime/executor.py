"""The task processes of a node: which task runs in which, what becomes of it, and how many processes there are.

A task process is forked from a template (`template.py`, reached through `launcher.py`), runs one task at a time, and is
used again. There are as many as there are tasks at a time: who calls `start` decides how many that may be, because a
task that waits for others lends its slot. Some are kept ready; the others end when they have been idle for a while.

Invariants:
1. Every task that was started is finished exactly once, and all its output is handed on before.
2. A task that was killed, or whose process died, is finished when its process and everything that it started are dead.
3. What a task that ended well has left running goes on, until the node ends. Its process gets no further task, for what
   is printed or taken up there could not be told apart.
4. A task process is trusted with nothing: the worst it can do here is to end.

All calls and callbacks belong to the thread of the event loop.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from meshflow import wire
from meshflow.core.messages import Attempt, Finished, Job, StoreAnswers
from meshflow.core.records import State, Value
from meshflow.core.requests import Answer, ExtendField, GetField, Request, SetFields, WriteOutput
from meshflow.errors import PeerError, UsageError
from meshflow.runtime.capture import Capture
from meshflow.runtime.launcher import Launcher
from meshflow.runtime.pipes import Frame, Signalled, StoreAsked, TaskEnded
from meshflow.runtime.task_process import Running, TaskProcess

_HANG_UP_S = 1.0
"""Between the end of a connection and that of its process, which normally follows at once."""
_RETIRE_S = 5.0
"""For the exit handlers of what tasks have imported."""
_ABANDON_S = 5.0
"""After SIGKILL, which a process stuck in the kernel (a dead network disk) does not obey until that answers."""

_END_STATES = (State.COMPLETED, State.STOPPED, State.ABORTED, State.FAILED)

TaskRequest = GetField | SetFields | ExtendField
"""What a task may ask of a store."""


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """How a node keeps its task processes."""

    idle_s: float = 60.0
    """Processes beyond the warm ones end after being idle for this long; more than 0. A longer time saves the next
    tasks their imports, at the price of the memory that the last ones left."""
    max_tasks_per_process: int | None = None
    """After so many tasks, at least 1, a process is replaced, against code that leaks memory; None: never for this
    reason. A new process costs some milliseconds, and the imports of its tasks."""
    max_output_bytes: int = 10 * 1024 * 1024
    """What is kept of the output of one attempt, both streams together, in the store; the rest is dropped."""
    max_code_bytes: int = 64 * 1024 * 1024
    """Pickled code that each process keeps for further tasks; what was dropped for want of room is sent again."""
    kill_grace_s: float = 3.0
    """Between SIGTERM and SIGKILL for a task that exceeds its timeout; 0 gives it no time to clean up."""


class ExecutorEvents(Protocol):
    """What is heard of running tasks. Of one attempt nothing is heard after `finished`."""

    def output(self, attempt: Attempt, chunk: WriteOutput) -> None:
        """The task printed something."""

    def signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: bytes | None
    ) -> None:
        """The task asks something of its run; to be answered with `Executor.answer`."""

    def store_request(self, attempt: Attempt, call: int, request: Request) -> None:
        """The task asks something of the store; to be answered with `Executor.answer`."""

    def finished(self, finished: Finished) -> None:
        """The attempt ended. Its value is inline, whatever its size."""


class Executor:
    """Runs tasks in processes of their own."""

    def __init__(
        self, settings: ExecutorSettings, node_name: str, loop: asyncio.AbstractEventLoop, events: ExecutorEvents
    ) -> None:
        """`node_name` is what tasks see as their `worker_hostname`."""
        self._settings = settings
        self._loop = loop
        self._events = events
        self._launcher = Launcher(node_name, loop, self)
        self._warm_count = 0
        self._last_number = 0
        self._processes: dict[int, TaskProcess] = {}
        self._idle: list[TaskProcess] = []
        """The one that ran last is at the end, and is used first: its memory is warm."""
        self._busy: dict[Attempt, TaskProcess] = {}
        self._strays: list[Capture] = []
        """Of ended processes whose tasks left something running that may print."""
        self._shrink_timer: asyncio.TimerHandle | None = None
        self._are_gone = asyncio.Event()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The task processes that exist now."""
        return self._launcher.process_ids

    @property
    def running(self) -> dict[Attempt, float]:
        """What runs, and since when on the clock of the event loop."""
        return {
            attempt: process.running.started_at
            for attempt, process in self._busy.items()
            if process.running is not None
        }

    def warm(self, count: int) -> None:
        """Keep at least so many processes; those that are missing are forked in the background."""
        self._warm_count = count
        alive = [process for process in self._processes.values() if not process.is_ending]
        for _ in range(count - len(alive)):
            with suppress(OSError):  # Out of descriptors: `start` will say so, if it still is so then.
                self._became_idle(self._spawn())

    def start(self, job: Job, codes: Mapping[str, bytes]) -> None:
        """Run `job`, whose values must all be inline. `codes` is `{digest: bytes}` of the code it needs.

        If there is no process for it, it finishes as FAILED a moment later.
        """
        assert job.attempt not in self._busy, job.attempt
        timeout = None
        if job.timeout_s is not None:
            reason = f"ran longer than its timeout of {job.timeout_s:g} s"
            timeout = self._loop.call_later(job.timeout_s, self.kill, job.attempt, reason, self._settings.kill_grace_s)
        running = Running(job, self._loop.time(), time.time(), timeout)
        while self._idle:
            process = self._idle.pop()
            if process.run(running, codes):
                self._busy[job.attempt] = process
                return
            # It died a moment ago, as is about to be heard, and has not seen the task.
        try:
            process = self._spawn()
        except OSError as problem:
            if timeout is not None:
                timeout.cancel()
            self._loop.call_soon(self._fail, running, f"the task process could not be started: {problem}")
            return
        self._busy[job.attempt] = process
        process.run(running, codes)

    def answer(self, attempt: Attempt, call: int, result: Answer, error: str = "") -> None:
        """Answer a signal or a store request of a task. An attempt that has ended needs no answer."""
        process = self._busy.get(attempt)
        if process is None:
            return
        try:
            answers = wire.encode(StoreAnswers(call, (result,), error))
        except UsageError as problem:
            answers = wire.encode(StoreAnswers(call, (None,), f"the answer cannot be handed on: {problem}"))
        process.answer(call, answers)

    def tell_stopping(self, attempt: Attempt) -> None:
        """Tell a task that its dag run was asked to stop."""
        process = self._busy.get(attempt)
        if process is not None:
            process.ask_to_stop()

    def kill(self, attempt: Attempt, reason: str, grace_s: float) -> None:
        """End a task with all that it started: SIGTERM, and SIGKILL after `grace_s`. It then finishes as FAILED with
        `reason`, however it took the signal. A task that is being killed already goes on being so."""
        process = self._busy.get(attempt)
        if process is not None and not process.end_reason:
            process.end_reason = reason
            self._take_out(process)
            self._launcher.terminate(process.number)
            self._kill_later(process, grace_s)

    async def close(self, grace_s: float) -> None:
        """End all processes, and with them everything that tasks have left running. Tasks that still run are killed,
        with `grace_s` to clean up."""
        self._warm_count = 0
        self._are_gone.clear()
        for process in list(self._processes.values()):
            if process.running is not None:
                self.kill(process.running.job.attempt, "the node was stopped", grace_s)
            elif not process.is_ending:
                self._retire(process, grace_s)
        if self._processes:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._are_gone.wait(), grace_s + _ABANDON_S)
        if self._shrink_timer is not None:
            self._shrink_timer.cancel()
        self._launcher.close()
        for number in list(self._processes):
            self.exited(number, "was killed with its node")
        for capture in self._strays:
            capture.close()

    # --- how many processes there are ---

    def _spawn(self) -> TaskProcess:
        self._last_number += 1
        process = TaskProcess(
            self._last_number,
            self._loop,
            self,
            max_output_bytes=self._settings.max_output_bytes,
            max_code_bytes=self._settings.max_code_bytes,
        )
        self._processes[process.number] = process
        self._launcher.spawn(process.number, process.endpoints)
        return process

    def _became_idle(self, process: TaskProcess) -> None:
        process.idle_since = self._loop.time()
        self._idle.append(process)
        if self._shrink_timer is None and self._has_surplus:
            self._shrink_timer = self._loop.call_later(self._settings.idle_s, self._shrink)

    @property
    def _has_surplus(self) -> bool:
        return len(self._idle) + len(self._busy) > self._warm_count

    def _shrink(self) -> None:
        """Let processes end that have been idle for long; look again when the next one may be."""
        self._shrink_timer = None
        now = self._loop.time()
        while self._idle and self._has_surplus:
            wait_s = self._idle[0].idle_since + self._settings.idle_s - now
            if wait_s > 0:
                self._shrink_timer = self._loop.call_later(wait_s, self._shrink)
                return
            self._retire(self._idle.pop(0), _RETIRE_S)

    def _retire(self, process: TaskProcess, grace_s: float) -> None:
        """Let a process end that runs nothing."""
        self._take_out(process)
        self._launcher.retire(process.number)
        process.hang_up()
        self._kill_later(process, grace_s)

    # --- what is heard of processes (LauncherEvents) ---

    def exited(self, number: int, end: str) -> None:
        """A process has ended; `end` says how."""
        process = self._processes.pop(number, None)
        if process is None:
            return
        for timer in process.timers:
            timer.cancel()
        was_retired = process.is_ending and process.running is None
        self._take_out(process)
        process.drain()
        process.hang_up()
        running = process.running
        if running is not None:
            self._release(process, running)
        if was_retired:
            self._strays = [capture for capture in (*self._strays, process.capture) if capture.is_open]
        else:
            process.capture.close()
        # Only after one that was of use: processes that end at once must not follow each other for ever.
        if process.task_count:
            self.warm(self._warm_count)
        if not self._processes:
            self._are_gone.set()
        if running is not None:
            self._fail(running, process.end_reason or _why(end))

    # --- what is heard from tasks (TaskProcessEvents) ---

    def printed(self, job: Job, chunk: WriteOutput) -> None:
        """A task printed something."""
        self._events.output(job.attempt, chunk)

    def hung_up(self, process: TaskProcess) -> None:
        """A process has closed its connection: it has died, as will be heard at once, or its task was careless."""
        if not process.is_ending:
            self._take_out(process)
            process.timers.append(
                self._loop.call_later(_HANG_UP_S, self._put_down, process, "closed its connection to the node")
            )

    def misspoke(self, process: TaskProcess, problem: PeerError) -> None:
        """A process has sent what makes no sense."""
        self._put_down(process, f"sent what it should not: {problem}")

    def said(self, process: TaskProcess, frame: Frame) -> None:
        """A process sent a frame.

        Raises:
            PeerError: it should not have.
        """
        running = process.running
        match frame:
            case TaskEnded(number=number) if running is not None and number == process.task_count:
                self._task_ended(process, running, frame)
            case Signalled(number, call, action, encoded, data):
                arguments = wire.decode_value(encoded)
                if not isinstance(arguments, dict):
                    raise PeerError(f"the arguments of signal {action!r} are no dict")
                if running is not None and number == process.task_count:
                    self._events.signal(running.job.attempt, call, action, arguments, data)
            case StoreAsked(number, call, encoded):
                request = wire.decode(TaskRequest, encoded)
                assert isinstance(request, TaskRequest), request
                if running is not None and number == process.task_count:
                    self._events.store_request(running.job.attempt, call, request)
            case _:
                raise PeerError(f"a {type(frame).__name__} at the wrong time")

    # --- how processes and tasks end ---

    def _take_out(self, process: TaskProcess) -> None:
        """Give a process no more tasks."""
        process.is_ending = True
        if process in self._idle:
            self._idle.remove(process)

    def _put_down(self, process: TaskProcess, reason: str) -> None:
        """Kill a process that does not behave."""
        self._take_out(process)
        process.end_reason = process.end_reason or f"the task process {reason}"
        self._kill_later(process, 0.0)

    def _kill_later(self, process: TaskProcess, grace_s: float) -> None:
        process.timers += [
            self._loop.call_later(grace_s, self._launcher.kill, process.number),
            self._loop.call_later(grace_s + _ABANDON_S, self.exited, process.number, "cannot be killed"),
        ]

    def _task_ended(self, process: TaskProcess, running: Running, ended: TaskEnded) -> None:
        if ended.state not in _END_STATES:
            raise PeerError(f"a task that ended {ended.state.value}")
        if process.end_reason:
            # It was told to end and its task has gone on to the end all the same. It finishes when it is dead.
            self._launcher.kill(process.number)
            return
        self._release(process, running)
        if not process.is_ending:
            is_worn = process.task_count == self._settings.max_tasks_per_process
            if is_worn or ended.has_left_processes or not process.capture.is_whole:
                self._retire(process, _RETIRE_S)
                self.warm(self._warm_count)
            else:
                self._became_idle(process)
        value = Value(ended.value, size_bytes=len(ended.value))
        attempt = running.job.attempt
        self._events.finished(
            Finished(attempt, ended.state, value, ended.limit, ended.reason, ended.started_at, ended.ended_at)
        )

    def _release(self, process: TaskProcess, running: Running) -> None:
        """The task is over: hand on its last output, and part it from its process."""
        process.capture.end()
        process.running = None
        del self._busy[running.job.attempt]
        if running.timeout is not None:
            running.timeout.cancel()

    def _fail(self, running: Running, reason: str) -> None:
        self._events.finished(
            Finished(running.job.attempt, State.FAILED, Value(), None, reason, running.wall_started_at, time.time())
        )


def _why(end: str) -> str:
    """The reason of a task whose process ended without being told to."""
    hint = " (the system does so when it runs out of memory)" if end == "was killed by SIGKILL" else ""
    return f"the task process {end}{hint}"
