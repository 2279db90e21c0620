"""concurrent.futures: a `ProcessPoolExecutor` of two workers; pipes between processes of one host, nothing more.

For many short calls its documentation recommends a large `chunksize` of `map` (docs.python.org, "concurrent.futures",
`Executor.map`). Without, each call has a future of its own.
"""

import platform
from concurrent.futures import ProcessPoolExecutor

from benchmarks.peer.calling import SLOTS, System, chunk_size, report, same


def main() -> None:
    with ProcessPoolExecutor(SLOTS) as pool:
        report(
            System(
                f"Python {platform.python_version()}",
                call=lambda value: pool.submit(same, value).result(),
                call_each=lambda values: [future.result() for future in [pool.submit(same, each) for each in values]],
                call_in_chunks=lambda values: list(pool.map(same, values, chunksize=chunk_size(values))),
            )
        )


if __name__ == "__main__":
    main()
