"""Which task of a node runs in which of its task processes (`fleet.py`), and what becomes of it.

Who calls `resize` decides how many tasks run at a time, because a task that waits for others lends its slot. Jobs
beyond that are queued with the processes, which begin the next without asking, and go to others if they have to wait
there while another is idle.

Invariants:
1. Every task that was started and not recalled is finished exactly once, and all its output is handed on before.
2. A task that was killed, or whose process died, is finished when its process and everything that it started are dead.
3. What a task that ended well has left running goes on, until the node ends. Its process gets no further task, for what
   is printed or taken up there could not be told apart.
4. A task process is trusted with nothing: the worst it can do here is to end.

All calls and callbacks belong to the thread of the event loop.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from meshflow import wire
from meshflow.core.attempts import Attempt
from meshflow.core.client_messages import StoreAnswers
from meshflow.core.messages import Finished, Job
from meshflow.core.records import State, Value
from meshflow.core.requests import (
    Answer,
    ExtendField,
    GetBlob,
    GetField,
    PutBlob,
    Request,
    SetFields,
    WriteOutput,
)
from meshflow.errors import PeerError, UsageError
from meshflow.runtime.fleet import ExecutorSettings, Fleet
from meshflow.runtime.pipes import Frame, Signalled, StoreAsked, TaskEnded
from meshflow.runtime.task_process import Assigned, TaskProcess
from meshflow.runtime.want import Want

_HANG_UP_S = 1.0
"""Between the end of a connection and that of its process, which normally follows at once."""

_MAX_QUEUED = 128
"""Jobs behind the one that runs: what the socket to a process surely holds, and more than it does while a node is slow
to answer."""

_MAX_DEATHS = 3
"""A job fails when so many processes died that had it as their next one and had not begun it."""

_NODE_STOPPED = "the node was stopped"

_END_STATES = (State.COMPLETED, State.STOPPED, State.ABORTED, State.FAILED)

TaskRequest = GetField | SetFields | ExtendField | GetBlob | PutBlob
"""What a task may ask of a store; blobs are those of the cache of results."""


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
        """The attempt ended. Its value and rows are inline, whatever their size."""


class Executor:
    """Runs tasks in processes of their own."""

    def __init__(
        self, settings: ExecutorSettings, node_name: str, loop: asyncio.AbstractEventLoop, events: ExecutorEvents
    ) -> None:
        """`node_name` is what tasks see as their `worker_hostname`."""
        self._settings = settings
        self._loop = loop
        self._events = events
        self._fleet = Fleet(settings, node_name, loop, self)
        self._slots: float = math.inf
        self._jobs: dict[Attempt, Assigned] = {}
        """All that was started and has not finished."""
        self._waiting: deque[Assigned] = deque()
        """Those that no process has."""
        self._busy: dict[int, TaskProcess] = {}
        """Who has jobs, by their numbers."""
        self._want = Want(loop, self._place)
        self._is_closing = False
        self._is_settling = False
        """Whether a process is being settled: it must not be given anything new at the same time."""

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The task processes that exist now."""
        return self._fleet.process_ids

    def warm(self, count: int) -> None:
        """Keep at least so many processes; those that are missing are forked in the background."""
        self._fleet.warm(count)

    def resize(self, slots: int) -> None:
        """Run so many tasks at a time from now on; those that run go on. Before the first call there is no limit."""
        self._slots = slots
        for process in list(self._busy.values()):
            if 0 <= slots - len(self._busy) <= len(self._waiting):
                break
            # Those that are too many get nothing more; or what is queued behind others has a free slot and may begin.
            self._take_back(process)
        self._place()

    def start(self, job: Job, codes: Mapping[str, bytes]) -> None:
        """Run `job`, whose values must all be inline, as soon as there is a slot for it. `codes` is `{digest: bytes}`
        of the code it needs.

        While descriptors, memory or processes are scarce it waits. If it cannot be handed over for another reason, or
        three processes died before they began it, it finishes as FAILED; never before this returns.
        """
        assert job.attempt not in self._jobs, job.attempt
        assigned = self._jobs[job.attempt] = Assigned(job, codes)
        self._waiting.append(assigned)
        self._place()

    def recall(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Take back those of the attempts that have not begun: nothing more is heard of them. Returns which."""
        wanted = dict.fromkeys(attempts)
        for process in list(self._busy.values()):
            if any(each.job.attempt in wanted for each in process.assigned):
                self._take_back(process)
        recalled = [each.job.attempt for each in self._waiting if each.job.attempt in wanted]
        self._waiting = deque(each for each in self._waiting if each.job.attempt not in wanted)
        for attempt in recalled:
            del self._jobs[attempt]
        self._place()
        return recalled

    def answer(self, attempt: Attempt, call: int, result: Answer, error: str = "") -> None:
        """Answer a signal or a store request of a task. An attempt that has ended needs no answer."""
        assigned = self._jobs.get(attempt)
        if assigned is None or assigned.process is None:
            return
        try:
            answers = wire.encode(StoreAnswers(call, (result,), error))
        except UsageError as problem:
            answers = wire.encode(StoreAnswers(call, (None,), f"the answer cannot be handed on: {problem}"))
        assigned.process.answer(call, answers)

    def tell_stopping(self, attempt: Attempt) -> None:
        """Tell a task that its dag run was asked to stop."""
        assigned = self._jobs.get(attempt)
        if assigned is None:
            return
        assigned.is_asked_to_stop = True
        if assigned.process is not None:
            assigned.process.ask_to_stop(assigned)

    def kill(self, attempt: Attempt, reason: str, grace_s: float) -> None:
        """End a task with all that it started: SIGTERM, and SIGKILL after `grace_s`. It then finishes as FAILED with
        `reason`, however it took the signal. A task that is being killed already goes on being so."""
        assigned = self._jobs.get(attempt)
        if assigned is None or (assigned.process is not None and assigned.process.end_reason):
            return
        if assigned.process is not None:
            self._wait(self._settle(assigned.process))
        if assigned.process is not None:
            assigned.process.end_reason = reason
            self._fleet.terminate(assigned.process, grace_s)
        elif assigned in self._waiting:  # It has neither ended, as could just have been heard, nor begun.
            self._waiting.remove(assigned)
            self._refuse(assigned, reason)
        self._place()

    async def close(self, grace_s: float) -> None:
        """End all processes, and with them everything that tasks have left running. Tasks that still run are killed,
        with `grace_s` to clean up."""
        self._is_closing = True
        self._want.close()
        for process in list(self._busy.values()):
            self._wait(self._settle(process))
            if process.head is not None:
                self.kill(process.head.job.attempt, _NODE_STOPPED, grace_s)
        while self._waiting:
            self._refuse(self._waiting.popleft(), _NODE_STOPPED)
        await self._fleet.close(grace_s)

    # --- who runs what ---

    def _wait(self, recalled: Sequence[Assigned]) -> None:
        """These were recalled, and go first when there is a process for them."""
        self._waiting.extendleft(reversed(recalled))

    def _take_back(self, process: TaskProcess) -> None:
        """What a process has not begun is for whoever is free."""
        self._wait(process.recall())
        self._release(process)

    def _settle(self, process: TaskProcess) -> list[Assigned]:
        """Take back what a process has not begun, and hear what it has said."""
        self._is_settling = True
        try:
            recalled = process.settle()
        finally:
            self._is_settling = False
        self._release(process)
        return recalled

    def _release(self, process: TaskProcess) -> None:
        """A process that has nothing to do is idle."""
        if process.assigned or self._busy.pop(process.number, None) is None or process.is_ending:
            return
        self._fleet.put_back(process)

    def _place(self) -> None:
        """Hand out what waits, and what waits behind others while a slot is free."""
        if self._is_closing or self._is_settling:
            return
        if not self._waiting and len(self._busy) < self._slots:
            longest = max(self._busy.values(), key=lambda each: len(each.assigned), default=None)
            if longest is not None and len(longest.assigned) > 1:
                self._take_back(longest)
        while self._waiting:
            assigned, process = self._waiting[0], None
            try:
                process = self._next_process()
                if process is None:
                    return
                self._busy[process.number] = process
                process.give(assigned)
            except OSError as problem:
                if process is not None:
                    self._release(process)
                if self._want.is_cause(problem):
                    return
                lacking = "given the task" if process else "started"
                self._refuse(assigned, f"the task process could not be {lacking}: {problem}")
            self._waiting.popleft()

    def _next_process(self) -> TaskProcess | None:
        """Who gets the next job: one that is idle, or a new one, or the one with the fewest jobs. None: it waits.

        Raises:
            OSError: no new one can be made.
        """
        if len(self._busy) < self._slots:
            return self._fleet.take() if self._fleet.has_idle or not self._want.is_felt else None
        if len(self._busy) > self._slots:
            return None
        next_process, count = None, _MAX_QUEUED + 1
        for process in self._busy.values():
            if len(process.assigned) < count and not (process.is_ending or self._fleet.is_worn(process)):
                next_process, count = process, len(process.assigned)
        return next_process

    # --- what is heard of processes (FleetEvents) ---

    def died(self, process: TaskProcess, end: str, refused: OSError | None) -> None:
        """A process is dead, or never was. What it had not begun goes to others."""
        is_for_want = refused is not None and self._want.is_cause(refused)
        recalled = self._settle(process)
        lost = list(process.assigned)
        if lost:
            process.capture.end()
        elif recalled and not is_for_want:
            # Otherwise processes that end before they begin would follow each other for ever.
            recalled[0].death_count += 1
            if recalled[0].death_count == _MAX_DEATHS:
                lost.append(recalled.pop(0))
        self._wait(recalled)
        self._busy.pop(process.number, None)
        for each in lost:  # More than one if it went on after it had said what it should not, or a task stole a job.
            self._finish(each, process.end_reason or _why(end))
        self._place()

    # --- what is heard from tasks (TaskProcessEvents) ---

    def printed(self, job: Job, chunk: WriteOutput) -> None:
        """A task printed something."""
        self._events.output(job.attempt, chunk)

    def hung_up(self, process: TaskProcess) -> None:
        """A process has closed its connection: it has died, as will be heard at once, or its task was careless."""
        if not process.is_ending:
            self._fleet.withdraw(process)
            self._take_back(process)
            process.timers.append(
                self._loop.call_later(_HANG_UP_S, self._put_down, process, "closed its connection to the node")
            )
            self._place()

    def misspoke(self, process: TaskProcess, problem: PeerError) -> None:
        """A process has sent what makes no sense."""
        self._put_down(process, f"sent what it should not: {problem}")
        self._take_back(process)
        process.hang_up()
        self._place()

    def began(self, process: TaskProcess, assigned: Assigned) -> None:
        """A task runs now."""
        assigned.started_at, assigned.wall_started_at = self._loop.time(), time.time()
        job = assigned.job
        if job.timeout_s is not None:
            reason = f"ran longer than its timeout of {job.timeout_s:g} s"
            assigned.timeout = self._loop.call_later(
                job.timeout_s, self.kill, job.attempt, reason, self._settings.kill_grace_s
            )

    def said(self, process: TaskProcess, frame: Frame) -> None:
        """A process sent a frame.

        Raises:
            PeerError: it should not have.
        """
        head = process.head
        match frame:
            case TaskEnded(number=number) if head is not None and number == head.number:
                self._task_ended(process, head, frame)
            case Signalled(number, call, action, encoded, data):
                arguments = wire.decode_value(encoded)
                if not isinstance(arguments, dict):
                    raise PeerError(f"the arguments of signal {action!r} are no dict")
                if head is not None and number == head.number:
                    self._events.signal(head.job.attempt, call, action, arguments, data)
            case StoreAsked(number, call, encoded):
                request = wire.decode(TaskRequest, encoded)
                assert isinstance(request, TaskRequest), request
                if head is not None and number == head.number:
                    self._events.store_request(head.job.attempt, call, request)
            case _:
                raise PeerError(f"a {type(frame).__name__} at the wrong time")

    # --- how processes and tasks end ---

    def _put_down(self, process: TaskProcess, reason: str) -> None:
        """Kill a process that does not behave."""
        process.end_reason = process.end_reason or f"the task process {reason}"
        self._fleet.kill(process)

    def _task_ended(self, process: TaskProcess, head: Assigned, ended: TaskEnded) -> None:
        if ended.state not in _END_STATES:
            raise PeerError(f"a task that ended {ended.state.value}")
        if process.end_reason:
            # It was told to end and its task has gone on to the end all the same. It finishes when it is dead.
            self._fleet.kill(process)
            return
        process.capture.end(is_more=ended.is_last)
        if head.timeout is not None:
            head.timeout.cancel()
        attempt = head.job.attempt
        del self._jobs[attempt]
        is_spent = ended.is_last and not process.is_ending
        if is_spent:
            self._wait(process.recall())
        process.ended()
        value, times = Value(ended.value, size_bytes=len(ended.value)), (ended.started_at, ended.ended_at)
        rows = None if ended.rows is None else tuple(Value(row, size_bytes=len(row)) for row in ended.rows)
        self._events.finished(Finished(attempt, ended.state, value, ended.limit, ended.reason, *times, rows))
        if is_spent:
            del self._busy[process.number]
            self._fleet.replace(process)
        else:
            self._release(process)
        self._place()

    def _refuse(self, assigned: Assigned, reason: str) -> None:
        """Fail a job that has not begun, once this call is over."""
        self._loop.call_soon(self._finish, assigned, reason)

    def _finish(self, assigned: Assigned, reason: str) -> None:
        """A job failed with its process."""
        attempt = assigned.job.attempt
        if self._jobs.pop(attempt, None) is None:
            return
        if assigned.timeout is not None:
            assigned.timeout.cancel()
        now = time.time()
        started_at = assigned.wall_started_at or now
        self._events.finished(Finished(attempt, State.FAILED, Value(), None, reason, started_at, now))


def _why(end: str) -> str:
    """The reason of a task whose process ended without being told to."""
    hint = " (the system does so when it runs out of memory)" if end == "was killed by SIGKILL" else ""
    return f"the task process {end}{hint}"
