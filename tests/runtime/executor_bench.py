"""An executor with real task processes, and what a test wants to know of it.

Tasks are functions inside of tests: those are pickled by value, so that a task process need not import the test module.
"""

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshflow.core.attempts import Attempt
from meshflow.core.messages import Finished, Input, Job
from meshflow.core.records import State, Value
from meshflow.core.requests import Request, WriteOutput
from meshflow.ids import RunId
from meshflow.models import bundles, payload
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData, TaskData
from meshflow.runtime.executor import Executor
from meshflow.runtime.fleet import ExecutorSettings
from meshflow.tasks.python_task import PythonTask

PATIENCE_S = 20.0
"""Nothing here takes a second, but on a machine that is busy with other tests."""

WORKFLOW = RunId("0123456789abcdef01234567")
RUN = RunId(f"{WORKFLOW}/main:1")
NODE_NAME = "bench"


class Signal:
    """A signal, or a request to the store, that waits to be answered."""

    def __init__(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: bytes | None
    ) -> None:
        self.attempt, self.call, self.action, self.arguments, self.data = attempt, call, action, arguments, data


class ExecutorBench:
    """An executor, the loop it lives in, and all that was heard from it."""

    def __init__(self, settings: ExecutorSettings | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.executor = Executor(settings or ExecutorSettings(), NODE_NAME, self.loop, self)
        self.chunks: list[tuple[Attempt, WriteOutput]] = []
        self.signals: list[Signal] = []
        self.requests: list[tuple[Attempt, int, Request]] = []
        self.ends: dict[Attempt, Finished] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Event()

    # --- ExecutorEvents ---

    def output(self, attempt: Attempt, chunk: WriteOutput) -> None:
        """Heard from the executor."""
        assert attempt not in self.ends, "output after the end"
        self.chunks.append((attempt, chunk))
        self._news.set()

    def signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: bytes | None
    ) -> None:
        """Heard from the executor."""
        self.signals.append(Signal(attempt, call, action, arguments, data))
        self._news.set()

    def store_request(self, attempt: Attempt, call: int, request: Request) -> None:
        """Heard from the executor."""
        self.requests.append((attempt, call, request))
        self._news.set()

    def finished(self, finished: Finished) -> None:
        """Heard from the executor."""
        assert finished.attempt not in self.ends, "finished twice"
        self.ends[finished.attempt] = finished
        self._news.set()

    # --- for tests ---

    def start(
        self,
        task: Callable[..., object] | BaseTask,
        *,
        inputs: Sequence[tuple[str, str | None, Mapping[str, object]]] = (),
        initial: MultiTaskData | None = None,
        timeout_s: float | None = None,
    ) -> Attempt:
        """Start a task, or a function as the callback of one."""
        made = task if isinstance(task, BaseTask) else PythonTask("work", task)  # type: ignore[arg-type]
        digests, codes = bundles.pack_tasks([made])
        attempt = Attempt(RUN, 0, next(self._numbers), 1)
        job = Job(
            attempt,
            made.name,
            "flow",
            "task",
            digests[0],
            inputs=tuple(Input(name, slot, value_of(data)) for name, slot, data in inputs),
            initial=None if initial is None else Value(payload.dump_data(initial)),
            timeout_s=timeout_s,
        )
        self.executor.start(job, codes)
        return attempt

    def end(self, attempt: Attempt) -> Finished:
        """Wait until an attempt has ended."""
        self.until(lambda: attempt in self.ends)
        return self.ends[attempt]

    def run(self, task: Callable[..., object] | BaseTask, **options: Any) -> Finished:
        """Start a task and wait for its end."""
        return self.end(self.start(task, **options))

    def still_works(self) -> bool:
        """Whether the next task runs."""
        return self.run(lambda *_: None).state is State.COMPLETED

    def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until something that was heard makes `condition` true."""

        async def wait() -> None:
            while not condition():
                self._news.clear()
                await self._news.wait()

        self.loop.run_until_complete(asyncio.wait_for(wait(), PATIENCE_S))

    def printed(self, attempt: Attempt, stream: str = "stdout") -> str:
        """What an attempt has printed so far; fails if chunks do not follow each other."""
        text = b""
        for each, chunk in self.chunks:
            if each == attempt and chunk.stream == stream:
                assert chunk.offset == len(text), "a gap in the output"
                text += chunk.data
        return text.decode()

    def until_printed(self, attempt: Attempt, count: int = 1) -> list[str]:
        """Wait for so many lines of an attempt, and return them."""
        self.until(lambda: self.printed(attempt).count("\n") >= count)
        return self.printed(attempt).splitlines()

    def until_gone(self, *pids: int) -> None:
        """Wait for the end of the first of these processes."""
        gone = asyncio.Event()
        watches: list[int] = []
        try:
            for pid in pids:
                watches.append(os.pidfd_open(pid))
                self.loop.add_reader(watches[-1], gone.set)
        except ProcessLookupError:
            gone.set()
        try:
            self.loop.run_until_complete(asyncio.wait_for(gone.wait(), PATIENCE_S))
        finally:
            for watch in watches:
                self.loop.remove_reader(watch)
                os.close(watch)

    def close(self, grace_s: float = 5.0) -> None:
        """End it all; a second time does nothing."""
        if self.loop.is_closed():
            return
        self.loop.run_until_complete(self.executor.close(grace_s))
        self.loop.close()


def value_of(data: Mapping[str, object]) -> Value:
    """What a task that returned `data` has handed on."""
    pickled = payload.dump_data(MultiTaskData(dataset=TaskData(dict(data))))
    return Value(pickled, size_bytes=len(pickled))


def data_of(finished: Finished) -> dict[str, Any]:
    """The data that a task has handed on."""
    assert finished.reason == "", finished.reason
    handed_on = payload.load_data(finished.value.inline)
    found: dict[str, Any] = handed_on.default_dataset.data
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is more than a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between opening and reading
        return False
