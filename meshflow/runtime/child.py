"""Inside a task process: take a task, run it, report, take the next.

This is the only process of a node that opens what users pickled. The task runs in the main thread, where signals arrive
and `asyncio.run` may be called.

Invariants:
1. Every task is made anew and gets data of its own.
2. Whatever a task raises, it is reported and the process goes on; only a signal to end stops it, and a task that takes
   the whole process down with it.
3. What a task printed has been read by the node before its end is reported, unless it is the last task: so what is
   printed after that report belongs to the next one.
4. The next task finds folder, environment, module path, umask, signal handlers and streams as the first one did. What a
   task has imported stays, and so do threads that it left running.
"""

import _signal  # type: ignore[import-not-found]
import logging
import math
import os
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn

# Not used here, but by nearly every task: what is imported in the template is shared by all task processes.
import meshflow.tasks.bash_task
import meshflow.tasks.python_task  # noqa: F401
from meshflow.core.messages import Job
from meshflow.core.records import State
from meshflow.ids import dag_run_name, workflow_of
from meshflow.models import bundles, payload
from meshflow.models.calls import Callee, Terminated, pack_flat
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData, add_item, compose, no_items
from meshflow.runtime import kept_results, lease, processes
from meshflow.runtime.callees import Callees
from meshflow.runtime.kept_results import KeptResults, Outcome
from meshflow.runtime.link import NodeLink, TaskClient
from meshflow.runtime.orders import Birth
from meshflow.runtime.pipes import RunTask, TaskEnded
from meshflow.tasks.function_task import MappedTask

_MAX_REASON_CHARS = 16 * 1024
"""Enough for a deep traceback; the reason travels with the result and stays in the log."""
_MAX_MESSAGE_CHARS = 1024

_PIPES = (1, 2)
"""Where a task prints."""
_HEARD_POLL_S = 0.0002
_HEARD_S = 2.0
"""A node that has not read what was printed by then is in trouble, or a thread that a task left prints for ever."""

_OWN_MODULES = ("meshflow.runtime.", "meshflow.models.", "meshflow.tasks.")
"""Whose frames are left out at the top of a traceback."""

is_task_process = False
"""Whether this process runs tasks, or has merely imported what does."""


def main(birth: Birth, node_name: str) -> None:
    """Run tasks until the node hangs up."""
    global is_task_process
    is_task_process = True
    endpoints = birth.endpoints
    try:
        signal.signal(signal.SIGTERM, _raise_terminated)
        os.setsid()
        processes.hear_of_parents_end(birth.template)
        processes.adopt_orphans()
        processes.offer_to_oom_killer()
        processes.mark(birth.mark)
        for pipe, fileno in ((endpoints.stdout, 1), (endpoints.stderr, 2)):
            os.dup2(pipe, fileno)
            os.close(pipe)
        # What a task logs is output like what it prints; a task may set this up anew, as `basicConfig(force=True)`.
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        link = NodeLink(socket.socket(fileno=endpoints.jobs), socket.socket(fileno=endpoints.talk))
        TaskRunner(link, node_name).serve()
    except Terminated:
        _end_terminated()


