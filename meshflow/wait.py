"""Waiting for the end of a run: nothing is told but the end, and the tasks of the run cost the waiter nothing.

A waiter is fed and asked like a follower (`follow.py`), but it takes part of the workflow run's own log only.

Invariants:
1. The log is applied in order of seq, each batch once, whether it was pushed or read.
2. Pushes are a convenience: with all of them lost the end is known `quiet_s` later.
3. The record that is given out says how the run ended also while the one in the store does not yet.
"""

from dataclasses import replace

from meshflow.core.client_messages import Watched
from meshflow.core.records import Batch, Claimed, DagEnded, RunEnded, RunRecord
from meshflow.core.requests import Answer, LoadRun, ReadLog, Request
from meshflow.follow import News
from meshflow.ids import RunId

QUIET_S = 1.0
"""A log that was silent for so long is read: as for those who follow the run."""


class Waiter:
    """Waits for the end of one workflow run."""

    def __init__(self, run: RunId) -> None:
        self.run = run
        self.quiet_s = QUIET_S
        """A log that was silent for so long is read."""
        self.is_gone = False
        """There is no such run, or no longer."""
        self._record: RunRecord | None = None
        """As the store has it; None before it has answered."""
        self._read_at = 0.0
        self._next_seq = 0
        self._started_at: float | None = None
        self._total = self._done = 0
        self._end: tuple[RunEnded, float] | None = None
        """The last entry, with its wall clock."""

    @property
    def is_done(self) -> bool:
        """Whether the run has ended, or is gone."""
        return self.is_gone or (self._record is not None and (self._record.state.is_final or self._end is not None))

    @property
    def record(self) -> RunRecord:
        """How the run ended; to be asked for once `is_done`, if the run is not gone."""
        assert self._record is not None, self.run
        if self._end is None or self._record.state.is_final:
            return self._record
        end, ended_at = self._end
        return replace(
            self._record,
            state=end.state,
            reason=end.reason,
            started_at=self._started_at,
            ended_at=ended_at,
            total=self._total,
            done=self._done,
        )

    def take(self) -> list[News]:
        """Nothing: a waiter tells no news."""
        return []

    def deadline(self, now: float) -> float:
        """When `requests` will have something to ask if nothing is received until then."""
        return self._read_at

    def receive(self, news: Watched, now: float) -> None:
        """Take what a node pushed. All but the workflow run's own log is ignored."""
        batch = news.batch
        if batch is None or batch.run != self.run:
            return
        if batch.seq > self._next_seq:
            self._read_at = now
        else:
            self._apply(batch, now)

    def requests(self, now: float) -> list[Request]:
        """What to ask the store at `now`; the same is asked again later if the store does not answer."""
        if self.is_done or now < self._read_at:
            return []
        return [LoadRun(self.run), ReadLog(self.run, self._next_seq)]

    def answered(self, request: Request, answer: Answer, now: float) -> None:
        """Take the store's answer to one of `requests`."""
        match request:
            case LoadRun():
                assert answer is None or isinstance(answer, RunRecord)
                self._record, self.is_gone = answer, answer is None
            case ReadLog(since=since):
                assert isinstance(answer, tuple)
                for batch in answer:
                    self._apply(batch, now)
                # The store may have more than it gave at once.
                self._read_at = now if self._next_seq > since else now + self.quiet_s
            case _:
                raise AssertionError(f"a waiter does not ask {request!r}")

    def _apply(self, batch: Batch, now: float) -> None:
        if batch.seq < self._next_seq:
            return
        self._next_seq = batch.seq + 1
        self._read_at = now + self.quiet_s
        for entry in batch.entries:
            match entry:
                case Claimed() if self._started_at is None:
                    self._started_at = batch.at
                case DagEnded(total=total, done=done):
                    self._total += total
                    self._done += done
                case RunEnded():
                    self._end = (entry, batch.at)
                case _:
                    pass
