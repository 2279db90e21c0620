"""Jobs given to a task process ahead: order, output, recall, and what becomes of them when something breaks."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.records import State
from meshflow.runtime import task_process
from meshflow.tasks.bash_task import BashTask
from meshflow.tasks.python_task import PythonTask
from tests.runtime.executor_bench import ExecutorBench, data_of
from tests.runtime.queueing import held, let_go, pids_of, stop, tell

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]

LARGE = bytes(range(256)) * 12 * 1024


# --- order and output ---


def test_jobs_run_in_the_order_of_their_start_in_one_process(single: ExecutorBench) -> None:
    attempts = [single.start(tell) for _ in range(200)]

    assert len(set(pids_of(single, attempts))) == 1
    assert list(single.ends) == attempts


def printers() -> list[tuple[Callable[..., None] | BashTask, str, str]]:
    """Tasks that print in all ways, and what each prints to both streams."""

    def by_print(*_: Given) -> None:
        print("by print")

    def by_descriptor(*_: Given) -> None:
        os.write(1, b"by the descriptor\n")

    def without_newline(*_: Given) -> None:
        print("without newline", end="")

    def to_both(*_: Given) -> None:
        print("trouble", file=sys.stderr)
        print("fine")

    def much(*_: Given) -> None:
        print("x" * 1_000_000)

    def as_its_last_word(*_: Given) -> None:
        sys.stderr.write("almost there")
        os.write(2, b", done")

    def nothing(*_: Given) -> None:
        pass

    once: list[tuple[Callable[..., None] | BashTask, str, str]] = [
        (by_print, "by print\n", ""),
        (nothing, "", ""),
        (by_descriptor, "by the descriptor\n", ""),
        (without_newline, "without newline", ""),
        (BashTask("program", "echo by a program; echo aside >&2"), "by a program\n", "aside\n"),
        (nothing, "", ""),
        (nothing, "", ""),
        (to_both, "fine\n", "trouble\n"),
        (as_its_last_word, "", ", donealmost there"),
    ]
    return once * 22 + [(much, "x" * 1_000_000 + "\n", ""), (nothing, "", "")] * 2


def test_all_output_belongs_to_the_attempt_that_printed_it(single: ExecutorBench) -> None:
    given = printers()
    attempts = [single.start(task) for task, _, _ in given]
    for attempt in attempts:
        assert single.end(attempt).state is State.COMPLETED

    assert [single.printed(attempt) for attempt in attempts] == [stdout for _, stdout, _ in given]
    heard = [single.printed(attempt, "stderr") for attempt in attempts]
    assert [sorted(each) for each in heard] == [sorted(stderr) for _, _, stderr in given]


def test_output_that_is_read_just_before_the_end_of_its_task_takes_none_of_the_next(single: ExecutorBench) -> None:
    """Many short tasks that all print: the node reads at every moment of their lives."""
    attempts = []
    for number in range(600):

        def say(*_: Given, number: int = number) -> None:
            print(number)

        attempts.append(single.start(say))
    for attempt in attempts:
        single.end(attempt)

    assert [single.printed(attempt) for attempt in attempts] == [f"{number}\n" for number in range(600)]


def test_a_thread_that_prints_for_ever_does_not_keep_the_next_tasks_from_their_turn(single: ExecutorBench) -> None:
    def leave(*_: Given) -> None:
        import threading

        def print_on() -> None:
            while True:
                os.write(1, b"again and again\n" * 1000)
                started.set()

        started = threading.Event()
        threading.Thread(target=print_on, daemon=True).start()
        started.wait()

    attempts = [single.start(leave), *[single.start(tell) for _ in range(3)]]

    assert {single.end(attempt).state for attempt in attempts} == {State.COMPLETED}


def test_a_process_whose_pipes_never_are_empty_is_replaced(single: ExecutorBench) -> None:
    def fill(data: Given, *_: Given) -> None:
        from meshflow.runtime import child, processes

        child._HEARD_S = 0.05
        processes.unread_bytes = lambda fileno: 1
        data["pid"] = os.getpid()
        print("heard")

    first = single.start(fill)
    attempts = [single.start(tell) for _ in range(3)]

    pids = pids_of(single, [first, *attempts])
    assert pids[0] not in pids[1:]
    assert single.printed(first) == "heard\n"


def test_what_a_task_asks_while_jobs_wait_behind_it_is_heard_at_once(
    single: ExecutorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the ends of tasks may wait to be heard together."""
    monkeypatch.setattr(task_process, "_GATHER_S", 3600.0)

    def ask(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        for _number in range(20):
            signal.join_dags([])

    attempt = single.start(ask)
    for _number in range(5):
        single.start(tell)
    for _number in range(20):
        single.until(lambda: single.signals)
        let_go(single, single.signals.pop())

    assert single.end(attempt).state is State.COMPLETED


# --- recall ---


def test_a_recall_returns_what_has_not_begun_and_nothing_is_heard_of_it(single: ExecutorBench) -> None:
    holder = held(single)
    attempts = [single.start(lambda *_: print("ran")) for _ in range(60)]
    unknown = Attempt(holder.attempt.run, 9, 1, 1)

    recalled = single.executor.recall([unknown, holder.attempt, *attempts[::2]])

    assert recalled == attempts[::2]
    assert single.executor.recall(attempts[::2]) == []
    let_go(single, holder)
    for attempt in attempts[1::2]:
        single.end(attempt)
    assert list(single.ends) == [holder.attempt, *attempts[1::2]]
    assert {attempt for attempt, _ in single.chunks} == set(attempts[1::2])


def test_code_that_came_with_a_job_that_was_recalled_is_sent_again(single: ExecutorBench) -> None:
    task = PythonTask("tell", tell)
    holder = held(single)
    attempts = [single.start(task) for _ in range(3)]
    assert single.executor.recall(attempts) == attempts

    again = [single.start(task) for _ in range(3)]
    let_go(single, holder)

    assert len(set(pids_of(single, again))) == 1


def test_a_process_whose_only_job_was_recalled_is_idle(make_bench: MakeBench) -> None:
    bench = make_bench()
    (pid,) = pids_of(bench, [bench.start(tell)])
    stop(pid)
    for _number in range(20):
        attempt = bench.start(tell)
        assert bench.executor.recall([attempt]) == [attempt]
    os.kill(pid, signal.SIGCONT)

    assert pids_of(bench, [bench.start(tell)]) == [pid]
    assert bench.executor.process_ids == (pid,)


def test_while_tasks_run_each_is_either_finished_or_recalled(single: ExecutorBench) -> None:
    attempts = [single.start(lambda *_: None) for _ in range(1000)]
    recalled: list[Attempt] = []
    for number in range(0, 1000, 50):
        single.end(attempts[number])
        recalled += single.executor.recall(attempts[number + 10 : number + 49])
    for attempt in attempts:
        if attempt not in recalled:
            single.end(attempt)

    assert single.still_works()
    assert recalled
    assert not set(recalled) & set(single.ends)


def test_jobs_with_megabytes_are_given_ahead_and_taken_back(single: ExecutorBench) -> None:
    def measure(data: Given, *_: Given) -> None:
        data["is same"] = data["blob"] == LARGE
        del data["blob"]

    holder = held(single)
    attempts = [single.start(measure, inputs=[("a", None, {"blob": LARGE})]) for _ in range(8)]
    before = len(os.listdir("/proc/self/fd"))

    assert single.executor.recall(attempts[:4]) == attempts[:4]

    let_go(single, holder)
    assert [data_of(single.end(attempt)) for attempt in attempts[4:]] == [{"is same": True}] * 4
    assert len(os.listdir("/proc/self/fd")) == before


# --- tasks that wear out their process ---


def test_behind_a_task_that_leaves_a_process_the_queued_run_elsewhere(single: ExecutorBench) -> None:
    serve = BashTask("serve", "(while :; do echo still here; sleep 0.001; done) & echo $PPID")
    first = single.start(serve)
    attempts = []
    for number in range(10):

        def say(data: Given, *_: Given, number: int = number) -> None:
            data["pid"] = os.getpid()
            print(number)

        attempts.append(single.start(say))

    assert single.end(first).state is State.COMPLETED
    pids = pids_of(single, attempts)
    lines = single.printed(first).splitlines()
    assert len(set(pids)) == 1
    assert str(pids[0]) not in lines
    assert len([line for line in lines if line != "still here"]) == 1
    assert [single.printed(attempt) for attempt in attempts] == [f"{number}\n" for number in range(10)]


@pytest.mark.parametrize("harm", ["closes", "redirects"])
def test_behind_a_task_that_takes_away_a_pipe_all_is_captured(single: ExecutorBench, harm: str, tmp_path: Path) -> None:
    path = str(tmp_path / "own.log")

    def take_away(*_: Given) -> None:
        print("before")
        sys.stdout.flush()
        if harm == "closes":
            os.close(1)
        else:
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 1)

    first = single.start(take_away)
    attempts = [single.start(lambda *_: print("heard")) for _ in range(5)]
    for attempt in (first, *attempts):
        assert single.end(attempt).state is State.COMPLETED

    assert single.printed(first) == "before\n"
    assert [single.printed(attempt) for attempt in attempts] == ["heard\n"] * 5


