"""The taskiq broker and the task that client and workers share; `REDIS_URL` says where Redis is.

Broker and result backend are those of the first example of taskiq-redis (github.com/taskiq-python/taskiq-redis,
"Usage"). The task is a coroutine, taskiq's own kind: functions would go through a thread each.
"""

import os

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

_URL = os.environ["REDIS_URL"]
_CONNECTIONS = 32

broker = RedisStreamBroker(_URL, max_connection_pool_size=_CONNECTIONS).with_result_backend(
    RedisAsyncResultBackend(_URL, result_ex_time=600)
)


@broker.task
async def same(value):
    return value
