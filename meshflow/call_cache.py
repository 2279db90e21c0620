"""Results of calls that outlive the client: `client.options(cache=True)`.

One thread speaks to the store, over a connection of its own. Who submits calls waits for it a second at most.

Invariants:
1. What is kept is what the call returned: it is pickled before anybody else gets it, who might change it.
2. Nothing here raises, and nothing waits for a store that is away: calls are made as if there were no cache.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Condition, Thread
from typing import Any, TypeVar

from meshflow.call_future import CallFuture
from meshflow.core.caching import ANSWER_S, keep, look_up
from meshflow.core.calling import Call
from meshflow.core.requests import Request
from meshflow.errors import MeshflowError
from meshflow.mesh import Mesh
from meshflow.models.cache_keys import arguments_key, call_key
from meshflow.models.payload import dumps, loads

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
"""Larger results of calls are not kept: they have to fit into messages, which results of tasks have not."""

_WAITING_BYTES = 64 * 1024 * 1024
"""What may wait to be kept; what is beyond is not."""

_KEPT_TOGETHER = 256
"""Results that are kept in one commit."""

_AWAY_S = 10.0
"""For how long nothing is looked for after there was no answer."""

_Find = tuple[Sequence[str], "Future[list[bytes | None]]"]


class CachedFuture(CallFuture[T]):
    """The outcome of a call that may be known already."""

    def __init__(self, call: Call, cache: "CallCache", key: str) -> None:
        super().__init__(call)
        self._cache = cache
        self._key = key

    def set_result(self, result: T) -> None:
        """The call returned."""
        self._cache.keep(self._key, result)
        super().set_result(result)

    def take(self, data: bytes) -> bool:
        """It is known what the call returns. False: that cannot be read here."""
        try:
            result = loads(data)
        except Exception:  # Unpickling runs the user's code.
            return False
        self.is_cached = True
        super().set_result(result)
        return True


class CallCache:
    """Finds and keeps results for one client; any thread may use it. `connect` makes a connection."""

    def __init__(self, connect: Callable[[], Mesh]) -> None:
        self._connect = connect
        self._mesh: Mesh | None = None
        self._changed = Condition()
        """Guards all below."""
        self._to_find: deque[_Find] = deque()
        self._to_keep: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self._thread: Thread | None = None
        self._is_busy = False
        self._is_closed = False
        self._away_until = 0.0

    def keys(
        self, function: Callable[..., object], rows: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]
    ) -> list[str]:
        """What names the result of each call; empty where it cannot be named."""
        try:
            key = call_key(function)
            return [f"call/{arguments_key(key, *row)}" for row in rows]
        except Exception:  # A user's __reduce__ may raise anything.
            return [""] * len(rows)

    def find(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each key; None where nothing is, or it cannot be had now."""
        found: Future[list[bytes | None]] = Future()
        with self._changed:
            if self._is_closed or time.monotonic() < self._away_until or not any(keys):
                return [None] * len(keys)
            self._to_find.append((keys, found))
            self._wake()
        try:
            return found.result(ANSWER_S)
        except (MeshflowError, TimeoutError):
            with self._changed:
                self._away_until = time.monotonic() + _AWAY_S
            return [None] * len(keys)

    def keep(self, key: str, result: object) -> None:
        """Have a result kept, if that is possible."""
        data = b""
        with suppress(MeshflowError):
            data = dumps(result, max_bytes=MAX_BYTES)
        with self._changed:
            if key and data and not self._is_closed and self._waiting_bytes + len(data) <= _WAITING_BYTES:
                self._to_keep.append((key, data))
                self._waiting_bytes += len(data)
                self._wake()

    def close(self) -> None:
        """Have kept what waits for it, for a second at most, and let go."""
        with self._changed:
            self._changed.wait_for(lambda: not self._to_keep and not self._is_busy, ANSWER_S)
            self._is_closed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._run, name="meshflow-call-cache", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # --- in the thread ---

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_closed or self._to_find or self._to_keep)
                if self._is_closed:
                    break
                self._is_busy = True
                # First what was kept, so that it is found.
                kept = [self._to_keep.popleft() for _ in range(min(len(self._to_keep), _KEPT_TOGETHER))]
                finding = None if kept else self._to_find.popleft()
                self._waiting_bytes -= sum(len(data) for _, data in kept)
            if finding is not None:
                self._find(*finding)
            else:
                with suppress(MeshflowError):
                    self._perform([request for key, data in kept for request in keep(key, data, time.time())])
        if self._mesh is not None:
            self._mesh.close()

    def _find(self, keys: Sequence[str], found: "Future[list[bytes | None]]") -> None:
        try:
            answers = self._perform([request for key in keys for request in look_up(key, time.time())])
        except MeshflowError as problem:
            found.set_exception(problem)
            return
        values: list[bytes | None] = []
        for key, now, before in zip(keys, answers[::2], answers[1::2], strict=True):
            value = now if isinstance(now, bytes) else before
            values.append(value if isinstance(value, bytes) else None)
            if value is before and isinstance(before, bytes):
                with self._changed:
                    self._to_keep.append((key, before))
                    self._waiting_bytes += len(before)
        found.set_result(values)

    def _perform(self, requests: Sequence[Request]) -> list[object]:
        if self._mesh is None:
            self._mesh = self._connect()
        return self._mesh.perform(requests)
