"""RQ with Redis: two workers that run jobs in their own process.

`SimpleWorker` is for jobs as short as these (github.com/rq/rq, "docs/benchmark.md"), and `enqueue_many` for handing
over many. Waiting for a result is that of RQ itself, `Job.latest_result`.
"""

from contextlib import ExitStack
from typing import Any

import redis
import rq

from benchmarks.peer.calling import SLOTS, WAIT_S, System, report, same
from benchmarks.peer.services import redis_server, running


def main() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(redis_server())
        for _ in range(SLOTS):
            stack.enter_context(running("rq", "worker", "--quiet", "-w", "rq.SimpleWorker", "--url", url))
        queue = rq.Queue(connection=redis.Redis.from_url(url))

        def call_each(values: Any) -> list[Any]:
            jobs = queue.enqueue_many([rq.Queue.prepare_data(same, (each,)) for each in values])
            return [_result(job) for job in jobs]

        report(System(rq.__version__, call=lambda value: _result(queue.enqueue(same, value)), call_each=call_each))


def _result(job: rq.job.Job) -> Any:
    return job.latest_result(timeout=WAIT_S).return_value


if __name__ == "__main__":
    main()
