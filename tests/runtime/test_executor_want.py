"""A host that is short of descriptors, memory or processes for a while: tasks wait, and the log says for what."""

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshflow.core.records import State
from meshflow.runtime import launcher, want
from tests.runtime.executor_bench import ExecutorBench
from tests.runtime.queueing import pids_of, tell

MakeBench = Callable[..., ExecutorBench]

SHORT = """
import os
from pathlib import Path

folder, fork = Path({folder!r}), os.fork

def try_fork():
    with (folder / "forks").open("a") as file:
        file.write("!")
    if (folder / "short").exists():
        raise OSError({number}, os.strerror({number}))
    return fork()

os.fork = try_fork
"""
"""Goes before the program of the template: as long as the file `short` is there, it cannot fork."""


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(want, "_PAUSE_S", 0.01)


class Host:
    """A host on which templates cannot fork for a while."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._start = launcher._START

    def run_short(self, number: int = errno.EAGAIN) -> None:
        """From now on they cannot, and say this."""
        short = SHORT.format(folder=str(self._folder), number=number)
        self._monkeypatch.setattr(launcher, "_START", short + self._start)
        (self._folder / "short").touch()

    def recover(self) -> None:
        """They can again."""
        (self._folder / "short").unlink()

    @property
    def fork_count(self) -> int:
        """How often one has tried."""
        path = self._folder / "forks"
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """The host of the next executors."""
    return Host(tmp_path, monkeypatch)


def until(bench: ExecutorBench, condition: Callable[[], object]) -> None:
    """Let the loop run until something comes true that the bench is not told."""

    def look() -> None:
        bench._news.set()
        bench.loop.call_later(0.005, look)

    look()
    bench.until(condition)


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS]
)
def test_a_task_waits_for_what_the_host_lacks(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    bench = make_bench()
    socketpair, left = socket.socketpair, [1, 2, 3]

    def refuse(*arguments: Any) -> Any:
        if left and left.pop():
            raise OSError(number, os.strerror(number))
        return socketpair(*arguments)

    monkeypatch.setattr("socket.socketpair", refuse)

    ended = bench.run(lambda *_: None, timeout_s=60.0)

    assert ended.state is State.COMPLETED, ended.reason
    assert left == []
    why = f"[Errno {number}] {os.strerror(number)}"
    assert f"tasks wait, for no task process can be given any: {why}" in caplog.text


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_tasks_wait_until_the_template_can_fork_again(
    make_bench: MakeBench, host: Host, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    bench = make_bench()
    bench.executor.resize(2)
    host.run_short(number)
    attempts = [bench.start(tell, timeout_s=60.0) for _ in range(5)]

    until(bench, lambda: host.fork_count >= 10)
    assert bench.ends == {}
    assert f"tasks wait, for no task process can be given any: [Errno {number}]" in caplog.text
    host.recover()

    assert {bench.end(attempt).state for attempt in attempts} == {State.COMPLETED}
    assert len(bench.executor.process_ids) <= 2


def test_forks_that_are_refused_do_not_follow_each_other_without_a_pause(
    make_bench: MakeBench, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(want, "_PAUSE_S", 3600.0)
    bench = make_bench()
    bench.executor.resize(2)
    host.run_short()
    bench.start(tell)
    until(bench, lambda: host.fork_count)
    for _ in range(20):
        bench.start(tell)
    until(bench, lambda: not bench.executor._fleet.processes)

    assert host.fork_count <= 4
    assert bench.ends == {}


def test_what_processes_there_are_do_the_work_meanwhile(make_bench: MakeBench, host: Host) -> None:
    bench = make_bench()
    bench.executor.resize(1)
    host.run_short()
    host.recover()
    (pid,) = pids_of(bench, [bench.start(tell)])
    (Path(host._folder) / "short").touch()
    bench.executor.resize(3)
    attempts = [bench.start(tell) for _ in range(30)]

    assert set(pids_of(bench, attempts)) == {pid}
    assert host.fork_count > 1


def test_a_template_that_cannot_be_started_for_want_of_processes_is_waited_for(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, left = subprocess.Popen, [1] * 5

    def refuse(*arguments: Any, **more: Any) -> Any:
        if left and left.pop():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return start(*arguments, **more)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    bench = make_bench()
    bench.executor.resize(1)

    assert bench.still_works()
    assert left == []


def test_a_fork_that_is_refused_for_good_fails_the_task_with_the_reason(make_bench: MakeBench, host: Host) -> None:
    bench = make_bench()
    bench.executor.resize(1)
    host.run_short(errno.EPERM)

    ended = bench.run(tell)

    assert ended.state is State.FAILED
    assert ended.reason == "the task process could not be started: [Errno 1] Operation not permitted"
