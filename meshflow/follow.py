"""Following a run: news is pushed, and what was missed is read from the store.

A follower is fed what nodes push (`receive`) and what the store answers (`answered`). It says what to ask the store now
(`requests`) and when to look again (`deadline`), and gives out events and printed lines (`take`). It has no socket,
thread or clock: `following.py` connects it to the mesh, and tests to nothing.

Invariants:
1. Each log is applied in order of seq, each batch once, whether it was pushed or read; a log whose tasks have no names
   yet waits for its definition.
2. Pushes are a convenience: with all of them lost the same is told, at most `_QUIET_S` later (`_MAX_QUIET_S` for the
   log of a dag run that has not ended).
3. `is_done` comes after every log was read to its end and, if output is wanted, the stored output was read after that.
4. The end of the run is told last, although its own log may be read before those of its dag runs.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from meshflow import wire
from meshflow.core.client_messages import Watched
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.records import Batch, RunEnded, RunRecord
from meshflow.core.requests import Answer, GetBlob, LoadRun, ReadLog, ReadOutput, Request
from meshflow.ids import NodeId, RunId, workflow_of
from meshflow.printed import Line, Printed
from meshflow.queue.models import JobEvent
from meshflow.run_view import DagView, RunView

_QUIET_S = 1.0
"""A log that was silent for so long is read: long enough to spare the store, short enough for a person who waits."""

_MAX_QUIET_S = 8.0
"""The pause between reads of a dag run's log doubles up to this while nothing new is in it, so that a run with hundreds
of sleeping dag runs costs little. An end is not missed: the workflow run's log, read every `_QUIET_S`, tells it."""

_MAX_EARLY_COUNT = 1024
"""Batches of one log that are kept until those before them have come; any beyond are read from the store later."""

News = JobEvent | Line


@dataclass(slots=True)
class _Log:
    """How far one log was applied."""

    run: RunId
    is_silent: bool
    """Its events are not told, until it was read to its end for the first time."""
    read_at: float
    """When it is to be read next."""
    next_seq: int = 0
    early: dict[int, Batch] = field(default_factory=dict)
    """`{seq: batch}` of what cannot be applied yet."""
    pause_s: float = _QUIET_S
    is_ended: bool = False
    """Its last entry was applied. A node that comes too late may still claim the run; that is of no interest."""
    at: float = 0.0
    """The latest wall clock in it so far: an owner on another host may have a clock that is behind."""

    def hold(self, batch: Batch) -> None:
        if batch.seq >= self.next_seq and len(self.early) < _MAX_EARLY_COUNT:
            self.early[batch.seq] = batch

    def pop(self) -> Batch | None:
        """The next batch, if it is there."""
        batch = self.early.pop(self.next_seq, None)
        if batch is not None:
            self.next_seq += 1
        return batch


