"""taskiq with Redis: two worker processes with uvloop, which they use if it is there (extra `uv` of the package).

The client asks for a result every millisecond; the default of 200 ms would be all its latency. Arguments have to be
JSON, whatever the serializer: bytes and arrays are sent as base64.
"""

import asyncio
import base64
import os
import sys

from benchmarks.peer.calling import SLOTS, WAIT_S, System, report
from benchmarks.peer.services import redis_server, running

_CHECK_S = 0.001


def main() -> None:
    with redis_server() as url:
        os.environ["REDIS_URL"] = url
        worker = ("-m", "taskiq", "worker", "benchmarks.peer.taskiq_broker:broker", "--workers", str(SLOTS))
        with running(sys.executable, *worker), asyncio.Runner() as runner:
            import taskiq

            from benchmarks.peer.taskiq_broker import broker, same

            async def result_of(task):
                result = await task.wait_result(check_interval=_CHECK_S, timeout=WAIT_S)
                result.raise_for_error()
                return result.return_value

            async def call(value):
                return await result_of(await same.kiq(value))

            async def call_each(values):
                tasks = await asyncio.gather(*[same.kiq(each) for each in values])
                return [await result_of(task) for task in tasks]

            def echo(value):
                return base64.b64decode(runner.run(call(base64.b64encode(value).decode())))

            runner.run(broker.startup())
            report(
                System(
                    taskiq.__version__,
                    call=lambda value: runner.run(call(value)),
                    call_each=lambda values: runner.run(call_each(values)),
                    echo=echo,
                )
            )
            runner.run(broker.shutdown())


if __name__ == "__main__":
    main()
