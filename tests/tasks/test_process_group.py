"""A command and its children: how they are fed, heard, awaited and ended."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from meshflow.errors import StopTask
from meshflow.tasks import process_group
from meshflow.tasks.identity import Identity
from meshflow.tasks.output import Output
from meshflow.tasks.process_group import ProcessGroup, running
from tests.tasks.task_fakes import FakeRun, Watched

Watch = Callable[[int], Watched]

SOON_S = 30.0
"""Far more than what is measured takes, far less than the commands that must not be waited for."""


def start(command: str, **options: Any) -> AbstractContextManager[ProcessGroup]:
    given: dict[str, Any] = {"stdin": None, "stdout": None, "stderr": None, "cwd": None, "env": None}
    return running(command, identity=Identity(), **(given | options))


def heard(lines: list[str]) -> Output:
    return Output(None, lines.append)


@pytest.fixture(params=["pidfd", "thread"])
def exit_watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of noticing the end of the shell."""
    if request.param == "thread":
        monkeypatch.delattr(os, "pidfd_open")


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """No test waits for a command that it should have ended."""
    began_at = time.monotonic()
    yield
    assert time.monotonic() - began_at < SOON_S


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 3", 3), ("kill -KILL $$", -9)])
@pytest.mark.usefixtures("exit_watch")
def test_the_exit_code_is_returned(command: str, code: int) -> None:
    with start(command) as group:
        assert group.wait(None) == code


@pytest.mark.usefixtures("exit_watch")
def test_the_command_runs_in_a_session_of_its_own() -> None:
    lines: list[str] = []
    with start("echo $$; ps -o sid= -p $$ 2>/dev/null || echo $$", stdout=heard(lines)) as group:
        group.wait(None)
    assert {int(line) for line in lines} == {group.pid}


