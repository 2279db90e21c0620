"""Feeds a target, and measures."""

import random
import time
from dataclasses import dataclass

from tests.fuzz.targets import Target, mutated

SLOWEST_S = 2.0
"""No input of a few kilobytes may take longer, however busy the machine is."""


@dataclass(frozen=True)
class Fed:
    """What a target was fed."""

    count: int
    slowest_s: float
    bytes: int

    def __str__(self) -> str:
        return f"{self.count} inputs, {self.bytes / 1e6:.0f} MB, the slowest took {1000 * self.slowest_s:.1f} ms"


def feed(target: Target, rng: random.Random, *, count: int = 2**62, until: float = float("inf")) -> Fed:
    """Feed `count` inputs, or until a time. Whatever the target lets through is raised, with the input in a note."""
    examples = list(target.examples())
    for example in examples:
        target.run(example)
    done, fed_bytes, slowest_s = 0, 0, 0.0
    while done < count and time.monotonic() < until:
        data = mutated(rng.choice(examples), rng)
        started_at = time.perf_counter()
        try:
            target.run(data)
        except BaseException as problem:
            problem.add_note(f"the input was {data!r}")
            raise
        took_s = time.perf_counter() - started_at
        assert took_s < SLOWEST_S, f"{took_s:.1f} s for {data!r}"
        slowest_s = max(slowest_s, took_s)
        done += 1
        fed_bytes += len(data)
    return Fed(done, slowest_s, fed_bytes)
