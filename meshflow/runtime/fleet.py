"""The task processes of a node as a stock: how many there are, which are idle, and how they end.

A task process is forked from a template (`template.py`, reached through `launcher.py`), runs one task at a time, and is
used again. Some are kept ready; the others end when they have been idle for a while.

Invariants:
1. A process that ended well may have left something running, which goes on until the node ends. What one that was
   killed or died has started is dead when its end is told.
2. Whoever must end does: after its time comes SIGKILL, and one that the kernel cannot end is given up.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from meshflow.runtime.capture import Capture
from meshflow.runtime.launcher import Launcher
from meshflow.runtime.task_process import TaskProcess, TaskProcessEvents

_RETIRE_S = 5.0
"""For the exit handlers of what tasks have imported."""
_ABANDON_S = 5.0
"""After SIGKILL, which a process stuck in the kernel (a dead network disk) does not obey until that answers."""


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
    max_value_bytes: int = 512 * 1024 * 1024
    """Largest value that a task may hand on, pickled; an attempt with a larger one fails. What `payload` makes at most,
    and what a store takes."""
    max_code_bytes: int = 64 * 1024 * 1024
    """Pickled code that each process keeps for further tasks; what was dropped for want of room is sent again."""
    kill_grace_s: float = 3.0
    """Between SIGTERM and SIGKILL for a task that exceeds its timeout; 0 gives it no time to clean up."""
    umask: int = -1
    """The file mode mask that tasks begin with; -1: that of the node."""


class FleetEvents(TaskProcessEvents, Protocol):
    """What is heard of task processes, and of what they say."""

    def died(self, process: TaskProcess, end: str, refused: OSError | None) -> None:
        """The process and all below it are dead, or never were; `end` says why, as `was killed by SIGKILL`. What it
        said and printed before can still be heard. `refused` is what the host said if it did not let it be."""


class Fleet:
    """The processes; who runs what is for the executor to decide."""

    def __init__(
        self, settings: ExecutorSettings, node_name: str, loop: asyncio.AbstractEventLoop, events: FleetEvents
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._events = events
        self._launcher = Launcher(node_name, loop, self, settings.umask)
        self._warm_count = 0
        self._last_number = 0
        self._processes: dict[int, TaskProcess] = {}
        self._idle: list[TaskProcess] = []
        """The one that ran last is at the end, and is used first: its memory is warm."""
        self._strays: list[Capture] = []
        """Of ended processes whose tasks left something running that may print."""
        self._shrink_timer: asyncio.TimerHandle | None = None
        self._are_gone = asyncio.Event()

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The task processes that exist now."""
        return self._launcher.process_ids

    @property
    def processes(self) -> list[TaskProcess]:
        """All that have not been seen to end."""
        return list(self._processes.values())

    @property
    def has_idle(self) -> bool:
        """Whether there is a process that runs nothing."""
        return bool(self._idle)

    def warm(self, count: int) -> None:
        """Keep at least so many processes; those that are missing are forked in the background."""
        self._warm_count = count
        for _ in range(count - self._alive_count):
            with suppress(OSError):  # Out of descriptors: `take` will say so, if it still is so then.
                self.put_back(self._spawn())

    def take(self) -> TaskProcess:
        """A process that runs nothing; from now on it is the caller's.

        Raises:
            OSError: there is none, and a new one cannot be made.
        """
        return self._idle.pop() if self._idle else self._spawn()

    def put_back(self, process: TaskProcess) -> None:
        """The process runs nothing now. It is kept for others, or replaced if it has done enough."""
        if self.is_worn(process):
            self.replace(process)
            return
        process.idle_since = self._loop.time()
        self._idle.append(process)
        if self._shrink_timer is None and self._has_surplus:
            self._shrink_timer = self._loop.call_later(self._settings.idle_s, self._shrink)

    def is_worn(self, process: TaskProcess) -> bool:
        """Whether a process gets no more tasks than it had."""
        return process.task_count == self._settings.max_tasks_per_process

    def replace(self, process: TaskProcess) -> None:
        """Let a process end that runs nothing; what its tasks left running goes on."""
        self._retire(process, _RETIRE_S)
        self.warm(self._warm_count)

    def withdraw(self, process: TaskProcess) -> None:
        """Give a process no more tasks."""
        process.is_ending = True
        if process in self._idle:
            self._idle.remove(process)

    def terminate(self, process: TaskProcess, grace_s: float) -> None:
        """SIGTERM to the process and all below it, and SIGKILL after `grace_s`."""
        self.withdraw(process)
        self._launcher.terminate(process.number)
        self._kill_later(process, grace_s)

    def kill(self, process: TaskProcess) -> None:
        """SIGKILL to the process; what is below it follows when it is dead."""
        self.withdraw(process)
        self._kill_later(process, 0.0)

    async def close(self, grace_s: float) -> None:
        """End all processes, and with them everything that tasks have left running. Who runs something must have been
        terminated."""
        self._warm_count = 0
        self._are_gone.clear()
        for process in self.processes:
            if not process.is_ending:
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

    # --- inside ---

    def _spawn(self) -> TaskProcess:
        self._last_number += 1
        process = TaskProcess(
            self._last_number,
            self._loop,
            self._events,
            max_output_bytes=self._settings.max_output_bytes,
            max_code_bytes=self._settings.max_code_bytes,
        )
        self._processes[process.number] = process
        self._launcher.spawn(process.number, process.endpoints)
        return process

    @property
    def _alive_count(self) -> int:
        return sum(not process.is_ending for process in self._processes.values())

    @property
    def _has_surplus(self) -> bool:
        return self._alive_count > self._warm_count

    def _shrink(self) -> None:
        """Let processes end that have been idle for long; look again when the next one may be."""
        self._shrink_timer = None
        now = self._loop.time()
        while self._idle and self._has_surplus:
            wait_s = self._idle[0].idle_since + self._settings.idle_s - now
            if wait_s > 0:
                self._shrink_timer = self._loop.call_later(wait_s, self._shrink)
                return
            self._retire(self._idle[0], _RETIRE_S)

    def _retire(self, process: TaskProcess, grace_s: float) -> None:
        self.withdraw(process)
        self._launcher.retire(process.number)
        process.hang_up()
        self._kill_later(process, grace_s)

    def _kill_later(self, process: TaskProcess, grace_s: float) -> None:
        process.timers += [
            self._loop.call_later(grace_s, self._launcher.kill, process.number),
            self._loop.call_later(grace_s + _ABANDON_S, self.exited, process.number, "cannot be killed"),
        ]

    def exited(self, number: int, end: str, refused: OSError | None = None) -> None:
        """A process has ended (told by the launcher); `end` says how, and `refused` why it never was."""
        process = self._processes.pop(number, None)
        if process is None:
            return
        for timer in process.timers:
            timer.cancel()
        was_retired = process.is_ending and process.head is None
        self.withdraw(process)
        self._events.died(process, end, refused)
        process.hang_up()
        if was_retired:
            self._strays = [capture for capture in (*self._strays, process.capture) if capture.is_open]
        else:
            process.capture.close()
        # Only after one that was of use: processes that end at once must not follow each other for ever.
        if process.has_ended_any:
            self.warm(self._warm_count)
        if not self._processes:
            self._are_gone.set()
