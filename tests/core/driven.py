"""A dag run that a node drives, with everything around it, for the tests of the owner's machines."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from meshflow.core.asks import Asks
from meshflow.core.attempts import Attempt
from meshflow.core.dagowner import DagOwner
from meshflow.core.dagrun import DagRun
from meshflow.core.dispatch import Dispatcher, DispatchSettings
from meshflow.core.effects import Ask, Effect, Emit, Send
from meshflow.core.events import JobRequeued
from meshflow.core.graph import DagSpec
from meshflow.core.messages import Cancel, Job, Owned, Report, Reports, Stopping
from meshflow.core.owner_settings import OwnerSettings
from meshflow.core.ownership import RunLog
from meshflow.core.records import Batch, Entry, RunRecord, State, TaskEnded, Value
from meshflow.core.requests import Append, Request
from meshflow.ids import NodeId
from tests.core.builders import ANN, BOB, ME, RUN, dag, dag_record, definition, ended, member

WALL = 2000.0
"""The wall clock in these tests."""


class Written(NamedTuple):
    """What reached the log and the store, and the effects that waited for it."""

    entries: list[Entry]
    requests: list[Request]
    released: list[Effect]


def write(
    flush: Callable[[], list[Effect]],
    log: RunLog,
    logged: Callable[[Batch | None, list[Effect]], None] = lambda *_: None,
) -> Written:
    """Have all that was added to `log` written, and all that follows from it. `logged` is told of each batch."""
    written = Written([], [], [])
    while effects := flush():
        ask = effects[-1]
        if log.is_idle or not isinstance(ask, Ask):
            written.released.extend(effects)
            continue
        for request in ask.requests:
            if isinstance(request, Append):
                written.entries.extend(request.batch.entries)
            else:
                written.requests.append(request)
        batch, released = log.answered([True] * len(ask.requests))
        logged(batch, released)
        written.released.extend(released)
    return written


def asked(effects: list[Effect]) -> list[Request]:
    """All that is asked of the store in `effects`."""
    return [request for effect in effects if isinstance(effect, Ask) for request in effect.requests]


class DrivenDag:
    """`RUN`, driven by ME. The members are ME, ANN and BOB."""

    def __init__(
        self,
        spec: DagSpec,
        *log: Entry,
        record: RunRecord | None = None,
        epoch: int = 1,
        initial: Value | None = None,
        **settings: Any,
    ) -> None:
        self.asks = Asks()
        self.fold = DagRun(spec)
        for entry in log:
            self.fold.apply(entry)
        self.log = RunLog(RUN, ME, epoch, 1, self.asks)
        self.dispatcher = Dispatcher(DispatchSettings(), ME)
        self.dispatcher.set_members([member(node) for node in (ME, ANN, BOB)])
        self.names = {node: f"{node}'s" for node in (ME, ANN, BOB)}
        self.owner = DagOwner(
            record or dag_record(started_at=1500.0),
            definition(spec),
            self.fold,
            self.log,
            self.dispatcher,
            OwnerSettings(**settings),
            initial,
            self.names,
        )

    def begin(self, *, is_takeover: bool = False, now: float = 0.0) -> list[Effect]:
        """Take charge, and have written what that brings."""
        effects = self.owner.begin([ME, ANN, BOB], is_takeover, now)
        return effects + self.write(now).released

    def write(self, now: float = 0.0) -> Written:
        """Have everything written."""
        return write(
            lambda: self.owner.flush(now, WALL),
            self.log,
            lambda batch, effects: self.owner.logged(batch, effects, now),
        )

    def queued(self) -> list[int]:
        """The tasks that wait to be handed out, which they do no longer."""
        self.dispatcher.demand(BOB, 1_000_000, 0, 0.0)
        tasks = [job.task for handout in self.dispatcher.pump(0.0) for job in handout.jobs]
        self.dispatcher.demand(BOB, 0, len(tasks), 1e9)
        return tasks

    def hand_out(self, *tasks: int, to: NodeId = ANN, now: float = 0.0) -> list[Attempt]:
        """Hand out these tasks as the dispatcher would, and have it written."""
        self.queued()
        jobs = [self.owner.hand_out(each, to, now) for each in tasks]
        self.write(now)
        return [job.attempt for job in jobs if isinstance(job, Job)]

    def report(self, *reports: Report, by: NodeId = ANN, first: int = 1, **fields: Any) -> list[Effect]:
        """A node tells what became of attempts."""
        acknowledged = fields.get("acknowledged", 1)
        message = Reports(RUN, first, acknowledged, reports, 0, 0)
        return self.owner.reports(by, message, fields.get("now", 0.0))


def recorded(index: int, state: State = State.COMPLETED, **fields: Any) -> TaskEnded:
    """The entry for what `finished` reports of ANN."""
    end = ended(index, state, value=Value(b"result"), started_at=1001.0, ended_at=1003.0, node="ann's")
    return replace(end, **fields)


def lost(index: int, number: int, why: str, node: str = "ann's") -> TaskEnded:
    """The entry for an attempt that was lost."""
    reason = f"attempt {number} on node {node} was lost: {why}"
    return TaskEnded(index, number, State.LOST, reason=reason, node=node, retry=True)


def requeued(name: str, number: int, why: str, node: NodeId = ANN) -> Emit:
    """The event for it."""
    return Emit(JobRequeued(RUN, name, number, node, f"attempt {number} on node {node}'s was lost: {why}"))


def takeover(*log: Entry, names: str = "a b", edges: str = "") -> DrivenDag:
    """A dag run in its second epoch, with the log of its first."""
    driven = DrivenDag(dag(names, edges), *log, epoch=2, adopt_s=0.3)
    assert driven.begin(is_takeover=True) == [Send(node, Owned(RUN, 2)) for node in (ME, ANN, BOB)]
    return driven


def cancelled(*attempts: Attempt) -> list[Effect]:
    """What ANN is told when the run is cancelled."""
    return [Send(ANN, Stopping(RUN)), Send(ANN, Cancel(attempts))]