def _raise_terminated(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: a second one would hit the clean-up. Not SIG_IGN, which programs started from here would inherit.
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise Terminated


def _end_terminated() -> NoReturn:
    """Wait for all below to end, which were told to at the same time; then end in a way that says why."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("SIGTERM did not end the process")


class TaskRunner:
    """Runs the tasks of one process."""

    def __init__(self, link: NodeLink, node_name: str) -> None:
        self._link = link
        self._node_name = node_name
        self._pid = os.getpid()
        self._codes: dict[str, bytes] = {}
        self._bundles: dict[str, bundles.Bundle] = {}
        self._callees = Callees()
        self._results = KeptResults()
        self._surroundings = Surroundings()

    def serve(self) -> None:
        """Run what comes, until the node hangs up.

        Raises:
            Terminated: the process is to end.
        """
        for frame in self._link.tasks():
            ended = self._run(frame)
            self._link.end(ended)
            if ended.is_last:
                self._link.wait_for_hang_up()
                return
            self._surroundings.restore()

    def _run(self, frame: RunTask) -> TaskEnded:
        value, limit = b"", None
        rows: list[bytes] | None = None
        callee = self._callee(frame) if frame.job.calls else None
        started_at = time.time()
        try:
            if frame.job.door:
                state, reason = State.COMPLETED, ""
                lease.serve(frame.job.door, frame.job.attempt.task, self._callees, self._surroundings.restore)
            elif callee is not None:
                state, reason, value = State.COMPLETED, "", pack_flat(callee.run(frame.job.calls))
            else:
                task = self._load(frame)
                if isinstance(task, MappedTask) and not frame.job.mapped:
                    rows = task.split(_input(frame.job))
                    state, reason, value = State.COMPLETED, f"{len(rows)} rows", payload.dump_data(no_items())
                else:
                    state, reason, value, limit = self._attempt(task, frame)
        except Terminated:
            raise
        except BaseException as exc:  # Also SystemExit and KeyboardInterrupt: a task does not end its process.
            if os.getpid() != self._pid:
                raise
            state, reason = State.FAILED, describe(exc)
        if os.getpid() != self._pid:
            sys.exit()  # A process that the task forked has come here too, and must not report in its place.
        ended_at = time.time()
        self._surroundings.flush()
        is_last = processes.has_children() or not self._surroundings.is_heard()
        split = None if rows is None else tuple(rows)
        return TaskEnded(frame.number, state, value, limit, reason, started_at, ended_at, is_last, split)

    def _attempt(self, task: BaseTask, frame: RunTask) -> Outcome:
        """Run the task, unless its result is kept. Raises whatever the task raises."""
        job = frame.job
        client = TaskClient(self._link, frame.number)
        key = self._results.key(task, job)
        if key and (kept := kept_results.find(client, key)) is not None:
            return kept
        workflow_id, dag_name = workflow_of(job.attempt.run), dag_run_name(job.attempt.run)
        state, reason = State.COMPLETED, ""

        def stopped(exc: BaseException) -> None:
            nonlocal state, reason
            state, reason = State.STOPPED, _message(exc)

        def aborted(exc: BaseException) -> None:
            nonlocal state, reason
            state, reason = State.ABORTED, _message(exc)

        action = task._run(
            _input(job),
            DataStoreDocument(client.perform, workflow_id),
            TaskSignal(client, dag_name),
            TaskContext(job.name, dag_name, job.workflow, workflow_id, self._node_name),
            stop_callback=stopped,
            abort_callback=aborted,
        )
        # Slices, because a name may be of a class that extends str, such as a member of an enumeration.
        limit = None if action.limit_names is None else tuple(name[:] for name in action.limit_names)
        outcome = Outcome(state, reason, payload.dump_data(action.data), limit)
        if key:
            kept_results.keep(client, key, job, outcome)
        return outcome

    def _callee(self, frame: RunTask) -> Callee:
        self._keep_codes(frame)
        digest = frame.job.payload
        return self._callees.of_node(digest, self._codes.pop(digest, None))

    def _keep_codes(self, frame: RunTask) -> None:
        if frame.is_forgetting:
            self._codes.clear()
            self._bundles.clear()
            self._callees.clear()
            self._results.clear()
        self._codes.update(frame.codes)

    def _load(self, frame: RunTask) -> BaseTask:
        self._keep_codes(frame)
        digest = frame.job.payload
        bundle = self._bundles.get(digest)
        if bundle is None:
            bundle = self._bundles[digest] = bundles.Bundle(self._codes[digest])
            del self._codes[digest]
        task: BaseTask = bundle.task(frame.job.mapped or frame.job.name)
        if frame.job.mapped and isinstance(task, MappedTask):
            task.become(frame.job.name, frame.job.inputs[0].value.inline)
        return task


def _input(job: Job) -> MultiTaskData:
    if job.initial is not None:
        return payload.load_data(job.initial.inline)
    inputs: list[tuple[str, str | None, MultiTaskData]] = []
    for each in job.inputs[1:] if job.mapped else job.inputs:
        data = payload.load_data(each.value.inline)
        if each.is_item:
            add_item(inputs[-1][2], data)
        else:
            inputs.append((each.task, each.slot, data))
    return compose(inputs, task_name=job.name)


class Surroundings:
    """What tasks of one process share and may change; remembered as it was for the first one."""

    def __init__(self) -> None:
        self._folder = _current_folder()
        self._environment = dict(_environment())
        self._path = list(sys.path)
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._interrupt = _signal.getsignal(signal.SIGINT)
        self._pipes = _identities()
        self._open_streams()

    def flush(self) -> None:
        """Send on what was printed, wherever the task left the streams."""
        if sys.stdout is self._stdout and sys.stderr is self._stderr:
            streams: tuple[Any, ...] = (self._stdout, self._stderr)
        else:
            streams = (sys.stdout, sys.stderr, self._stdout, self._stderr)
        for stream in streams:
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # A task may have closed or replaced them.
                continue

    def is_heard(self) -> bool:
        """Wait until the node has read what was printed. False: it can't, for the pipes are not in their places or are
        written to without end."""
        give_up_at = math.inf
        try:
            if _identities() != self._pipes:
                return False
            while processes.unread_bytes(1) or processes.unread_bytes(2):
                if give_up_at == math.inf:
                    give_up_at = time.monotonic() + _HEARD_S
                if time.monotonic() > give_up_at:
                    return False
                time.sleep(_HEARD_POLL_S)
        except OSError:  # A task has closed one.
            return False
        return True

    def restore(self) -> None:
        """Put back what has changed. On the path of every task, so what is cheap to look at is looked at first."""
        if _current_folder() != self._folder:
            with suppress(OSError):  # It has been removed.
                os.chdir(self._folder)
        if _environment() != self._environment:
            os.environb.clear()
            os.environb.update(self._environment)
        if sys.path != self._path:
            sys.path[:] = self._path
        os.umask(self._umask)
        signal.setitimer(signal.ITIMER_REAL, 0)
        # `signal.getsignal` would try to make members of an enumeration of them, which takes as long as all else.
        if _signal.getsignal(signal.SIGTERM) is not _raise_terminated:
            signal.signal(signal.SIGTERM, _raise_terminated)
        if _signal.getsignal(signal.SIGINT) is not self._interrupt:
            signal.signal(signal.SIGINT, self._interrupt)
        if (
            sys.stdout is not self._stdout
            or sys.stderr is not self._stderr
            or self._stdout.closed
            or self._stderr.closed
        ):
            self._open_streams()

    def _open_streams(self) -> None:
        self._stdout, self._stderr = (
            # Line by line, so that what is printed is seen while the task runs. The descriptors outlive their streams.
            open(fileno, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            for fileno in _PIPES
        )
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc]


def _identities() -> tuple[int, ...]:
    """What the pipes are, wherever their descriptors came from."""
    stdout, stderr = os.fstat(1), os.fstat(2)
    return stdout.st_dev, stdout.st_ino, stderr.st_dev, stderr.st_ino


def _environment() -> dict[bytes, bytes]:
    # The dictionary behind os.environ: comparing that itself would decode every variable, for each task again.
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return data


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # It has been removed.
        return "/"


def describe(exc: BaseException) -> str:
    """The reason of a failure: `type: message` on one line, then the traceback from the first line of the user's on."""
    message = " ".join(_message(exc).split())
    summary = f"{type(exc).__name__}: {message}" if message else type(exc).__name__
    trimmed = _from_user_code(exc.__traceback__)
    if trimmed is None:
        return summary
    with suppress(Exception):  # As above, for the causes of the error.
        lines = "".join(traceback.TracebackException(type(exc), exc, trimmed).format()).rstrip("\n")
        room = _MAX_REASON_CHARS - len(summary) - 1
        return f"{summary}\n{lines if len(lines) <= room else lines[: room // 2] + ' ... ' + lines[5 - room // 2 :]}"
    return summary


def _message(exc: BaseException) -> str:
    try:
        return str(exc)[:_MAX_MESSAGE_CHARS]
    except Exception as broken:  # The user's __str__ may raise anything.
        return f"(its text cannot be shown: {type(broken).__name__})"


def _from_user_code(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
        trace = trace.tb_next
    return trace