def test_a_kernel_without_pidfd_is_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> int:
        raise OSError("not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with start("exit 3") as group:
        assert group.wait(None) == 3


def test_both_streams_are_drained_at_once() -> None:
    """More than a pipe holds goes to one stream while the other one is silent, and then the other way round."""
    flood = "head -c 300000 /dev/zero | tr '\\0' 'x'; echo"
    stdout: list[str] = []
    stderr: list[str] = []
    with start(f"({flood}) >&2; {flood}", stdout=heard(stdout), stderr=heard(stderr)) as group:
        assert group.wait(None) == 0
    assert [len(line) for line in stdout + stderr] == [300_001, 300_001]


def test_input_is_written_and_closed() -> None:
    lines: list[str] = []
    with start("cat; echo end", stdin=b"one\ntwo\n", stdout=heard(lines)) as group:
        group.wait(None)
    assert lines == ["one\n", "two\n", "end\n"]


def test_more_input_than_a_pipe_holds_is_written_while_the_output_is_read() -> None:
    lines: list[str] = []
    with start("cat", stdin=b"x" * 999_999 + b"\n", stdout=heard(lines)) as group:
        group.wait(None)
    assert [len(line) for line in lines] == [1_000_000]


def test_empty_input_is_the_end_of_input() -> None:
    lines: list[str] = []
    with start("cat; echo end", stdin=b"", stdout=heard(lines)) as group:
        group.wait(None)
    assert lines == ["end\n"]


def test_a_command_without_input_reads_nothing() -> None:
    lines: list[str] = []
    with start("cat; echo end", stdout=heard(lines)) as group:
        group.wait(None)
    assert lines == ["end\n"]


def test_a_command_need_not_read_its_input() -> None:
    with start("true", stdin=b"x" * 1_000_000) as group:
        assert group.wait(None) == 0


def test_a_command_may_close_its_input_and_go_on(tmp_path: Path) -> None:
    """The broken pipe is noticed while the command still runs: it waits for our word, which comes later."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    lines: list[str] = []

    def answer(line: str) -> None:
        lines.append(line)
        if line == "closed\n":
            fifo.write_text("go on\n")

    command = f"exec 0<&-; echo closed; cat {fifo}; echo more"
    with start(command, stdin=b"x" * 1_000_000, stdout=Output(None, answer)) as group:
        assert group.wait(None) == 0
    assert lines == ["closed\n", "go on\n", "more\n"]


@pytest.mark.usefixtures("exit_watch")
def test_a_child_in_the_background_that_holds_a_stream_is_waited_for(tmp_path: Path) -> None:
    """The child writes only after the shell has gone: it waits for our word, and the shell for nothing."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    lines: list[str] = []

    def answer(line: str) -> None:
        lines.append(line)
        if line == "early\n":
            fifo.write_text("late\n")

    with start(f"cat {fifo} & echo early", stdout=Output(None, answer)) as group:
        assert group.wait(None) == 0
    assert lines == ["early\n", "late\n"]


def test_a_child_in_the_background_that_holds_no_stream_lives_on(watch: Watch) -> None:
    lines: list[str] = []
    with start("sleep 60 > /dev/null & echo $!", stdout=heard(lines)) as group:
        group.wait(None)
    child = int(lines[0])
    watched = watch(child)
    assert watched.is_running()
    os.kill(child, signal.SIGKILL)


@pytest.mark.usefixtures("exit_watch")
def test_a_stop_ends_the_command_and_its_children(owner: FakeRun, watch: Watch) -> None:
    watched: list[Watched] = []

    def stop(line: str) -> None:
        watched.extend(watch(int(pid)) for pid in line.split())
        owner.stop()

    command = "sleep 60 & first=$!; (sleep 60; true) & echo $$ $first $!; wait"
    with pytest.raises(StopTask), start(command, stdout=Output(None, stop)) as group:
        group.wait(owner.stop_fileno())
    assert [each.has_ended() for each in watched] == [True, True, True]


def test_a_stop_ends_children_whose_shell_has_gone(owner: FakeRun, watch: Watch) -> None:
    watched: list[Watched] = []

    def stop(line: str) -> None:
        watched.append(watch(int(line)))
        owner.stop()

    with pytest.raises(StopTask), start("sleep 60 & echo $!", stdout=Output(None, stop)) as group:
        group.wait(owner.stop_fileno())
    assert watched[0].has_ended()


def test_leaving_the_block_early_ends_the_command(watch: Watch) -> None:
    with start("sleep 60", stdin=b"x" * 1_000_000) as group:
        watched = watch(group.pid)
    assert watched.has_ended()


def test_who_ignores_sigterm_is_killed_after_the_grace(
    monkeypatch: pytest.MonkeyPatch, owner: FakeRun, watch: Watch
) -> None:
    monkeypatch.setattr(process_group, "GRACE_S", 0.1)
    watched: list[Watched] = []

    def stop(line: str) -> None:
        watched.append(watch(int(line)))
        owner.stop()

    with (
        pytest.raises(StopTask),
        start("trap '' TERM; echo $$; sleep 60; sleep 60", stdout=Output(None, stop)) as group,
    ):
        group.wait(owner.stop_fileno())
    assert watched[0].has_ended()


def test_the_grace_is_for_the_children_too_and_they_are_not_heard(tmp_path: Path, owner: FakeRun) -> None:
    """The shell dies of SIGTERM at once. Its child says goodbye, at more length than a pipe can take."""
    goodbye = tmp_path / "goodbye"
    script = tmp_path / "script.py"
    script.write_text(
        "import os, pathlib, signal, sys\n"
        "def say_goodbye(*_):\n"
        "    os.write(1, b'x' * 300_000)\n"
        f"    pathlib.Path({str(goodbye)!r}).touch()\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, say_goodbye)\n"
        "os.write(1, b'ready\\n')\n"
        "signal.pause()\n"
    )
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        owner.stop()

    command = f"{sys.executable} -S -E {script}; true"
    with pytest.raises(StopTask), start(command, stdin=b"x" * 1_000_000, stdout=Output(None, stop)) as group:
        group.wait(owner.stop_fileno())
    assert goodbye.exists()
    assert lines == ["ready\n"]


def test_who_cannot_be_ended_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(process_group, "GRACE_S", 0.05)
        patch.setattr(os, "killpg", refuse)
        with start("sleep 60") as group:
            pass
    assert f"process group {group.pid} is still there 0.05 s after SIGKILL" in caplog.text
    os.killpg(group.pid, signal.SIGKILL)
    group._process.wait()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"cwd": "/no/such/folder"}, FileNotFoundError), ({"env": {"A=B": "c"}}, ValueError)],
)
def test_a_command_that_cannot_start_leaves_nothing_open(options: dict[str, Any], error: type[Exception]) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(error), start("true", stdin=b"", stdout=heard([]), **options):
        pass
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.usefixtures("exit_watch")
def test_a_command_that_ran_leaves_nothing_open(owner: FakeRun) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with start("cat; echo x >&2", stdin=b"a", stdout=heard([]), stderr=heard([])) as group:
        group.wait(owner.stop_fileno())
    with start("sleep 60", stdin=b"a", stdout=heard([]), stderr=heard([])):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_time_is_spent_while_waiting() -> None:
    """Nothing is polled: the number of wake-ups does not depend on how long the command takes."""
    with start("sleep 0.2") as group:
        wake_ups = 0
        select = group._selector.select

        def count(timeout: float | None = None) -> Any:
            nonlocal wake_ups
            wake_ups += 1
            return select(timeout)

        group._selector.select = count  # type: ignore[method-assign]
        group.wait(None)
    assert wake_ups == 1
