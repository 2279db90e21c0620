"""Dask distributed: a local cluster of two worker processes with one thread each, and graphs made with `delayed`.

One thread per process suits pure Python code (docs.dask.org, "Deploy Dask clusters: Python API"). A graph is handed
over whole, which the documentation recommends over a call for each task ("Best practices": avoid calling compute
repeatedly).
"""

import dask
import distributed
from dask.delayed import Delayed, delayed

from benchmarks.peer import shapes


def nothing(*_: object) -> None:
    pass


def put() -> int:
    return 5


def show(value: int) -> None:
    assert value == 5, value


def _chain() -> Delayed:
    last = delayed(nothing, pure=False)()
    for _ in range(shapes.CHAIN - 1):
        last = delayed(nothing, pure=False)(last)
    return last


def _fan() -> Delayed:
    task = delayed(nothing, pure=False)
    first = task()
    return task(*[task(first) for _ in range(shapes.WIDTH)])


def main() -> None:
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        one = delayed(nothing, pure=False)
        shapes.report(
            {
                shapes.SIMPLE: lambda: client.compute(
                    delayed(show, pure=False)(delayed(put, pure=False)()), optimize_graph=False
                ).result(),
                shapes.CHAINED: lambda: client.compute(_chain(), optimize_graph=False).result(),
                shapes.FAN: lambda: client.compute(_fan(), optimize_graph=False).result(),
                shapes.NO_OPS: lambda: client.gather(
                    client.compute([one() for _ in range(shapes.MANY)], optimize_graph=False)
                ),
            },
            f"{distributed.__version__}, dask {dask.__version__}",
        )


if __name__ == "__main__":
    main()
