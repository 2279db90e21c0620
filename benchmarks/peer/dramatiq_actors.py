"""The Dramatiq broker and the actor that client and workers share; `REDIS_URL` says where Redis is.

Results are kept in Redis, which its documentation recommends since waiting costs little there (dramatiq.io, "API
Reference", `RedisBackend`). Pickle instead of JSON, which cannot carry an array.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

_URL = os.environ["REDIS_URL"]

dramatiq.set_encoder(dramatiq.PickleEncoder())
broker = RedisBroker(url=_URL)
broker.add_middleware(Results(backend=RedisBackend(url=_URL, encoder=dramatiq.PickleEncoder())))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def same(value):
    return value
