"""The node's end of the cache of results: what its task processes look for and want kept, in the store.

A task process asks for a blob of no run, and this says of which generation (`core/caching.py`).

Invariants:
1. Nothing here is repeated while the store is away: what cannot be had now is not there, what cannot be kept is not.
2. What waits to be kept is bounded.
"""

import time

from meshflow.core.attempts import Attempt
from meshflow.core.caching import MAX_RESULT_BYTES, keep, look_up
from meshflow.core.requests import Answer, GetBlob, PutBlob
from meshflow.runtime.executor import Executor
from meshflow.runtime.storage import Storage


class ResultCache:
    """Finds and keeps results for the tasks of one node."""

    def __init__(self, storage: Storage, executor: Executor) -> None:
        self._storage = storage
        self._executor = executor
        self._asked_bytes = 0
        """What the store was asked to keep and has not answered."""

    def perform(self, attempt: Attempt, call: int, request: GetBlob | PutBlob) -> None:
        """Do what a task process asks. Only who looks for a result gets an answer: its bytes, or None."""
        if isinstance(request, PutBlob):
            self._keep(request.key, request.data)
        else:
            self._find(attempt, call, request.key)

    def _find(self, attempt: Attempt, call: int, key: str) -> None:
        def reply(answers: list[Answer]) -> None:
            now, before = (answer if isinstance(answer, bytes) else None for answer in answers)
            self._executor.answer(attempt, call, before if now is None else now)
            if now is None and before is not None:
                self._keep(key, before)

        self._storage.ask(look_up(key, time.time()), reply, refuse=lambda _: self._executor.answer(attempt, call, None))

    def _keep(self, key: str, data: bytes) -> None:
        size_bytes = len(data)
        if self._asked_bytes + size_bytes > MAX_RESULT_BYTES:
            return
        self._asked_bytes += size_bytes

        def done(_: object) -> None:
            self._asked_bytes -= size_bytes

        self._storage.ask(keep(key, data, time.time()), done, refuse=done)
