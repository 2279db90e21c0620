"""BashTask: its options, its callbacks, and how it ends."""

import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from unittest.mock import Mock, call, create_autospec

import cloudpickle
import pytest

from meshflow.errors import AbortWorkflow, StopTask, WorkflowError
from meshflow.models.action import Action
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks import BashTask
from tests.tasks.task_fakes import FakeRun, Watched

Run = Callable[[BaseTask], Action | None]
Watch = Callable[[int], Watched]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


class Ended:
    """A `callback_end` that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bytes | None, bytes | None]] = []

    def __call__(self, code: int, stdout: IO[bytes] | None, stderr: IO[bytes] | None, *_: object) -> None:
        self.calls.append((code, stdout.read() if stdout else None, stderr.read() if stderr else None))


@pytest.fixture
def output(run: Run) -> Callable[..., str]:
    """What a command writes to its standard output."""

    def run_command(command: Any, **options: Any) -> str:
        lines: list[str] = []
        run(BashTask("task", command, callback_stdout=lambda line, *_: lines.append(line), **options))
        return "".join(lines)

    return run_command


# --- what Lightflow promises ---


def test_the_command_is_executed_and_its_process_id_told(
    run: Run, tmp_path: Path, data: MultiTaskData, store: object, signal: object, context: object
) -> None:
    process = Mock()
    run(BashTask("task", f"echo $$ > {tmp_path}/pid", callback_process=process))
    assert process.mock_calls == [call(int((tmp_path / "pid").read_text()), data, store, signal, context)]


def test_each_line_goes_to_the_callback_of_its_stream(
    run: Run, data: MultiTaskData, store: object, signal: object, context: object
) -> None:
    stdout, stderr = Mock(), Mock()
    run(BashTask("task", "echo 1; echo 2 >&2; printf 3", callback_stdout=stdout, callback_stderr=stderr))
    assert stdout.mock_calls == [
        call("1\n", data, store, signal, context),
        call("3", data, store, signal, context),
    ]
    assert stderr.mock_calls == [call("2\n", data, store, signal, context)]


def test_a_command_that_does_not_exist_says_so_on_stderr_and_is_no_failure(run: Run, data: MultiTaskData) -> None:
    ended = Ended()
    action = run(BashTask("task", "no-such-command", capture_stderr=True, callback_end=ended))
    [(code, stdout, stderr)] = ended.calls
    assert (code, stdout) == (127, None)
    assert b"not found" in (stderr or b"")
    assert action is not None
    assert (action.data, action.limit) == (data, None)


def test_captured_files_hold_the_exact_bytes_and_are_rewound(run: Run) -> None:
    ended = Ended()
    task = BashTask(
        "task",
        "printf 'a\\377\\n'; printf 'b' >&2; exit 3",
        capture_stdout=True,
        capture_stderr=True,
        callback_stdout=Mock(),
        callback_end=ended,
    )
    run(task)
    assert ended.calls == [(3, b"a\xff\n", b"b")]


def test_the_callback_end_gets_the_data_and_the_rest(
    run: Run, data: MultiTaskData, store: object, signal: object, context: object
) -> None:
    end = Mock()
    run(BashTask("task", "true", callback_end=end))
    assert end.mock_calls == [call(0, None, None, data, store, signal, context)]


def test_a_stream_that_nobody_asks_for_is_inherited(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    run(BashTask("task", "echo out; echo err >&2", callback_stdout=Mock()))
    assert capfd.readouterr() == ("", "err\n")
    run(BashTask("task", "echo out; echo err >&2", capture_stderr=True))
    assert capfd.readouterr() == ("out\n", "")


# --- how a task ends before its command ---

RAISED = [StopTask, AbortWorkflow, RuntimeError, StopIteration, KeyboardInterrupt, SystemExit]


@pytest.mark.parametrize("error", RAISED)
@pytest.mark.parametrize("callback", ["callback_process", "callback_stdout", "callback_stderr"])
def test_an_exception_of_a_callback_ends_the_command_and_is_the_tasks(
    run: Run, watch: Watch, callback: str, error: type[BaseException]
) -> None:
    watched: list[Watched] = []

    def fail(first: int | str, *_: object) -> None:
        watched.extend(watch(int(pid)) for pid in str(first).split())
        raise error("enough")

    end = Mock()
    where = " >&2" if callback == "callback_stderr" else ""
    command = f"sleep 60 & echo $$ $!{where}; wait"
    task = BashTask("task", command, capture_stdout=True, callback_end=end, **{callback: fail})  # type: ignore[arg-type]
    with pytest.raises(error, match="enough"):
        run(task)
    assert [each.has_ended() for each in watched] == [True] * len(watched) != []
    assert end.mock_calls == []


def test_an_exception_of_the_last_line_or_of_the_callback_end_is_the_tasks(run: Run) -> None:
    with pytest.raises(StopTask, match="enough"):
        run(BashTask("task", "printf x", callback_stdout=Mock(side_effect=StopTask("enough"))))
    with pytest.raises(ValueError, match="enough"):
        run(BashTask("task", "true", callback_end=Mock(side_effect=ValueError("enough"))))


def test_a_stop_of_the_run_ends_the_command_and_the_task_counts_as_stopped(
    run: Run, owner: FakeRun, watch: Watch
) -> None:
    watched: list[Watched] = []

    def stop(pid: int, *_: object) -> None:
        watched.append(watch(pid))
        owner.stop()

    end = Mock()
    with pytest.raises(StopTask, match="the run was asked to stop"):
        run(BashTask("task", "sleep 60; true", callback_process=stop, callback_end=end))
    assert watched[0].has_ended()
    assert end.mock_calls == []


def test_a_signal_that_is_a_mock_asks_for_no_stop(data: MultiTaskData, store: Any, context: Any) -> None:
    BashTask("task", "true").run(data, store, create_autospec(TaskSignal, instance=True), context)


# --- exit codes ---


@pytest.mark.parametrize("ok_codes", [[0, 3], (3,), {3}, range(2, 5)])
def test_an_exit_code_that_is_listed_is_a_success(run: Run, ok_codes: Any) -> None:
    assert run(BashTask("task", "exit 3", ok_codes=ok_codes)) is not None


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("exit 3", "the command of task 'task' ended with exit code 3, which is not in ok_codes [0]"),
        ("kill -KILL $$", "ended with exit code -9 (Killed), which is not in ok_codes [0]"),
    ],
)
def test_another_exit_code_fails_the_task(run: Run, command: str, text: str) -> None:
    with pytest.raises(WorkflowError, match=re.escape(text) + "$"):
        run(BashTask("task", command, ok_codes=[0]))


def test_the_failure_tells_the_last_lines_of_a_captured_stderr(run: Run) -> None:
    def close(code: int, stdout: object, stderr: IO[bytes] | None, *_: object) -> None:
        assert code == 1
        assert stderr is not None
        assert stderr.read() == b"no disk\nno hope\n"
        stderr.close()

    task = BashTask(
        "task", "echo no disk >&2; echo no hope >&2; exit 1", capture_stderr=True, callback_end=close, ok_codes=[0]
    )
    with pytest.raises(WorkflowError, match=r"ok_codes \[0\]; its last lines on stderr:\nno disk\nno hope$"):
        run(task)


def test_a_silent_failure_has_no_last_lines(run: Run) -> None:
    with pytest.raises(WorkflowError, match=r"ok_codes \[0\]$"):
        run(BashTask("task", "exit 1", capture_stderr=True, ok_codes=[0]))


# --- options ---


def test_input_is_written_as_text(output: Callable[..., str]) -> None:
    assert output("cat", stdin="één\ntwee\n") == "één\ntwee\n"
    assert output("cat; echo end", stdin="") == "end\n"


def test_bytes_that_are_not_utf8_are_replaced(output: Callable[..., str]) -> None:
    assert output("printf '\\303\\251\\377\\n'") == "é\ufffd\n"


def test_the_environment_is_replaced_not_merged(output: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_THE_NODE", "1")
    assert output('echo "$A-$FROM_THE_NODE"', env={"A": "a"}) == "a-\n"
    assert output('echo "$FROM_THE_NODE"') == "1\n"


def test_the_working_directory_is_set(output: Callable[..., str], tmp_path: Path) -> None:
    assert output("pwd -P", cwd=tmp_path) == f"{tmp_path.resolve()}\n"


@needs_root
def test_user_and_group_are_set_together_and_roots_groups_are_left(output: Callable[..., str]) -> None:
    nobody = pwd.getpwnam("nobody")
    ids = f"{nobody.pw_uid} 12345\n12345"
    assert output("echo $(id -u) $(id -g); id -G", user=nobody.pw_uid, group=12345).startswith(ids)
    assert output("id -u", user="nobody", group=nobody.pw_gid) == f"{nobody.pw_uid}\n"


@needs_root
def test_a_user_alone_changes_the_user_only(output: Callable[..., str]) -> None:
    nobody = pwd.getpwnam("nobody")
    assert output("echo $(id -u) $(id -g)", user="nobody") == f"{nobody.pw_uid} {os.getgid()}\n"


def test_computed_options_are_evaluated_once_in_order_and_the_command_last(
    output: Callable[..., str], data: MultiTaskData, store: object
) -> None:
    seen: list[str] = []

    def computed(name: str, value: object) -> Callable[[object, object], object]:
        def compute(*arguments: object) -> object:
            assert arguments == (data, store)
            seen.append(name)
            return value

        return compute

    options = {
        "cwd": "/",
        "env": {"A": "a"},
        "user": None,
        "group": None,
        "stdin": "in",
        "refresh_time": 0.5,
        "capture_stdout": True,
        "capture_stderr": False,
        "ok_codes": [0],
    }
    shuffled = {name: computed(name, options[name]) for name in reversed(options)}
    assert output(computed("command", 'echo "$PWD $A"; cat'), **shuffled) == "/ a\nin"
    assert seen == [*options, "command"]


def test_the_options_of_a_task_are_accepted() -> None:
    task = BashTask("task", "true", queue="gpu", force_run=True, retries=2, timeout=1.5)
    assert (task.queue, task.has_to_run, task.retries, task.timeout) == ("gpu", True, 2, 1.5)


def test_a_task_travels_as_a_pickle(run: Run) -> None:
    task = BashTask("task", lambda data, store: f"exit {data['value']}", ok_codes=[5], callback_end=lambda *_: None)
    assert run(cloudpickle.loads(cloudpickle.dumps(task))) is not None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"command": ["ls"]}, "command of task 'task' is ['ls'], expected one of: str"),
        ({"command": lambda data, store: None}, "command of task 'task' is None, expected one of: str"),
        ({"cwd": 5}, "cwd of task 'task' is 5, expected one of: str, PathLike, NoneType"),
        ({"cwd": "/no/such/folder"}, "No such file or directory: '/no/such/folder'; check cwd='/no/such/folder'"),
        ({"env": "A=a"}, "env of task 'task' is 'A=a', expected one of: Mapping, NoneType"),
        ({"env": {"A": 1}}, "env of task 'task' has 'A': 1, expected strings"),
        ({"env": {1: "a"}}, "env of task 'task' has 1: 'a', expected strings"),
        ({"stdin": 5}, "stdin of task 'task' is 5"),
        ({"user": "no-such-user"}, "could not be started: unknown user 'no-such-user' on this host"),
        ({"group": "no-such-group"}, "could not be started: unknown group 'no-such-group' on this host"),
        ({"user": 2**70}, "could not be started"),
        ({"command": "a\0b"}, "could not be started: embedded null byte"),
        (
            {"ok_codes": 0},
            "ok_codes of task 'task' is 0, expected one of: list, tuple, range, set, frozenset, NoneType",
        ),
    ],
)
def test_a_wrong_option_is_refused_with_its_value(run: Run, options: dict[str, Any], text: str) -> None:
    with pytest.raises(WorkflowError, match=re.escape(text)):
        run(BashTask("task", **({"command": "true"} | options)))
