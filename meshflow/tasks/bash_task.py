"""A task that runs a shell command.

`process_group` runs the command and `output` deals with what it prints; here are the options and their rules.

Invariants:
1. Callbacks run in the thread of the task, one at a time.
2. Whatever ends the task before its command is over (a stop, an exception of a callback, SystemExit), the command and
   its children are ended before `run` is left, and `callback_end` is not called.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from signal import strsignal
from typing import IO, TypeAlias, Unpack

from meshflow.errors import WorkflowError
from meshflow.models.action import Action
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData
from meshflow.models.task_parameters import TaskParameters
from meshflow.tasks.identity import resolve
from meshflow.tasks.options import Given, TaskOptions
from meshflow.tasks.output import Output, last_lines
from meshflow.tasks.process_group import running

ProcessCallback: TypeAlias = Callable[[int, MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], object]
LineCallback: TypeAlias = Callable[[str, MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], object]
EndCallback: TypeAlias = Callable[
    [int, IO[bytes] | None, IO[bytes] | None, MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], object
]

_Arguments: TypeAlias = tuple[MultiTaskData, DataStoreDocument, TaskSignal, TaskContext]

_ACCEPTED: dict[str, tuple[type, ...]] = {
    "command": (str,),
    "cwd": (str, os.PathLike, type(None)),
    "env": (Mapping, type(None)),
    "user": (int, str, type(None)),
    "group": (int, str, type(None)),
    "stdin": (str, type(None)),
    "ok_codes": (list, tuple, range, set, frozenset, type(None)),
}


class BashTask(BaseTask):
    """Runs `command` with `/bin/sh -c`.

    Each option may be given as a function of `(data, store)`; these are called once, in the order of the arguments,
    `command` last. All callbacks end with the arguments `data, store, signal, context`, and may raise: `StopTask` and
    `AbortWorkflow` have their usual meaning, anything else fails the task, and each of them ends the command at once.

    A stop of the run ends the command with all its children (SIGTERM, and SIGKILL three seconds later for who is left),
    and the task counts as stopped. Without one, the task is over when the shell has exited and every stream that is
    captured or has a callback is at its end: a child in the background that keeps such a stream open prolongs the task,
    one that keeps none is left running.

    Args:
        name: Unique within its dag.
        command: The text for the shell.
        cwd: The working directory; None: that of the node.
        env: The whole environment, nothing is added to it; None: that of the node.
        user: Name or id; needs a node that runs as root. Alone it changes the user id and nothing else; give `group`
            too to leave the groups of the node behind.
        group: Name or id. With `user`, the supplementary groups become those of the user.
        stdin: Written to the command, then closed; None: the input is empty.
        refresh_time: Accepted for Lightflow's sake and without effect: nothing is polled.
        capture_stdout: Keep the standard output in a temporary file for `callback_end`.
        capture_stderr: The same for the standard error.
        callback_process: Called with the process id of the shell, once, right after the start.
        callback_end: Called with `returncode, stdout_file, stderr_file` after the end. The files are binary, rewound,
            and closed afterwards; None where nothing was captured. A negative return code is a signal number.
        callback_stdout: Called with each line of the standard output, its newline included.
        callback_stderr: The same for the standard error.
        ok_codes: The exit codes that count as success; after any other the task fails, once `callback_end` has seen it.
            None: any exit code is success.
        **options: Those of `BaseTask`.
    """

    def __init__(
        self,
        name: str,
        command: Given[str],
        cwd: Given[str | os.PathLike[str] | None] = None,
        env: Given[Mapping[str, str] | None] = None,
        user: Given[int | str | None] = None,
        group: Given[int | str | None] = None,
        stdin: Given[str | None] = None,
        refresh_time: Given[float] = 0.1,
        capture_stdout: Given[bool] = False,
        capture_stderr: Given[bool] = False,
        callback_process: ProcessCallback | None = None,
        callback_end: EndCallback | None = None,
        callback_stdout: LineCallback | None = None,
        callback_stderr: LineCallback | None = None,
        *,
        ok_codes: Given[Sequence[int] | None] = None,
        **options: Unpack[TaskOptions],
    ) -> None:
        super().__init__(name, **options)
        self.params = TaskParameters(
            command=command,
            cwd=cwd,
            env=env,
            user=user,
            group=group,
            stdin=stdin,
            refresh_time=refresh_time,
            capture_stdout=capture_stdout,
            capture_stderr=capture_stderr,
            ok_codes=ok_codes,
        )
        self._callback_process = callback_process
        self._callback_end = callback_end
        self._callback_stdout = callback_stdout
        self._callback_stderr = callback_stderr

    def run(
        self,
        data: MultiTaskData,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        **kwargs: object,
    ) -> Action:
        """Run the command, and pass on the data as the callbacks left it.

        Raises:
            WorkflowError: an option is wrong, the command cannot be started, or its exit code is not in `ok_codes`.
            StopTask: the run was asked to stop.
            BaseException: whatever a callback or a function given as an option raises.
        """
        params = self._evaluate(data, store)
        arguments = (data, store, signal, context)
        with contextlib.ExitStack() as files:
            stdout = _output(files, params.capture_stdout, self._callback_stdout, arguments)
            stderr = _output(files, params.capture_stderr, self._callback_stderr, arguments)
            code = self._execute(params, stdout, stderr, arguments)
            # Before `callback_end`, which may do with the files what it likes.
            failure = self._failure(code, params.ok_codes, stderr.file)
            if self._callback_end is not None:
                self._callback_end(code, stdout.file, stderr.file, *arguments)
        if failure is not None:
            raise WorkflowError(failure)
        return Action(data)

    def _evaluate(self, data: MultiTaskData, store: DataStoreDocument) -> TaskParameters:
        params = self.params.eval(data, store, exclude=["command"])
        params["command"] = self.params.eval_single("command", data, store)
        for key, accepted in _ACCEPTED.items():
            if not isinstance(params[key], accepted):
                expected = ", ".join(kind.__name__ for kind in accepted)
                raise WorkflowError(f"{key} of task {self.name!r} is {params[key]!r:.80}, expected one of: {expected}")
        for key, value in (params["env"] or {}).items():
            if not (isinstance(key, str) and isinstance(value, (str, os.PathLike))):
                raise WorkflowError(f"env of task {self.name!r} has {key!r}: {value!r:.80}, expected strings")
        return params

    def _execute(self, params: TaskParameters, stdout: Output, stderr: Output, arguments: _Arguments) -> int:
        signal = arguments[2]
        stop_fileno = signal.stop_fileno()
        with contextlib.ExitStack() as stack:
            try:
                group = stack.enter_context(
                    running(
                        params.command,
                        stdin=None if params.stdin is None else os.fsencode(params.stdin),
                        stdout=stdout if stdout.is_wanted else None,
                        stderr=stderr if stderr.is_wanted else None,
                        cwd=params.cwd,
                        env=params.env,
                        identity=resolve(params.user, params.group),
                    )
                )
            except (OSError, ValueError, OverflowError) as exc:
                raise WorkflowError(
                    f"the command of task {self.name!r} could not be started: {exc}; "
                    f"check cwd={params.cwd!r}, user={params.user!r} and group={params.group!r}"
                ) from exc
            if self._callback_process is not None:
                self._callback_process(group.pid, *arguments)
            # A signal that was made up for a test has no descriptor, and asks for no stop.
            return group.wait(stop_fileno if isinstance(stop_fileno, int) else None)

    def _failure(self, code: int, ok_codes: Collection[int] | None, stderr: IO[bytes] | None) -> str | None:
        """Why the task fails, or None if the exit code is a success."""
        if ok_codes is None or code in ok_codes:
            return None
        cause = f" ({strsignal(-code)})" if code < 0 else ""
        ending = f"ended with exit code {code}{cause}, which is not in ok_codes {ok_codes!r}"
        failure = f"the command of task {self.name!r} {ending}"
        tail = "" if stderr is None else last_lines(stderr)
        return f"{failure}; its last lines on stderr:\n{tail}" if tail else failure


def _output(
    files: contextlib.ExitStack, is_captured: bool, callback: LineCallback | None, arguments: _Arguments
) -> Output:
    file = files.enter_context(tempfile.TemporaryFile()) if is_captured else None  # noqa: SIM115 (`files` closes it)
    return Output(file, None if callback is None else lambda line: callback(line, *arguments))
