"""Followers and waiters connected to a mesh: has pushes sent, feeds them in, and asks the store what they want to know.

A mesh that does not answer is waited for: the run may well go on, and a node may come back. `problem` says so
meanwhile.
"""

from collections.abc import Iterator, Sequence

from meshflow.core.client_messages import Watch
from meshflow.core.records import RunRecord
from meshflow.core.requests import Answer, ListRuns, ReadOutput, Request
from meshflow.errors import StoreUnavailable
from meshflow.follow import Follower, News
from meshflow.ids import RunId, workflow_of
from meshflow.mesh import Mesh, NoMesh
from meshflow.references import NotFound, WaitTimeout
from meshflow.store.remote import TooLargeForMesh
from meshflow.wait import Waiter

WATCH_S = 30.0
"""For how long pushes are asked for; asked for anew after half of it, or when the node changed."""

_STEP_S = 1.0
"""The longest wait within `step`, so that a program that is interrupted notices soon."""

_MAX_AT_ONCE = 1000
"""Pushes taken in one step: news must be given out in between."""

_RETRY_S = 0.5

_DISCOVER_S = 1.0
"""How often runs that no push told of are looked for, when all runs are followed."""

_RECENT_COUNT = 100
"""How many of the newest runs are looked at then: more than start within `_DISCOVER_S` while all pushes are lost."""

ALL_RUNS = RunId("")
"""What is watched by who watches all."""


class Listening:
    """Connects those who listen to what happens in `watched` (empty: in all runs); `with_tasks` says whether that is to
    include dag runs and tasks. Not to be used by two threads at once."""

    def __init__(
        self, mesh: Mesh, watched: RunId, listeners: Sequence[Follower | Waiter], *, with_tasks: bool = True
    ) -> None:
        self.problem = ""
        """Why nothing comes at present; empty if all is well."""
        self._mesh = mesh
        self._listeners = {listener.run: listener for listener in listeners}
        self._watch = Watch(watched, WATCH_S, with_tasks)
        self._watch_at = 0.0
        self._generation = -1
        self._is_reading = True
        """Whether what the store has already may not all have been read."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return all(listener.is_done for listener in self._listeners.values())

    def step(self, timeout_s: float = _STEP_S) -> list[News]:
        """What is new, after a wait of at most about `timeout_s`.

        Raises:
            NotFound: there is no such run, or no longer.
        """
        now = self._mesh.now()
        try:
            self._renew_watch(now)
            self._is_reading = self._ask(now)
            if not self._is_reading:
                self._receive(timeout_s)
            self.problem = ""
        except (NoMesh, StoreUnavailable) as problem:
            self._is_reading = False
            self.problem = str(problem)
            self._mesh.sleep(min(timeout_s, _RETRY_S))
        return self._take()

    def until_done(self, timeout_s: float | None = None) -> Iterator[News]:
        """News as they come, until there are no more. `timeout_s` None waits for as long as it takes.

        Raises:
            WaitTimeout: the time is over.
            NotFound: there is no such run, or no longer.
        """
        until = None if timeout_s is None else self._mesh.now() + timeout_s
        while not self.is_done:
            rest_s = _STEP_S if until is None else until - self._mesh.now()
            if rest_s <= 0 and not self._is_reading:
                raise WaitTimeout(f"run {self._watch.run} did not end within {timeout_s:g} s; it goes on")
            yield from self.step(max(0.0, min(rest_s, _STEP_S)))

    def catch_up(self) -> list[News]:
        """What the store has now, without waiting for anything.

        Raises:
            NoMesh, StoreUnavailable: the mesh or its store did not answer.
            NotFound: there is no such run.
        """
        now = self._mesh.now()
        while self._ask(now):
            pass
        return self._take()

    def _renew_watch(self, now: float) -> None:
        if now >= self._watch_at or self._mesh.generation != self._generation:
            self._mesh.hint(self._watch)
            self._generation = self._mesh.generation
            self._watch_at = now + WATCH_S / 2

    def _ask(self, now: float) -> bool:
        """Ask the store what the listeners want to know; whether there was anything."""
        asks = [(listener, ask) for listener in self._listeners.values() for ask in listener.requests(now)]
        if not asks:
            return False
        answers = self._perform([request for _, request in asks])
        for (listener, request), answer in zip(asks, answers, strict=True):
            listener.answered(request, answer, now)
        return True

    def _perform(self, requests: list[Request]) -> list[Answer]:
        try:
            return self._mesh.perform(requests)
        except TooLargeForMesh:
            if len(requests) > 1:
                return [answer for request in requests for answer in self._perform([request])]
            if isinstance(requests[0], ReadOutput):
                return [()]  # more was printed than fits into a message; what was pushed has to do
            raise

    def _receive(self, timeout_s: float) -> None:
        now = self._mesh.now()
        due = min(
            (listener.deadline(now) for listener in self._listeners.values() if not listener.is_done), default=now
        )
        wait_s = max(0.0, min(timeout_s, due - now)) if self._listeners else timeout_s
        for _ in range(_MAX_AT_ONCE):
            news = self._mesh.news(wait_s)
            if news is None:
                return
            wait_s = 0.0
            runs = [news.batch.run] if news.batch is not None else [chunk.run for chunk in news.output[:1]]
            for run in runs:
                listener = self._listener_of(workflow_of(run))
                if listener is not None:
                    listener.receive(news, self._mesh.now())

    def _listener_of(self, run: RunId) -> Follower | Waiter | None:
        return self._listeners.get(run)

    def _take(self) -> list[News]:
        news = [item for listener in self._listeners.values() for item in listener.take()]
        gone = [listener.run for listener in self._listeners.values() if listener.is_gone]
        if gone and not news:
            raise NotFound(f"there is no run {gone[0]!r}; it may have been removed")
        return news


class Following(Listening):
    """Follows one run."""

    def __init__(self, mesh: Mesh, follower: Follower) -> None:
        super().__init__(mesh, follower.run, [follower])
        self.view = follower.view
        """The run as far as it was followed."""


class FollowingAll(Listening):
    """Follows every run of the mesh from now on: those that are open, and those that begin later. It has no end."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh, ALL_RUNS, [])
        self._known: dict[RunId, None] = {}
        """Runs that are or were followed, or had ended before."""
        self._discover_at = 0.0

    @property
    def is_done(self) -> bool:
        """Never: runs may begin at any time."""
        return False

    def _ask(self, now: float) -> bool:
        if now < self._discover_at:
            return super()._ask(now)
        is_first = not self._discover_at
        found = self._mesh.perform([ListRuns(workflows_only=True, limit=_RECENT_COUNT)])[0]
        assert isinstance(found, tuple)
        for record in found:
            assert isinstance(record, RunRecord)
            if record.run not in self._known and not (is_first and record.state.is_final):
                self._follow(record.run, from_now=is_first)
            self._known[record.run] = None
        self._discover_at = now + _DISCOVER_S
        return super()._ask(now)

    def _listener_of(self, run: RunId) -> Follower | Waiter | None:
        if run not in self._known:
            self._follow(run, from_now=False)
        return self._listeners.get(run)

    def _follow(self, run: RunId, *, from_now: bool) -> None:
        self._known[run] = None
        self._listeners[run] = Follower(run, node_name=self._mesh.node_name, with_output=False, from_now=from_now)

    def _take(self) -> list[News]:
        news = [item for follower in self._listeners.values() for item in follower.take()]
        self._listeners = {run: follower for run, follower in self._listeners.items() if not follower.is_done}
        return news
