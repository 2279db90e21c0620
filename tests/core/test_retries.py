"""How long a task waits before it is tried again."""

import math

import pytest

from meshflow.core.retries import retry_wait_s
from tests.core.builders import task


@pytest.mark.parametrize(
    ("delay_s", "backoff", "failures", "wait_s"),
    [
        (0.0, 1.0, 1, 0.0),
        (2.0, 1.0, 5, 2.0),
        (2.0, 3.0, 1, 2.0),
        (2.0, 3.0, 3, 18.0),
        (0.0, 2.0, 5000, 0.0),
        (1.0, 2.0, 5000, math.inf),
    ],
)
def test_each_further_retry_waits_longer_by_the_backoff(
    delay_s: float, backoff: float, failures: int, wait_s: float
) -> None:
    assert retry_wait_s(task("a", retry_delay_s=delay_s, backoff=backoff), failures) == wait_s
