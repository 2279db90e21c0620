"""Feed the targets until the time is over.

    python -m tests.fuzz                                  all targets, a minute each
    python -m tests.fuzz messages --seconds 600 --seed 7
    python -m tests.fuzz messages --atheris               guided by coverage (pip install atheris)

Printed are the number of inputs, the slowest one and the memory. A fault ends the run with its input and its traceback.
"""

import argparse
import random
import resource
import sys
import time

from tests.fuzz.feeding import Fed, feed
from tests.fuzz.targets import TARGETS, mutated

WARM_UP_COUNT = 2000


def with_atheris(name: str, seconds: float) -> None:
    """Let atheris choose. It does not return."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    target = TARGETS[name]
    examples = target.examples()
    target.run(examples[0])  # so that what is made once is made
    atheris.instrument_all()

    def mutator(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        return mutated(data if len(data) > 1 else rng.choice(examples), rng)[:max_size]

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds:g}", "-rss_limit_mb=2048", "-timeout=5", "-max_len=65536"],
        target.run,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Feed what reads bytes from outside.")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--atheris", action="store_true")
    given = parser.parse_args()
    for name in given.targets or TARGETS:
        if given.atheris:
            with_atheris(name, given.seconds)
        fed: Fed = feed(TARGETS[name], random.Random(given.seed), until=time.monotonic() + given.seconds)
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{name}: {fed}; {memory_mb:.0f} MB at most; seed {given.seed}", flush=True)


if __name__ == "__main__":
    main()
