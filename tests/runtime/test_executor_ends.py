"""How tasks end by themselves when they do not end well: errors, and processes that die under them."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from meshflow.core.records import State
from meshflow.errors import AbortWorkflow, StopTask
from meshflow.tasks.bash_task import BashTask
from tests.runtime.executor_bench import ExecutorBench, data_of, is_alive

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]


# --- a task raises ---


def test_an_error_is_told_in_one_line_followed_by_the_users_part_of_the_traceback(bench: ExecutorBench) -> None:
    def inner() -> None:
        raise ValueError("no\nsuch sample")

    def outer(*_: Given) -> None:
        inner()

    ended = bench.run(outer)

    assert ended.state is State.FAILED
    first, second, *rest = ended.reason.splitlines()
    assert first == "ValueError: no such sample"
    assert second == "Traceback (most recent call last):"
    assert "in outer" in rest[0]
    assert "meshflow/" not in ended.reason
    assert bench.still_works()


def test_the_reason_of_a_deep_error_is_bounded(bench: ExecutorBench) -> None:
    def fail(*_: Given) -> None:
        def dig(depth: int) -> None:
            if depth == 0:
                raise RuntimeError("x" * 100_000)
            if depth % 2:  # Two lines in turn, for lines that repeat are told as one.
                dig(depth - 1)
            dig(depth - 1)

        dig(500)

    ended = bench.run(fail)

    assert ended.reason.startswith("RuntimeError: xxx")
    assert len(ended.reason) <= 16 * 1024


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (GeneratorExit("out"), "GeneratorExit: out"),
    ],
)
def test_what_would_end_a_program_only_fails_a_task(bench: ExecutorBench, error: BaseException, reason: str) -> None:
    def leave(*_: Given) -> None:
        raise error

    ended = bench.run(leave)

    assert ended.state is State.FAILED
    assert ended.reason.splitlines()[0] == reason
    assert bench.still_works()


def test_a_process_forked_by_a_task_ends_as_its_own_and_says_nothing(bench: ExecutorBench) -> None:
    def fork(data: Given, *_: Given) -> None:
        if os.fork() == 0:
            sys.exit(3)
        first = os.waitstatus_to_exitcode(os.wait()[1])
        if os.fork() == 0:
            return
        data["codes"] = first, os.waitstatus_to_exitcode(os.wait()[1])

    assert data_of(bench.run(fork))["codes"] == (3, 0)
    assert bench.still_works()


def test_stop_task_hands_on_the_data_and_selects_nobody(bench: ExecutorBench) -> None:
    def stop(data: Given, *_: Given) -> None:
        data["x"] = 1
        raise StopTask("enough")

    ended = bench.run(stop)

    assert (ended.state, ended.reason, ended.limit) == (State.STOPPED, "enough", ())
    assert ended.value.size_bytes > 0


def test_abort_workflow_ends_as_aborted(bench: ExecutorBench) -> None:
    def abort(*_: Given) -> None:
        raise AbortWorkflow("beam is down")

    ended = bench.run(abort)

    assert (ended.state, ended.reason, ended.limit) == (State.ABORTED, "beam is down", None)


def test_a_result_that_is_no_action_fails_the_task(bench: ExecutorBench) -> None:
    ended = bench.run(lambda *_: 5)

    assert ended.state is State.FAILED
    assert ended.reason == "TaskReturnActionInvalid: task 'work' returned int 5; a task returns None or an Action"


def test_a_result_that_cannot_be_pickled_fails_the_task_and_is_named(bench: ExecutorBench) -> None:
    def lock(data: Given, *_: Given) -> None:
        import threading

        data["fine"] = 1
        data["lock"] = threading.Lock()

    ended = bench.run(lock)

    assert ended.state is State.FAILED
    assert ended.reason.startswith("PickleFailed: the value under 'lock' (lock) cannot be pickled: TypeError:")


def test_a_task_that_cannot_be_made_here_fails_with_the_missing_module(bench: ExecutorBench) -> None:
    class Needy:
        def __reduce__(self) -> tuple[Any, ...]:
            return (__import__, ("a_module_that_is_missing",))

    needy = Needy()

    def use(*_: Given) -> None:
        raise AssertionError(needy)

    ended = bench.run(use)

    assert ended.state is State.FAILED
    assert ended.reason.splitlines()[0].startswith(
        "WorkflowImportError: task 'work' cannot be loaded on this node: "
        "ModuleNotFoundError: No module named 'a_module_that_is_missing'"
    )


# --- a process dies ---


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        (lambda *_: os._exit(3), "the task process exited with code 3"),
        (lambda *_: os.kill(os.getpid(), signal.SIGSEGV), "the task process was killed by SIGSEGV"),
        (
            lambda *_: os.kill(os.getpid(), signal.SIGKILL),
            "the task process was killed by SIGKILL (the system does so when it runs out of memory)",
        ),
    ],
)
def test_the_death_of_a_process_is_the_reason_of_its_task(
    bench: ExecutorBench, death: Callable[..., None], reason: str
) -> None:
    def die(*_: Given) -> None:
        print("last words")
        death()

    attempt = bench.start(die)
    ended = bench.end(attempt)

    assert (ended.state, ended.reason) == (State.FAILED, reason)
    assert bench.printed(attempt) == "last words\n"
    assert 0 < ended.started_at <= ended.ended_at
    assert bench.still_works()


def test_a_crash_shows_where_in_the_users_code(bench: ExecutorBench) -> None:
    def crash(*_: Given) -> None:
        import ctypes

        ctypes.string_at(0)

    attempt = bench.start(crash)
    bench.end(attempt)

    assert "in crash" in bench.printed(attempt, "stderr")


def test_what_a_process_that_died_had_started_is_dead_before_its_task_is_finished(bench: ExecutorBench) -> None:
    def die(*_: Given) -> None:
        os.system("sleep 60 & echo $!; setsid sleep 60 & echo $!")
        os.kill(os.getpid(), signal.SIGKILL)

    attempt = bench.start(die)
    bench.end(attempt)

    left = [int(line) for line in bench.printed(attempt).splitlines()]
    assert len(left) == 2
    assert not any(map(is_alive, left))


def test_the_death_of_an_idle_process_is_no_ones_failure(bench: ExecutorBench) -> None:
    pids = bench.executor.process_ids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        bench.until_gone(pid)

    assert bench.still_works()


def test_a_task_that_closes_all_descriptors_fails(bench: ExecutorBench) -> None:
    def close(*_: Given) -> None:
        import threading

        os.closerange(3, 100)
        threading.Event().wait()

    assert bench.run(close).reason == "the task process closed its connection to the node"
    assert bench.still_works()


def test_a_task_that_writes_into_the_connection_fails(bench: ExecutorBench) -> None:
    def scribble(*_: Given) -> None:
        import threading

        for fileno in range(3, 20):
            if os.path.exists(f"/proc/self/fd/{fileno}"):
                os.write(fileno, b"\x00nonsense")
        threading.Event().wait()

    assert bench.run(scribble).reason.startswith("the task process sent what it should not: not a frame")
    assert bench.still_works()


# --- the template dies ---


def test_when_the_template_dies_its_tasks_fail_with_all_they_started_and_the_next_ones_run(
    make_bench: MakeBench,
) -> None:
    bench = make_bench()
    attempt = bench.start(BashTask("tree", "setsid sleep 60 & echo $!; echo $$; wait"))
    pids = [int(line) for line in bench.until_printed(attempt, 2)]
    (task_process,) = bench.executor.process_ids
    with open(f"/proc/{task_process}/stat") as file:
        template = int(file.read().rpartition(")")[2].split()[1])

    os.kill(template, signal.SIGKILL)

    reason = "the task process was lost with the process that starts them, which was killed by SIGKILL"
    assert bench.end(attempt).reason == reason
    for pid in (*pids, task_process):
        bench.until_gone(pid)
    assert bench.still_works()


@pytest.mark.parametrize(
    ("executable", "reason"),
    [
        ("/bin/false", "the task process was lost with the process that starts them, which exited with code 1"),
        (
            "/nowhere/python",
            "the task process could not be started: [Errno 2] No such file or directory: '/nowhere/python'",
        ),
    ],
)
def test_a_template_that_cannot_start_fails_the_tasks_with_the_reason(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, executable: str, reason: str
) -> None:
    bench = make_bench()
    monkeypatch.setattr(sys, "executable", executable)

    assert bench.run(lambda *_: None).reason == reason

    monkeypatch.undo()
    assert data_of(bench.run(lambda *_: None)) == {}
