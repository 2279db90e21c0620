"""Celery with Redis: one worker of two processes, set up as in `celery_peer`.

Chunks are Celery's own, `Task.chunks` (docs.celeryq.dev, "Canvas", "Chunks"). Single calls are not put into a group:
waiting for one takes half a second more, and is not faster otherwise.
"""

import celery

from benchmarks.peer.calling import WAIT_S, System, chunk_size, report
from benchmarks.peer.celery_worker import celery_worker


def main() -> None:
    with celery_worker():
        from benchmarks.peer.celery_tasks import same

        def call_in_chunks(values):
            chunks = same.chunks(zip(values, strict=True), chunk_size(values))().get(timeout=WAIT_S)
            return [each for chunk in chunks for each in chunk]

        report(
            System(
                celery.__version__,
                call=lambda value: same.delay(value).get(timeout=WAIT_S),
                call_each=lambda values: [
                    result.get(timeout=WAIT_S) for result in [same.delay(each) for each in values]
                ],
                call_in_chunks=call_in_chunks,
            )
        )


if __name__ == "__main__":
    main()
