"""Followers connected to a mesh: has pushes sent, feeds them in, and asks the store what the followers want to know.

A mesh that does not answer is waited for: the run may well go on, and a node may come back. `problem` says so
meanwhile.
"""

from collections.abc import Iterator

from meshflow.core.records import RunRecord
from meshflow.core.requests import Answer, ListRuns, ReadOutput, Request
from meshflow.errors import StoreUnavailable
from meshflow.follow import Follower, News
from meshflow.ids import RunId, workflow_of
from meshflow.mesh import Mesh, NoMesh
from meshflow.references import NotFound, WaitTimeout
from meshflow.run_view import RunView
from meshflow.store.remote import TooLargeForMesh

_WATCH_S = 30.0
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

_ALL_RUNS = RunId("")


class Following:
    """Follows one run. Not to be used by two threads at once."""

    def __init__(self, mesh: Mesh, follower: Follower) -> None:
        self.problem = ""
        """Why nothing comes at present; empty if all is well."""
        self._mesh = mesh
        self._followers = {follower.run: follower} if follower.run else {}
        self._watched = follower.run
        self._watch_at = 0.0
        self._generation = -1
        self._is_reading = True
        """Whether what the store has already may not all have been read."""

    @property
    def view(self) -> RunView:
        """The run as far as it was followed."""
        return self._followers[self._watched].view

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return all(follower.is_done for follower in self._followers.values())

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
                raise WaitTimeout(f"run {self._watched} did not end within {timeout_s:g} s; it goes on")
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
            self._mesh.watch(self._watched, _WATCH_S)
            self._generation = self._mesh.generation
            self._watch_at = now + _WATCH_S / 2

    def _ask(self, now: float) -> bool:
        """Ask the store what the followers want to know; whether there was anything."""
        asks = [(follower, ask) for follower in self._followers.values() for ask in follower.requests(now)]
        if not asks:
            return False
        answers = self._perform([request for _, request in asks])
        for (follower, request), answer in zip(asks, answers, strict=True):
            follower.answered(request, answer, now)
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
            (follower.deadline(now) for follower in self._followers.values() if not follower.is_done), default=now
        )
        wait_s = max(0.0, min(timeout_s, due - now)) if self._followers else timeout_s
        for _ in range(_MAX_AT_ONCE):
            news = self._mesh.news(wait_s)
            if news is None:
                return
            wait_s = 0.0
            runs = [news.batch.run] if news.batch is not None else [chunk.run for chunk in news.output[:1]]
            for run in runs:
                follower = self._follower_of(workflow_of(run))
                if follower is not None:
                    follower.receive(news, self._mesh.now())

    def _follower_of(self, run: RunId) -> Follower | None:
        return self._followers.get(run)

    def _take(self) -> list[News]:
        news = [item for follower in self._followers.values() for item in follower.take()]
        gone = [follower.run for follower in self._followers.values() if follower.is_gone]
        if gone and not news:
            raise NotFound(f"there is no run {gone[0]!r}; it may have been removed")
        return news


class FollowingAll(Following):
    """Follows every run of the mesh from now on: those that are open, and those that begin later. It has no end."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh, Follower(_ALL_RUNS))
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

    def _follower_of(self, run: RunId) -> Follower | None:
        if run not in self._known:
            self._follow(run, from_now=False)
        return self._followers.get(run)

    def _follow(self, run: RunId, *, from_now: bool) -> None:
        self._known[run] = None
        self._followers[run] = Follower(run, node_name=self._mesh.node_name, with_output=False, from_now=from_now)

    def _take(self) -> list[News]:
        news = [item for follower in self._followers.values() for item in follower.take()]
        self._followers = {run: follower for run, follower in self._followers.items() if not follower.is_done}
        return news
