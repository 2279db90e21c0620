"""ipyparallel: a controller and two engines, load-balanced.

Engines are given work ahead (`TaskScheduler.hwm=0`), which hides the latency of the network, and the hub stores nothing
of it (`--nodb`); both from ipyparallel.readthedocs.io, "The IPython task interface", "Greedy Assignment", and
"IPython's Task Database", "Cost". The scheduler for maximum throughput of the former page, `--scheme=pure`, was not
faster here, and refused work in two of three rounds. Chunks are those of `map`, `chunksize`.
"""

import os
import tempfile

import ipyparallel

from benchmarks.peer.calling import SLOTS, System, chunk_size, report, same


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        options = ["--TaskScheduler.hwm=0", "--nodb"]
        with ipyparallel.Cluster(n=SLOTS, controller_args=options, log_level=40) as client:
            client.wait_for_engines(SLOTS)
            view = client.load_balanced_view()
            report(
                System(
                    ipyparallel.__version__,
                    call=lambda value: view.apply_sync(same, value),
                    call_each=lambda values: view.map_sync(same, values, chunksize=1),
                    call_in_chunks=lambda values: view.map_sync(same, values, chunksize=chunk_size(values)),
                )
            )


if __name__ == "__main__":
    main()
