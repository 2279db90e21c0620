"""How tasks are ended: timeouts and kills, and what becomes of all that they had started."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from meshflow.core.records import State
from meshflow.tasks.bash_task import BashTask
from tests.runtime.executor_bench import ExecutorBench, is_alive

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]


def test_a_task_that_takes_too_long_is_ended(bench: ExecutorBench) -> None:
    def hang(*_: Given) -> None:
        import threading

        threading.Event().wait()

    ended = bench.run(hang, timeout_s=0.05)

    assert (ended.state, ended.reason) == (State.FAILED, "ran longer than its timeout of 0.05 s")
    assert bench.still_works()


def test_a_killed_task_can_clean_up_and_its_output_is_kept(bench: ExecutorBench) -> None:
    def careful(*_: Given) -> None:
        import threading

        try:
            print("ready")
            threading.Event().wait()
        finally:
            print("cleaned up")

    attempt = bench.start(careful)
    bench.until_printed(attempt)
    bench.executor.kill(attempt, "cancelled", 30.0)
    bench.executor.kill(attempt, "again", 30.0)

    ended = bench.end(attempt)

    assert (ended.state, ended.reason) == (State.FAILED, "cancelled")
    assert bench.printed(attempt).splitlines() == ["ready", "cleaned up"]


@pytest.mark.parametrize("stubbornness", ["except", "handler", "ignore"])
def test_a_task_that_goes_on_after_being_told_to_end_is_failed_all_the_same(
    bench: ExecutorBench, stubbornness: str
) -> None:
    def stubborn(data: Given, *_: Given) -> None:
        import threading

        told = threading.Event()
        if stubbornness == "handler":
            signal.signal(signal.SIGTERM, lambda *_: told.set())
        if stubbornness == "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            print("ready")
            told.wait()
        except BaseException:
            data["x"] = 1

    attempt = bench.start(stubborn)
    bench.until_printed(attempt)
    bench.executor.kill(attempt, "cancelled", 0.1 if stubbornness == "ignore" else 30.0)

    ended = bench.end(attempt)

    assert (ended.state, ended.reason) == (State.FAILED, "cancelled")
    assert bench.still_works()


def test_a_kill_reaches_all_that_a_task_has_started_in_whatever_session(bench: ExecutorBench) -> None:
    command = "trap '' TERM; sleep 60 & echo $!; setsid sleep 60 & echo $!; (setsid sleep 60 & echo $!); echo $$; wait"
    attempt = bench.start(BashTask("tree", command))
    pids = [int(line) for line in bench.until_printed(attempt, 4)]
    assert all(map(is_alive, pids))

    bench.executor.kill(attempt, "cancelled", 0.1)

    assert bench.end(attempt).reason == "cancelled"
    assert not any(map(is_alive, pids))


def test_what_a_task_has_started_is_given_the_time_to_clean_up_too(bench: ExecutorBench) -> None:
    def leave_alone(*_: Given) -> None:
        import subprocess
        import threading

        subprocess.Popen(["sh", "-c", "trap 'sleep 0.05; echo tidied; exit' TERM; echo ready; sleep 60 & wait"])
        threading.Event().wait()

    attempt = bench.start(leave_alone)
    bench.until_printed(attempt)

    bench.executor.kill(attempt, "cancelled", 30.0)

    bench.end(attempt)
    assert bench.printed(attempt).splitlines() == ["ready", "tidied"]


def test_a_kill_with_no_grace_is_at_once(bench: ExecutorBench) -> None:
    def stubborn(*_: Given) -> None:
        import threading

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready")
        threading.Event().wait()

    attempt = bench.start(stubborn)
    bench.until_printed(attempt)

    bench.executor.kill(attempt, "cancelled", 0.0)

    assert bench.end(attempt).reason == "cancelled"


def test_a_task_can_be_killed_before_its_process_is_forked(make_bench: MakeBench) -> None:
    bench = make_bench()
    attempt = bench.start(lambda *_: None)

    bench.executor.kill(attempt, "cancelled", 30.0)

    assert bench.end(attempt).reason == "cancelled"


def test_orders_for_an_attempt_that_has_ended_do_nothing(bench: ExecutorBench) -> None:
    attempt = bench.start(lambda *_: None)
    bench.end(attempt)

    bench.executor.kill(attempt, "too late", 0.0)
    bench.executor.tell_stopping(attempt)
    bench.executor.answer(attempt, 1, None)

    assert bench.still_works()
