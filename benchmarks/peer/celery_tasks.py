"""The Celery application that worker and client share; `REDIS_URL` says where Redis is.

Settings are those of the optimizing guide for many short tasks (docs.celeryq.dev, "Optimizing", section "Prefetch
limits": a multiplier of 64 or 128 for short tasks). Results are kept: a chord and the caller need them. Pickle instead
of JSON, which cannot carry an array.
"""

import os

from celery import Celery

app = Celery("peer", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.worker_prefetch_multiplier = 64
app.conf.broker_connection_retry_on_startup = True
app.conf.task_serializer = app.conf.result_serializer = "pickle"
app.conf.accept_content = ["pickle"]


@app.task
def nothing(*_):
    pass


@app.task
def put():
    return 5


@app.task
def show(value):
    assert value == 5, value


@app.task
def same(value):
    return value