class Follower:
    """Follows one workflow run.

    `definitions`, `{dag: definition}`, are those that the caller has at hand, so that they need not be fetched. A
    follower that starts `from_now` tells no event that was logged before its first look, and no output.
    """

    def __init__(
        self,
        run: RunId,
        *,
        node_name: Callable[[NodeId], str] = str,
        definitions: Mapping[str, DagDefinition] | None = None,
        with_output: bool = True,
        from_now: bool = False,
    ) -> None:
        self.run = run
        self.view = RunView(run, node_name)
        self.is_gone = False
        """There is no such run, or no longer."""
        self._definitions = dict(definitions or {})
        self._with_output = with_output and not from_now
        self._news: list[tuple[float, News]] = []
        """With the wall clock by which those of different logs are put in order."""
        self._printed = Printed()
        self._output_at = 0.0
        """When output is to be read next, if any is missing."""
        self._has_output = False
        self._logs: dict[RunId, _Log] = {run: _Log(run, from_now, 0.0)}
        self._end: JobEvent | None = None
        """The end of the run, until it is told; None before it is known."""
        self._has_record = self._has_spec = self._is_complete = False

    @property
    def is_done(self) -> bool:
        """Whether nothing more will come."""
        return self._is_complete or self.is_gone

    def take(self) -> list[News]:
        """What happened since the last call; in the order of time, and what one log says in the order of that log."""
        news, self._news = self._news, []
        return [each for _, each in sorted(news, key=lambda pair: pair[0])]

    def deadline(self, now: float) -> float:
        """When `requests` will have something to ask if nothing is received until then; `now` if it has already."""
        if self.requests(now):
            return now
        return min((log.read_at for log in self._logs.values() if not log.is_ended), default=now)

    def receive(self, news: Watched, now: float) -> None:
        """Take what a node pushed. News of other runs are ignored."""
        if self._with_output:
            own = [chunk for chunk in news.output if workflow_of(chunk.run) == self.run]
            self._tell_lines(self._printed.accept(own))
        if news.batch is None or workflow_of(news.batch.run) != self.run:
            return
        log = self._logs.get(news.batch.run)
        if log is None:
            # The log that names this dag run is behind. Once it is not, this batch is read with the dag run's own log.
            self._logs[self.run].read_at = now
            return
        log.hold(news.batch)
        self._advance(now)

    def requests(self, now: float) -> list[Request]:
        """What to ask the store at `now`; the same is asked again later if the store does not answer."""
        if self.is_done:
            return []
        asks: list[Request] = []
        main = self._logs[self.run]
        if not self._has_record or (main.read_at <= now and not main.is_ended):
            asks.append(LoadRun(self.run))
        if not self._has_spec:
            asks.append(GetBlob(self.run, "workflow"))
        asks += [GetBlob(self.run, f"dag/{dag}") for dag in self._undefined_dags()]
        due = [log for log in self._readable_logs() if log.read_at <= now and not log.is_ended]
        asks += [ReadLog(log.run, log.next_seq) for log in due]
        if self._wants_output(now):
            asks.append(ReadOutput(self.run))
        return asks

    def answered(self, request: Request, answer: Answer, now: float) -> None:
        """Take the store's answer to one of `requests`."""
        match request:
            case LoadRun():
                self._describe(answer, now)
            case GetBlob(key=key):
                self._define(key, answer, now)
            case ReadLog(run=run):
                assert isinstance(answer, tuple)
                self._read(self._logs[run], answer, now)
            case ReadOutput():
                assert isinstance(answer, tuple)
                self._read_output(answer, now)
            case _:
                raise AssertionError(f"a follower does not ask {request!r}")

    def _undefined_dags(self) -> list[str]:
        wanted = {view.dag: None for view in self.view.dags.values()}
        return [dag for dag in wanted if dag not in self._definitions]

    def _readable_logs(self) -> list[_Log]:
        """Logs whose entries can be applied: runs and tasks must have names before anything is told of them."""
        if not (self._has_spec and self._has_record):
            return []
        dags = [dag for dag in self.view.dags.values() if dag.dag in self._definitions]
        return [self._logs[self.run], *(self._logs[dag.run] for dag in dags)]

    def _wants_output(self, now: float) -> bool:
        """At first; while bytes are missing, every `_QUIET_S`; and once all logs have ended."""
        if not self._with_output or not self._has_record:
            return False
        is_missing = not self._has_output or self._printed.has_gaps
        return self.view.is_ended or (is_missing and now >= self._output_at)

    def _describe(self, record: Answer, now: float) -> None:
        if record is None:
            self.is_gone = True
            return
        assert isinstance(record, RunRecord)
        self._has_record = True
        self._tell(self._logs[self.run], self.view.describe(record), record.created_at)
        self._advance(now)

    def _define(self, key: str, blob: Answer, now: float) -> None:
        if not isinstance(blob, bytes):
            self.is_gone = True  # a run that can be seen has its blobs, so it was removed in the meantime
            return
        if key == "workflow":
            self._has_spec = True
            self.view.define(wire.decode(WorkflowSpec, blob))
        else:
            dag = key.removeprefix("dag/")
            self._definitions[dag] = wire.decode(DagDefinition, blob)
            for view in self.view.dags.values():
                if view.dag == dag:
                    self._define_dag(view)
        self._advance(now)

    def _define_dag(self, view: DagView) -> None:
        if view.dag in self._definitions:
            view.define(self._definitions[view.dag].spec)

    def _read(self, log: _Log, batches: tuple[Batch, ...], now: float) -> None:
        fresh = tuple(batch for batch in batches if batch.seq >= log.next_seq)
        if fresh:
            # The store leaves no gap between batches, so what is first there is what follows.
            log.next_seq = fresh[0].seq
            log.early.update((batch.seq, batch) for batch in fresh)
            self._advance(now)
            log.read_at = now
            return
        log.is_silent = False
        log.read_at = now + log.pause_s
        if log.run != self.run:
            log.pause_s = min(_MAX_QUIET_S, log.pause_s * 2)
            self._conclude(log)
        self._complete_if_ended()

    def _advance(self, now: float) -> None:
        """Apply all that can be, to all logs: the log of the workflow run may name new ones."""
        for log in self._readable_logs():
            while not log.is_ended and (batch := log.pop()) is not None:
                events = self.view.apply(batch)
                log.is_ended = any(isinstance(entry, RunEnded) for entry in batch.entries)
                if log.is_ended and log.run == self.run:
                    self._end = events.pop()
                self._tell(log, events, batch.at)
                log.pause_s = _QUIET_S
                log.read_at = now + log.pause_s
            if log.early:
                log.read_at = now
            if log.run == self.run:
                self._open_logs(log, now)
        for name, view in self.view.dags.items():
            if self.view.awaits_end(name):
                self._logs[view.run].read_at = now
        self._complete_if_ended()

    def _open_logs(self, main: _Log, now: float) -> None:
        for view in self.view.dags.values():
            if view.run not in self._logs:
                self._logs[view.run] = _Log(view.run, main.is_silent, now)
                self._define_dag(view)

    def _conclude(self, log: _Log) -> None:
        """A dag run's log was read to its end: if the run is known to have ended, there is nothing more to wait for."""
        for name, view in self.view.dags.items():
            if view.run == log.run and self.view.awaits_end(name):
                self._tell(log, self.view.conclude(name), log.at)
                log.is_ended = True

    def _read_output(self, chunks: tuple[object, ...], now: float) -> None:
        is_last = self.view.is_ended
        self._has_output = True
        self._output_at = now + _QUIET_S
        self._tell_lines(self._printed.accept(chunks))  # type: ignore[arg-type]
        if is_last:
            self._tell_lines(self._printed.flush())
            self._complete()

    def _complete_if_ended(self) -> None:
        if self.view.is_ended and not self._with_output and not self._is_complete:
            self._complete()

    def _complete(self) -> None:
        assert self._end is not None
        self._tell(self._logs[self.run], [self._end], math.inf)
        self._is_complete = True

    def _tell(self, log: _Log, events: list[JobEvent], at: float) -> None:
        log.at = max(log.at, at)
        if not log.is_silent:
            self._news += [(log.at, event) for event in events]

    def _tell_lines(self, lines: list[Line]) -> None:
        self._news += [(line.at, line) for line in lines]
