"""Parsl: the `HighThroughputExecutor` with two workers on this host.

Tasks are prefetched: its documentation wants that off for few or long tasks only (parsl.readthedocs.io,
`HighThroughputExecutor`, `prefetch_capacity`). Nothing scales, for the block of workers is there from the start, and
no log is written (`Config`, `strategy` and `initialize_logging`).
"""

import tempfile

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from benchmarks.peer import calling

_PREFETCHED = 64


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        executor = HighThroughputExecutor(
            address="127.0.0.1",
            max_workers_per_node=calling.SLOTS,
            prefetch_capacity=_PREFETCHED,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        config = Config(executors=[executor], run_dir=folder, strategy="none", initialize_logging=False)
        with parsl.load(config):
            same = parsl.python_app(calling.same)
            calling.report(
                calling.System(
                    parsl.__version__,
                    call=lambda value: same(value).result(),
                    call_each=lambda values: [future.result() for future in [same(each) for each in values]],
                )
            )


if __name__ == "__main__":
    main()
