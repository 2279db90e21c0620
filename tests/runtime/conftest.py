"""What the tests of task processes share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from meshflow.runtime.fleet import ExecutorSettings
from tests.runtime.executor_bench import ExecutorBench


@pytest.fixture(scope="module")
def bench() -> Iterator[ExecutorBench]:
    """An executor for all tests of a file, which none of them may wear out."""
    with closing(ExecutorBench()) as shared:
        yield shared


@pytest.fixture
def make_bench() -> Iterator[Callable[..., ExecutorBench]]:
    """Makes executors with the given settings that the test may treat as it likes."""
    with ExitStack() as opened:
        yield lambda **settings: opened.enter_context(closing(ExecutorBench(ExecutorSettings(**settings))))


@pytest.fixture
def single(make_bench: Callable[..., ExecutorBench]) -> ExecutorBench:
    """An executor that runs one task at a time."""
    bench = make_bench()
    bench.executor.resize(1)
    return bench