def test_a_process_gets_no_more_jobs_than_it_may_do(make_bench: MakeBench) -> None:
    bench = make_bench(max_tasks_per_process=2)
    bench.executor.resize(1)
    attempts = [bench.start(tell) for _ in range(10)]
    bench.executor.recall(attempts[:1])

    pids = pids_of(bench, attempts[1:])

    assert pids[::2] == [*pids[1::2], pids[-1]]
    assert len(set(pids)) == 5


def test_code_is_forgotten_and_sent_again_also_across_a_recall(make_bench: MakeBench) -> None:
    bench = make_bench(max_code_bytes=3000)
    bench.executor.resize(1)
    ballast = "x" * 2000
    tasks = []
    for number in range(3):

        def work(data: Given, *_: Given, number: int = number) -> None:
            data["is"] = len(ballast) + number

        tasks.append(PythonTask(f"work{number}", work))
    for number in (0, 1):
        bench.run(tasks[number])
    holder = held(bench)
    wanted = [0, 1, 1, 2, 0, 0, 2, 1, 0]

    recalled = [bench.start(tasks[number]) for number in wanted]
    bench.executor.recall(recalled[1:])
    attempts = [bench.start(tasks[number]) for number in wanted]
    bench.executor.recall([recalled[0], attempts[3]])
    let_go(bench, holder)

    numbers = [data_of(bench.end(attempt))["is"] - 2000 for attempt in attempts if attempt != attempts[3]]
    assert numbers == [*wanted[:3], *wanted[4:]]
