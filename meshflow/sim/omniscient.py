"""The scheduler that real ones are compared with: it knows everything at once, and nothing takes it any time.

One queue for the whole mesh, first come, first served: a job goes to the slot that is free first, the instant it is
ready or the slot is free. No job is stopped once it runs, and nobody knows beforehand how long one will take. That is
the queue G/G/c.

Source: Kiefer and Wolfowitz, "On the theory of queues with many servers", 1955: a job waits until the least of the
times at which the c servers have done what came before it.
"""

import heapq
from collections.abc import Sequence


def starts(ready_at: Sequence[float], durations_s: Sequence[float], slots: int) -> list[float]:
    """When each job starts, if `slots` are free at first. Jobs are in the order in which they become ready."""
    free_at = [0.0] * slots
    started = []
    for ready, duration_s in zip(ready_at, durations_s, strict=True):
        start = max(ready, free_at[0])
        heapq.heapreplace(free_at, start + duration_s)
        started.append(start)
    return started
