"""What tasks print: all of it, for the right attempt, while they run, and no more than the limit."""

import os
import sys
from collections.abc import Callable
from typing import Any

from tests.runtime.executor_bench import ExecutorBench, data_of

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]


def test_all_that_a_task_causes_to_be_printed_is_captured_by_stream(bench: ExecutorBench) -> None:
    def talk(*_: Given) -> None:
        print("by print")
        os.write(1, b"by the descriptor\n")
        os.system("echo by a program; echo its trouble >&2")
        print("without newline", end="")
        print("trouble", file=sys.stderr)

    attempt = bench.start(talk)
    bench.end(attempt)

    assert bench.printed(attempt).splitlines() == [
        "by print",
        "by the descriptor",
        "by a program",
        "without newline",
    ]
    assert bench.printed(attempt, "stderr").splitlines() == ["its trouble", "trouble"]


def test_what_a_task_logs_is_output_too_from_level_info_on(bench: ExecutorBench) -> None:
    def log(*_: Given) -> None:
        import logging

        logging.getLogger("scan").info("exposure %s", 5)
        logging.getLogger("scan").debug("not shown")

    attempt = bench.start(log)
    bench.end(attempt)

    assert bench.printed(attempt, "stderr") == "INFO scan: exposure 5\n"


def test_output_belongs_to_the_attempt_that_printed_it(bench: ExecutorBench) -> None:
    attempts = []
    for number in range(100):

        def say(*_: Given, number: int = number) -> None:
            print(number)

        attempts.append(bench.start(say))
        if number % 3:
            bench.end(attempts[-1])
    for attempt in attempts:
        bench.end(attempt)

    assert [bench.printed(attempt) for attempt in attempts] == [f"{number}\n" for number in range(100)]


def test_output_is_seen_while_the_task_runs(bench: ExecutorBench) -> None:
    def say_and_wait(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        print("are you there?")
        signal.join_dags([])

    attempt = bench.start(say_and_wait)

    assert bench.until_printed(attempt) == ["are you there?"]
    bench.until(lambda: bench.signals and bench.signals[-1].attempt == attempt)
    bench.executor.answer(attempt, bench.signals[-1].call, None)
    bench.end(attempt)


def test_much_output_is_complete_and_comes_in_chunks(bench: ExecutorBench) -> None:
    def spam(*_: Given) -> None:
        for number in range(30_000):
            print(f"line {number} of both streams")
            print(f"line {number} of both streams", file=sys.stderr)

    attempt = bench.start(spam)
    bench.end(attempt)

    expected = "".join(f"line {number} of both streams\n" for number in range(30_000))
    assert bench.printed(attempt) == bench.printed(attempt, "stderr") == expected
    sizes = [len(chunk.data) for each, chunk in bench.chunks if each == attempt]
    assert max(sizes) <= 64 * 1024


def test_output_beyond_the_limit_is_cut_with_a_last_line_and_the_task_goes_on(make_bench: MakeBench) -> None:
    bench = make_bench(max_output_bytes=1000)

    def spam(data: Given, *_: Given) -> None:
        for _number in range(100_000):
            print("x" * 9)
        data["done"] = True

    attempt = bench.start(spam)

    assert data_of(bench.end(attempt)) == {"done": True}
    assert (
        bench.printed(attempt)
        == ("x" * 9 + "\n") * 100 + "\noutput cut: more than 1000 bytes (limits.max_output_bytes)\n"
    )


def test_what_a_task_reads_from_its_input_is_nothing(bench: ExecutorBench) -> None:
    def read(data: Given, *_: Given) -> None:
        data["read"] = sys.stdin.read()

    assert data_of(bench.run(read))["read"] == ""
