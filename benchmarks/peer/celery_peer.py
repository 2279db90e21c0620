"""Celery with Redis: one worker of two processes, prefork, Redis as broker and result backend, without persistence.

Gossip, mingle and heartbeat, which one worker does not need, are off, as the documentation of the worker offers.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import celery
from celery import chain, group

from benchmarks.peer import shapes

_SLEEP_S = 60


@contextmanager
def _running(*command: str) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
    redis = ("redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    worker = ("-m", "celery", "-A", "benchmarks.peer.celery_tasks", "worker", "--concurrency", "2", *quiet)
    with tempfile.TemporaryDirectory() as folder, _running(*redis, "--dir", folder), _running(sys.executable, *worker):
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
