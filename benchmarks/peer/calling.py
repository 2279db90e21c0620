"""What every peer does with calls: many at once, one after the other, and one with 8 MB there and back.

A peer says how it makes calls, as a `System`; all of it is measured here, in the peer's own environment. One function
is called, `same`, which returns what it is given, so that each result can be checked.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import percentile

NO_OPS = "no-ops, a call each"
CHUNKS = "no-ops, in chunks"
P50, P99 = "one at a time, p50", "one at a time, p99"
BYTES, ARRAY = "8 MB of bytes", "8 MB of numpy"
UNITS = {NO_OPS: "calls/s", CHUNKS: "calls/s", P50: "ms", P99: "ms", BYTES: "MB/s", ARRAY: "MB/s"}
"""Each question, with the unit of its answer. MB/s count 8 MB on the way there and 8 MB on the way back."""

SLOTS = 2
"""Calls that each system makes at a time: processes with one thread."""
WAIT_S = 60
"""No single call takes that long, unless it is lost."""

_MOST_CALLS = 100_000
_SINGLE_CALLS = 2000
_FEWEST_SINGLE = 100
_WARM_UP = 100
_ECHOES = 5
_MB = 1_000_000
_SIZE_MB = 8


def same(value: Any) -> Any:
    """What is called."""
    return value


@dataclass(frozen=True, slots=True)
class System:
    """How a peer makes calls of `same`."""

    version: str
    call: Callable[[Any], Any]
    """Makes one call with a small value and waits for its result."""
    call_each: Callable[[Sequence[int]], Sequence[int]]
    """Makes a call for each value, and waits for all results, in order."""
    call_in_chunks: Callable[[Sequence[int]], Sequence[int]] | None = None
    """The same with chunks of several values, where the peer makes these if told how large. They succeed or fail
    together."""
    echo: Callable[[Any], Any] | None = None
    """Makes one call with a large value, if that is to be done in another way than `call`."""


def chunk_size(values: Sequence[int]) -> int:
    """Four chunks for each slot, as `multiprocessing.Pool.map` makes them."""
    return max(1, len(values) // (4 * SLOTS))


def report(system: System) -> None:
    """Measure, and print as JSON the version, `{question: values}`, how many calls they are of, and for what was not
    measured the reason. The command line has the seconds that a question may take, about."""
    budget_s = float(sys.argv[1])
    values: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    problems: dict[str, str] = {}

    def ask(question: str, measure: Callable[[], tuple[list[float], int]]) -> None:
        try:
            values[question], counts[question] = measure()
        except Exception as problem:
            problems[question] = f"{type(problem).__name__}: {problem}"

    ask(NO_OPS, lambda: _rate(system.call_each, budget_s))
    if system.call_in_chunks is not None:
        in_chunks = system.call_in_chunks
        ask(CHUNKS, lambda: _rate(in_chunks, budget_s))
    try:
        times_ms = _times(system.call, budget_s)
        for question, share in ((P50, 0.5), (P99, 0.99)):
            values[question], counts[question] = [percentile(times_ms, share)], len(times_ms)
    except Exception as problem:
        problems[P50] = f"{type(problem).__name__}: {problem}"
    echo = system.echo or system.call
    ask(BYTES, lambda: _speed(echo, lambda: os.urandom(_SIZE_MB * _MB)))
    ask(ARRAY, lambda: _speed(echo, _array))
    print(json.dumps({"version": system.version, "values": values, "counts": counts, "problems": problems}))


def _rate(call_all: Callable[[Sequence[int]], Sequence[int]], budget_s: float) -> tuple[list[float], int]:
    """Ten times as many calls until ten times as many would take too long; the last counts, the others warm up."""
    count = _WARM_UP
    call_all(list(range(count)))
    while True:
        values = list(range(count))  # a range would be sent as its bounds
        started_at = time.perf_counter()
        results = call_all(values)
        took_s = time.perf_counter() - started_at
        assert list(results) == values, "results are not what they should be"
        if count == _MOST_CALLS or 10 * took_s > budget_s:
            return [count / took_s], count
        count *= 10


def _times(call: Callable[[int], int], budget_s: float) -> list[float]:
    """Milliseconds of each call."""
    for number in range(_WARM_UP):
        call(number)
    times_ms: list[float] = []
    until = time.perf_counter() + budget_s
    while len(times_ms) < _SINGLE_CALLS and (len(times_ms) < _FEWEST_SINGLE or time.perf_counter() < until):
        started_at = time.perf_counter()
        result = call(len(times_ms))
        ended_at = time.perf_counter()
        assert result == len(times_ms), result
        times_ms.append(1000 * (ended_at - started_at))
    return times_ms


def _speed(echo: Callable[[Any], Any], make: Callable[[], Any]) -> tuple[list[float], int]:
    """MB/s of calls with another value each time, for some systems remember those they have seen. The first two are not
    counted: memory is mapped and connections grow."""
    speeds = []
    for number in range(2 + _ECHOES):
        value = make()
        started_at = time.perf_counter()
        result = echo(value)
        took_s = time.perf_counter() - started_at
        assert bytes(memoryview(result)) == bytes(memoryview(value)), "it came back changed"
        if number >= 2:
            speeds.append(2 * _SIZE_MB / took_s)
    return speeds, len(speeds)


def _array() -> Any:
    import numpy

    return numpy.frombuffer(os.urandom(_SIZE_MB * _MB), dtype="uint8").copy()
