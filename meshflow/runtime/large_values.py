"""Large values on their way into the store: a few at a time are with it, the rest waits.

What waits counts with the results that wait for an owner (`core/kept.py`): as far as those fit in memory together, it
stays there, and what is beyond goes to the spool. It is read back when the store has taken what came before.

Invariants:
1. Values are put in the order in which they came, each once; how often the store has to be asked is for `Storage`.
2. Beside what `Kept` allows, no more than `_AT_ONCE_BYTES` of them, or one value, are in memory.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from meshflow.core.kept import Kept
from meshflow.core.messages import Job
from meshflow.core.records import Value
from meshflow.core.requests import Answer, PutBlob, Refused
from meshflow.ids import RunId, workflow_of
from meshflow.runtime.storage import Storage

_AT_ONCE_BYTES = 8 * 1024 * 1024
"""What the store is asked to keep at a time: enough for values of 100 KB to share commits."""

Then = Callable[[Value | Refused], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    run: RunId
    key: str
    item: bytes | int
    """What stands for the value (`Kept.put_value`)."""
    size_bytes: int
    then: Then


class LargeValues:
    """Puts values into the store without more memory than is allowed for those that wait."""

    def __init__(self, storage: Storage, kept: Kept, loop: asyncio.AbstractEventLoop) -> None:
        self._storage = storage
        self._kept = kept
        self._loop = loop
        self._waiting: deque[_Waiting] = deque()
        self._asked_bytes = 0
        """What the store was asked to keep and has not answered."""

    def put(self, run: RunId, key: str, data: bytes, then: Then) -> None:
        """Keep a value in the store. `then` gets what names it, or why it could not be kept; it must not hold `data`,
        which would be in memory as long as `then` waits."""
        if not self._waiting and self._has_room(len(data)):
            self._ask(run, key, data, then)
        else:
            self._waiting.append(_Waiting(run, key, self._kept.put_value(data), len(data), then))

    def _has_room(self, size_bytes: int) -> bool:
        return not self._asked_bytes or self._asked_bytes + size_bytes <= _AT_ONCE_BYTES

    def _ask(self, run: RunId, key: str, data: bytes, then: Then) -> None:
        size_bytes = len(data)
        self._asked_bytes += size_bytes

        def reply(answers: list[Answer]) -> None:
            (answer,) = answers
            self._asked_bytes -= size_bytes
            # Not at once: until this call is over, the storage still has the values that are answered.
            self._loop.call_soon(self._go_on)
            then(answer if isinstance(answer, Refused) else Value(b"", key, size_bytes))

        self._storage.ask([PutBlob(workflow_of(run), key, data)], reply)

    def _go_on(self) -> None:
        while self._waiting and self._has_room(self._waiting[0].size_bytes):
            waiting = self._waiting.popleft()
            data = self._kept.take_value(waiting.item)
            if data is None:
                waiting.then(Refused("it waited on the disk of its node, which does not give it back"))
            else:
                self._ask(waiting.run, waiting.key, data, waiting.then)


def resolved(job: Job, blobs: dict[str, bytes]) -> Job:
    """The job with every value inline."""

    def inline(value: Value) -> Value:
        return Value(blobs[value.blob], "", value.size_bytes) if value.blob else value

    inputs = tuple(replace(item, value=inline(item.value)) for item in job.inputs)
    return replace(job, inputs=inputs, initial=inline(job.initial) if job.initial is not None else None)
