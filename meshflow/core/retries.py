"""How long a task waits before it is tried again."""

import math

from meshflow.core.graph import TaskSpec


def retry_wait_s(spec: TaskSpec, failures: int) -> float:
    """Seconds to wait after so many failures, at least one, before a task is tried again."""
    try:
        return spec.retry_delay_s * spec.backoff ** (failures - 1)
    except OverflowError:
        return math.inf if spec.retry_delay_s else 0.0
