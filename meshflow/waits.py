"""Waiting for the ends of any number of runs, over one connection and in one thread.

A connection and a thread for each run would be thousands of descriptors for a thousand runs. So whoever waits is given
a future, and all are settled by one thread, which lives as long as its client once it is needed.

Invariants:
1. Every future is settled, or was cancelled: also if the client is closed, or the thread fails.
2. The more runs are waited for, the less often the log of each is read while nothing is pushed: the store is asked
   about `_READS_PER_S` of them at most, and about each once a second if there are fewer.
"""

import select
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from meshflow.alarm import Alarm
from meshflow.core.client_messages import Watch
from meshflow.core.records import RunRecord
from meshflow.follow import News
from meshflow.following import ALL_RUNS, WATCH_S, Listening
from meshflow.ids import RunId
from meshflow.mesh import Mesh
from meshflow.references import NotFound
from meshflow.wait import QUIET_S, Waiter

_READS_PER_S = 200

_PAUSE_S = 50e-6
"""For each run that is waited for, after a look at all of them: the looks take about a tenth of the time."""

_CLOSED = "the client was closed"

_Waiting = tuple[Waiter, Future[RunRecord]]


class Waits:
    """The ends that one client waits for; any thread may use it. `connect` makes a connection whose `news`
    does not wait while the descriptor that it is given is readable."""

    def __init__(self, connect: Callable[[int], Mesh]) -> None:
        self._alarm = Alarm()
        self._mesh = connect(self._alarm.fileno())
        self._arrived: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        """None: nothing was waited for, or it has failed."""
        self._is_closed = False

    def wait(self, run: RunId) -> Future[RunRecord]:
        """The record of the run, once it has ended; its future may be cancelled. It raises NotFound if there is no such
        run, or no longer."""
        waiting = Waiter(run), Future[RunRecord]()
        with self._lock:
            if self._is_closed:
                raise RuntimeError(_CLOSED)
            self._arrived.append(waiting)
            self._alarm.ring()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="meshflow-waits", daemon=True)
                self._thread.start()
        return waiting[1]

    def close(self) -> None:
        """Give up what is waited for."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            self._alarm.ring()
        if thread is not None:
            thread.join()
        self._alarm.close()

    def _run(self) -> None:
        problem: Exception = RuntimeError(_CLOSED)
        ends = _Ends(self._mesh)
        try:
            while True:
                self._alarm.quiet()
                if self._is_closed:  # Looked at after what has woken this thread is gone.
                    break
                self._take_in(ends)
                if ends.count:
                    ends.look()
                else:
                    select.select([self._alarm], [], [])
        except Exception as exc:  # A key that does not fit, for instance. Who waits is told, and others try again.
            problem = exc
        finally:
            with self._lock:
                self._take_in(ends)
                self._thread = None
                ends.close(problem)

    def _take_in(self, ends: "_Ends") -> None:
        while self._arrived:
            ends.add(*self._arrived.popleft())


class _Ends(Listening):
    """Listens for the ends of runs that come and go. News of one are asked for if it is the only one of late, else news
    of all workflow runs: about four for each."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh, ALL_RUNS, [], with_tasks=False)
        self._waiting: dict[RunId, tuple[Waiter, list[Future[RunRecord]]]] = {}

    @property
    def count(self) -> int:
        """How many runs are waited for."""
        return len(self._waiting)

    def add(self, waiter: Waiter, future: Future[RunRecord]) -> None:
        """Wait for one more run, or once more for the same."""
        waiter, futures = self._waiting.setdefault(waiter.run, (waiter, []))
        futures.append(future)
        self._listeners[waiter.run] = waiter
        self._look(waiter.run)

    def look(self) -> None:
        """Listen for a while, and tell who waited for what has ended."""
        self.step()
        for run, (waiter, futures) in list(self._waiting.items()):
            if waiter.is_done or all(future.cancelled() for future in futures):
                del self._waiting[run], self._listeners[run]
                for future in futures:
                    _settle(future, waiter)
        quiet_s = max(QUIET_S, self.count / _READS_PER_S)
        for waiter, _ in self._waiting.values():
            waiter.quiet_s = quiet_s
        self._mesh.sleep(self.count * _PAUSE_S)

    def close(self, problem: Exception) -> None:
        """Nothing is waited for any more, for this reason."""
        self._mesh.close()
        for _, futures in self._waiting.values():
            for future in futures:
                if future.set_running_or_notify_cancel():
                    future.set_exception(problem)

    def _look(self, run: RunId) -> None:
        """See to it that news of a run are told."""
        is_shown = self._mesh.now() < self._watch_at
        if not is_shown or self._watch.run not in (ALL_RUNS, run):
            self._watch = Watch(ALL_RUNS if is_shown or self.count > 1 else run, WATCH_S, with_tasks=False)
            self._watch_at = 0.0

    def _take(self) -> list[News]:
        return []  # What is gone is told by `settle`.


def _settle(future: Future[RunRecord], waiter: Waiter) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if waiter.is_gone:
        future.set_exception(NotFound(f"there is no run {waiter.run!r}; it may have been removed"))
    else:
        future.set_result(waiter.record)
