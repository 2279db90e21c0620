"""A Redis and a Celery worker of two processes (prefork), Redis being broker and result backend, without persistence.

Gossip, mingle and heartbeat, which one worker does not need, are off, as the documentation of the worker offers.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peer.services import redis_server, running


@contextmanager
def celery_worker() -> Iterator[None]:
    """`celery_tasks` can be imported only now, for it needs to know where Redis is."""
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    worker = ("-m", "celery", "-A", "benchmarks.peer.celery_tasks", "worker", "--concurrency", "2", *quiet)
    with redis_server() as url:
        os.environ["REDIS_URL"] = url
        os.environ["C_FORCE_ROOT"] = "1"  # It refuses pickles as root, and only this process can send any.
        with running(sys.executable, *worker):
            yield
