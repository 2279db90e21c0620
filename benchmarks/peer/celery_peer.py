"""Celery with Redis: workflows, on the worker of `celery_worker`."""

import celery
from celery import chain, group

from benchmarks.peer import shapes
from benchmarks.peer.celery_worker import celery_worker

_SLEEP_S = 60


def main() -> None:
    with celery_worker():
        from benchmarks.peer.celery_tasks import nothing, put, show

        nothing.apply_async(retry=True).get(timeout=_SLEEP_S)
        fan = chain(nothing.si(), group(nothing.si() for _ in range(shapes.WIDTH)), nothing.si())
        shapes.report(
            {
                shapes.SIMPLE: lambda: chain(put.si(), show.s())().get(timeout=_SLEEP_S),
                shapes.CHAINED: lambda: chain(*[nothing.si() for _ in range(shapes.CHAIN)])().get(timeout=_SLEEP_S),
                shapes.FAN: lambda: fan().get(timeout=_SLEEP_S),
                shapes.NO_OPS: lambda: group(nothing.si() for _ in range(shapes.MANY))().get(timeout=_SLEEP_S),
            },
            celery.__version__,
        )


main()
