"""What every peer measures: four shapes of no-op work, by the same names and counts. Run in the peer's environment."""

import json
from collections.abc import Callable, Mapping

from benchmarks.measure import repeat

CHAIN = 20
WIDTH = 200
MANY = 2000

SIMPLE, CHAINED, FAN, NO_OPS = "simple: two tasks", f"chain of {CHAIN}", f"1 -> {WIDTH} -> 1", f"{MANY} no-ops at once"
RUNS = {SIMPLE: 11, CHAINED: 11, FAN: 11, NO_OPS: 3}


def report(actions: Mapping[str, Callable[[], object]], version: str) -> None:
    """Measure each shape and print, as JSON, the version and `{shape: milliseconds of each run}`."""
    times = {name: repeat(action, RUNS[name]) for name, action in actions.items()}
    print(json.dumps({"version": version, "times": times}))
