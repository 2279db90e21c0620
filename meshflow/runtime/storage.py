"""The store, beside the event loop: one thread, group commits, and patience while the store is away.

Invariants:
1. Requests are performed in the order in which they were asked. Everything that has gathered while one group was being
   committed goes into the next.
2. While the store does not answer, asks that may wait are repeated until it does; those of somebody who waits for the
   answer (`refuse` is given) are refused with the reason.
3. Requests that this store can never take (`UsageError`: they cannot be encoded; `TooLargeForMesh`) are answered with
   Refused, each ask by itself, so that they hold nobody else up.
4. `reply` and `refuse` are called in the thread of the event loop.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meshflow.core.requests import Answer, Refused, Request
from meshflow.errors import MeshflowError, StoreRefusal, UsageError
from meshflow.runtime.event_log import log_problem
from meshflow.store.base import Store
from meshflow.store.remote import TooLargeForMesh

_MAX_GROUP = 512
"""Requests in one group commit; bounds the time for which others wait for the store's write lock."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

Reply = Callable[[list[Answer]], None]
Refuse = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Asked:
    requests: Sequence[Request]
    reply: Reply
    refuse: Refuse | None


class Storage:
    """Asks a store without making the loop wait. `open_store` is called in the store's thread, now and after trouble;
    `on_state` hears the reason when the store stops answering, and an empty text when it answers again."""

    def __init__(
        self, open_store: Callable[[], Store], loop: asyncio.AbstractEventLoop, on_state: Callable[[str], None]
    ) -> None:
        self._open_store = open_store
        self._loop = loop
        self._on_state = on_state
        self._queue: deque[_Asked] = deque()
        self._has_work = threading.Condition()
        self._is_closing = False
        self._is_busy = False
        self._store: Store | None = None
        self._last_refusal = ""
        self._thread = threading.Thread(target=self._run, name="meshflow-store", daemon=True)
        self._thread.start()

    def ask(self, requests: Sequence[Request], reply: Reply, refuse: Refuse | None = None) -> None:
        """Have `requests` performed; `reply` gets the answers. Without `refuse` they are repeated until they are."""
        with self._has_work:
            self._queue.append(_Asked(requests, reply, refuse))
            self._has_work.notify()

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked has been performed."""
        with self._has_work:
            return not self._queue and not self._is_busy

    def close(self, timeout_s: float) -> None:
        """Perform what was asked, for at most `timeout_s`, and let go of the store."""
        with self._has_work:
            self._is_closing = True
            self._has_work.notify()
        self._thread.join(timeout_s)

    # --- in the store's thread ---

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while (group := self._next_group()) is not None:
            left, problem = self._commit(group)
            del group  # It may hold large values, and the next one may be long in coming.
            if not left:
                pause_s = _FIRST_PAUSE_S
                continue
            self._put_back(left, problem)
            del left
            with self._has_work:
                if not self._is_closing:
                    self._has_work.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if self._store is not None:
            self._store.close()

    def _next_group(self) -> list[_Asked] | None:
        with self._has_work:
            self._is_busy = False
            while not self._queue:
                if self._is_closing:
                    return None
                self._has_work.wait()
            self._is_busy = True
            group = [self._queue.popleft()]
            count = len(group[0].requests)
            while self._queue and count + len(self._queue[0].requests) <= _MAX_GROUP:
                group.append(self._queue.popleft())
                count += len(group[-1].requests)
            return group

    def _commit(self, group: list[_Asked]) -> tuple[list[_Asked], str]:
        """Perform a group; gives what of it was not answered, and why."""
        try:
            if self._store is None:
                self._store = self._open_store()
            answers = self._store.perform([request for asked in group for request in asked.requests])
        except (UsageError, TooLargeForMesh, StoreRefusal) as problem:
            if len(group) > 1:
                return self._commit_each(group)
            if isinstance(problem, StoreRefusal) and str(problem) != self._last_refusal:
                self._last_refusal = str(problem)
                log_problem(f"a request to the store was given up: {problem}")
            answers = [Refused(str(problem))] * len(group[0].requests)
        except MeshflowError as problem:
            return group, str(problem)
        except Exception as problem:  # Whatever it is: without this thread the node would wait for ever, in silence.
            return group, f"{type(problem).__name__}: {problem}"
        self._call(self._answer, group, answers)
        return [], ""

    def _commit_each(self, group: list[_Asked]) -> tuple[list[_Asked], str]:
        for index, asked in enumerate(group):
            left, problem = self._commit([asked])
            if left:
                return group[index:], problem
        return [], ""

    def _put_back(self, group: list[_Asked], problem: str) -> None:
        refused = [asked for asked in group if asked.refuse is not None]
        with self._has_work:
            self._queue.extendleft(reversed([asked for asked in group if asked.refuse is None]))
            refused += [asked for asked in self._queue if asked.refuse is not None]
            self._queue = deque(asked for asked in self._queue if asked.refuse is None)
            if self._is_closing:
                self._queue.clear()
        self._call(self._refuse, refused, problem)

    def _call(
        self,
        callback: Callable[[list[_Asked], list[Answer]], None] | Callable[[list[_Asked], str], None],
        group: list[_Asked],
        outcome: list[Answer] | str,
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, group, outcome)  # type: ignore[arg-type]
        except RuntimeError:
            # The loop has ended before the store's last answer; nobody waits for it any more.
            return

    # --- in the loop's thread ---

    def _answer(self, group: list[_Asked], answers: list[Answer]) -> None:
        self._on_state("")
        start = 0
        for asked in group:
            mine = answers[start : start + len(asked.requests)]
            start += len(asked.requests)
            asked.reply(mine)

    def _refuse(self, group: list[_Asked], problem: str) -> None:
        self._on_state(problem)
        for asked in group:
            if asked.refuse is not None:
                asked.refuse(problem)
