"""Dask distributed: a local cluster of two worker processes with one thread each, as in `dask_peer`.

Many calls are handed over by one `map`. Large values are scattered first and passed as futures (docs.dask.org,
"Futures", "Move Data"; the client warns of those that are not).
"""

import dask
import distributed

from benchmarks.peer.calling import SLOTS, System, report, same


def main() -> None:
    cluster = distributed.LocalCluster(n_workers=SLOTS, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        report(
            System(
                f"{distributed.__version__}, dask {dask.__version__}",
                call=lambda value: client.submit(same, value, pure=False).result(),
                call_each=lambda values: client.gather(client.map(same, values, pure=False)),
                echo=lambda value: client.submit(same, client.scatter(value, hash=False), pure=False).result(),
            )
        )


if __name__ == "__main__":
    main()
