"""Dramatiq with Redis: two worker processes of one thread, which prefetch as many messages as sixteen threads would
(dramatiq.io, "API Reference", "Environment Variables": twice the number of threads).
"""

import os
import sys

from benchmarks.peer.calling import SLOTS, WAIT_S, System, report
from benchmarks.peer.services import redis_server, running


def main() -> None:
    with redis_server() as url:
        os.environ |= {"REDIS_URL": url, "dramatiq_queue_prefetch": "32"}
        worker = ("-m", "dramatiq", "benchmarks.peer.dramatiq_actors", "--processes", str(SLOTS), "--threads", "1")
        with running(sys.executable, *worker):
            import dramatiq

            from benchmarks.peer.dramatiq_actors import same

            wait_ms = 1000 * WAIT_S

            def call_each(values):
                group = dramatiq.group([same.message(each) for each in values]).run()
                return list(group.get_results(block=True, timeout=wait_ms))

            report(
                System(
                    dramatiq.__version__,
                    call=lambda value: same.send(value).get_result(block=True, timeout=wait_ms),
                    call_each=call_each,
                )
            )


if __name__ == "__main__":
    main()
