"""Ray: one local node of two processors. References are passed on instead of values, and `ray.get` is called once at
the end, as Ray's documentation recommends ("Anti-pattern: calling ray.get in a loop harms parallelism").
"""

import ray

from benchmarks.peer import shapes


@ray.remote
def nothing(*_: object) -> None:
    pass


@ray.remote
def put() -> int:
    return 5


@ray.remote
def show(value: int) -> None:
    assert value == 5, value


def _chain() -> object:
    last = nothing.remote()
    for _ in range(shapes.CHAIN - 1):
        last = nothing.remote(last)
    return ray.get(last)


def _fan() -> object:
    first = nothing.remote()
    return ray.get(nothing.remote(*[nothing.remote(first) for _ in range(shapes.WIDTH)]))


def main() -> None:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    shapes.report(
        {
            shapes.SIMPLE: lambda: ray.get(show.remote(put.remote())),
            shapes.CHAINED: _chain,
            shapes.FAN: _fan,
            shapes.NO_OPS: lambda: ray.get([nothing.remote() for _ in range(shapes.MANY)]),
        },
        ray.__version__,
    )
    ray.shutdown()


main()
