"""The runs this node drives, from the claim to the end, and the jobs that wait in them.

It routes: answers of the store to the run they are about, reports and signals to their dag run or workflow run. What is
decided about a run is decided in `dagowner.py`, `relay.py` and `workflowowner.py`.

Invariants:
1. A run is here exactly while this node believes to be its owner. After a refused append it is gone at once, with all
   that waited in it.
2. Only runs that were touched or are due are looked at in a flush.
"""

import heapq
import math
from collections.abc import Sequence
from typing import Protocol

from meshflow.core.asks import (
    Appending,
    Asks,
    Claiming,
    Closing,
    Creating,
    Loading,
    Looking,
    Mending,
    Purpose,
    Scanning,
)
from meshflow.core.claims import Claims, ClaimSettings, Load
from meshflow.core.dagowner import DagOwner, OwnerSettings
from meshflow.core.dagrun import DagRun
from meshflow.core.dispatch import Dispatcher, DispatchSettings
from meshflow.core.effects import Effect, Emit, Send
from meshflow.core.events import RunClaimed, RunFinished, RunLost, StoreProblem
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.messages import Attempt, Job, Offer, Owned, Reports, RunOpen, Signal, SignalAnswer, Work
from meshflow.core.ownership import RunLog
from meshflow.core.queue import Waiting
from meshflow.core.records import Batch, RunEnded, RunRecord, State, Stop
from meshflow.core.relay import Relay
from meshflow.core.requests import ListRuns, LoadRun, UpdateRun
from meshflow.core.workflowowner import WorkflowOwner
from meshflow.core.workflowrun import WorkflowRun
from meshflow.ids import NodeId, RunId, dag_run_id, dag_run_name, workflow_of


class Definitions(Protocol):
    """Reads the definitions that `submit` has stored; given by the shell, since the core has no codec."""

    def workflow(self, data: bytes) -> WorkflowSpec:
        """Raises: PeerError if the bytes make no sense."""

    def dag(self, data: bytes) -> DagDefinition:
        """Raises: PeerError if the bytes make no sense."""


class OwnedRuns:
    """All runs of one node, as their owner."""

    def __init__(
        self,
        me: NodeId,
        asks: Asks,
        definitions: Definitions,
        claim_settings: ClaimSettings,
        owner_settings: OwnerSettings,
        dispatch_settings: DispatchSettings,
        started_at: float,
    ) -> None:
        self.me = me
        self.published: list[Batch] = []
        """Batches that were appended since the last flush, for those who watch."""
        self.refused_append_count = 0
        self.dispatcher = Dispatcher(dispatch_settings)
        self._asks = asks
        self._definitions = definitions
        self._settings = owner_settings
        self._scan_s = claim_settings.scan_s
        self._claims = Claims(me, claim_settings, asks, started_at)
        self._members: Sequence[Member] = ()
        self._names: dict[NodeId, str] = {}
        self._dags: dict[RunId, DagOwner] = {}
        self._relays: dict[RunId, Relay] = {}
        self._closed: dict[RunId, None] = {}
        self._workflows: dict[RunId, WorkflowOwner] = {}
        self._hinted_by: dict[RunId, NodeId] = {}
        self._dirty: dict[RunId, None] = {}
        self._due: list[tuple[float, RunId]] = []
        self._due_at: dict[RunId, float] = {}
        """The earliest time in `_due` that counts, by run; later ones are found again when it comes."""
        self._scan_at = started_at
        self._wall_offset_s = 0.0

    @property
    def runs(self) -> tuple[RunId, ...]:
        """The runs this node drives."""
        return (*self._workflows, *self._dags)

    @property
    def is_settled(self) -> bool:
        """Whether all that this node has to say about its runs is in the store."""
        logs = [dag.log for dag in self._dags.values()] + [workflow.log for workflow in self._workflows.values()]
        return all(log.is_idle for log in logs)

    # --- the members ---

    def set_members(self, members: Sequence[Member]) -> None:
        """Take note of who is alive."""
        self._members = members
        self._names.update((member.id, member.name or member.id) for member in members)
        self.dispatcher.set_members(members)

    def node_gone(self, node: NodeId, now: float) -> list[Effect]:
        """A member is dead or has left: its attempts here are lost, and its runs are looked for at once."""
        effects: list[Effect] = []
        for run, dag in self._dags.items():
            if dag.handouts.at(node):
                self._dirty[run] = None
                effects += dag.node_gone(node)
        for relay in self._relays.values():
            relay.owner_gone(node)
        self._scan_at = now
        return effects

    # --- what peers say ---

    def run_open(self, sender: NodeId, run: RunId) -> list[Effect]:
        """Somebody points to a run."""
        self._hinted_by[run] = sender
        return [self._asks.ask(Looking(run), LoadRun(run))]

    def owned_elsewhere(self, sender: NodeId, message: Owned) -> None:
        """`sender` drives a run that we may have dealings with."""
        workflow = self._workflows.get(workflow_of(message.run))
        if message.run != workflow_of(message.run):
            if workflow is not None:
                workflow.dag_owned(dag_run_name(message.run), sender)
            return
        for run, relay in self._relays.items():
            if relay.dag.parent == message.run:
                relay.turn_to(sender)
                self._dirty[run] = None

    def reports(self, sender: NodeId, message: Reports, now: float) -> list[Effect]:
        """A node tells what became of attempts."""
        dag = self._dags.get(message.run)
        if dag is None:
            return []
        self._dirty[message.run] = None
        return dag.reports(sender, message, now)

    def held(self, sender: NodeId, attempts: Sequence[Attempt], now: float) -> list[Effect]:
        """A node lists all attempts that it holds of our runs."""
        by_run: dict[RunId, list[Attempt]] = {}
        for attempt in attempts:
            by_run.setdefault(attempt.run, []).append(attempt)
        effects: list[Effect] = []
        for run, dag in self._dags.items():
            self._dirty[run] = None
            effects += dag.held(sender, by_run.get(run, ()), now)
        return effects

    def signal(self, sender: NodeId, signal: Signal, now: float) -> list[Effect]:
        """A task or a dag run asks something. One that is not ours is left to be sent again, to its owner."""
        self._dirty[signal.run] = None
        relay = self._relays.get(signal.run)
        if relay is not None:
            return relay.from_task(sender, signal, now)
        workflow = self._workflows.get(signal.run)
        return workflow.signal(sender, signal) if workflow is not None else []

    def signal_answered(self, answer: SignalAnswer) -> list[Effect]:
        """The workflow run answers one of our dag runs."""
        run = RunId("/".join(answer.key.split("/")[:2]))
        relay = self._relays.get(run)
        if relay is None:
            return []
        self._dirty[run] = None
        return relay.answered(answer)

    # --- what the store says ---

    def answered(self, purpose: Purpose, answers: Sequence[object], now: float) -> list[Effect]:
        """The store has answered what was asked for `purpose`."""
        match purpose:
            case Scanning():
                return self._scanned(answers[0], now)
            case Looking(run=run):
                return self._looked(run, answers[0], now)
            case Loading(run=run):
                load, effects = self._claims.loaded(run, answers)
                return self._claim(load, now) if load is not None else effects
            case Claiming(run=run):
                return self._claimed(run, answers[0] is True, now)
            case Appending(run=run):
                return self._appended(run, answers, now)
            case Creating(run=run, name=name):
                return self._created(run, name, answers)
            case Closing(run=run):
                return self._closed_workflow(run)
            case _:
                return []

    def located(self, run: RunId, record: RunRecord | None) -> list[Effect]:
        """The store says who owns a workflow run that did not answer."""
        effects: list[Effect] = []
        for dag_run, relay in self._relays.items():
            if relay.dag.parent == run:
                self._dirty[dag_run] = None
                effects += relay.located(record)
        return effects

    def _scanned(self, records: object, now: float) -> list[Effect]:
        effects: list[Effect] = []
        open_runs: dict[RunId, None] = {}
        for record in records if isinstance(records, tuple) else ():
            assert isinstance(record, RunRecord)
            open_runs[record.run] = None
            effects += self._consider(record, None, now)
        for workflow in self._workflows.values():
            missing = [dag_run_id(workflow.run, name) for name in workflow.missing_dags(open_runs)]
            effects += [self._asks.ask(Looking(run), LoadRun(run)) for run in missing]
        return effects

    def _looked(self, run: RunId, record: object, now: float) -> list[Effect]:
        hinted_by = self._hinted_by.pop(run, None)
        if not isinstance(record, RunRecord):
            return []
        if not record.state.is_final:
            return self._consider(record, hinted_by, now)
        workflow = self._workflows.get(workflow_of(run))
        if workflow is not None and workflow.run != run:
            self._dirty[workflow.run] = None
            workflow.dag_ended(record.name, record.state, record.reason, record.total, record.done)
        return []

    def _consider(self, record: RunRecord, hinted_by: NodeId | None, now: float) -> list[Effect]:
        owner = self._dags.get(record.run) or self._workflows.get(record.run)
        if owner is None:
            if hinted_by is not None and record.owner not in (None, self.me) and record.stop is not Stop.NONE:
                assert record.owner is not None
                return [Send(record.owner, RunOpen(record.run))]
            return self._claims.consider(record, self._members, hinted_by, now)
        if record.stop is Stop.NONE:
            return []
        self._dirty[record.run] = None
        return owner.ask_stop(record.stop, record.stop_reason)

    # --- claiming ---

    def _claim(self, load: Load, now: float) -> list[Effect]:
        """Everything was read: fold it, and claim the run unless it has ended."""
        if load.record is None or load.record.state.is_final or load.blob is None:
            self._claims.take(load.run)
            if load.record is not None and load.blob is None:
                return [Emit(StoreProblem(f"run {load.run} has no definition in the store; it cannot be driven"))]
            return []
        ends = [entry for batch in load.batches for entry in batch.entries if isinstance(entry, RunEnded)]
        if ends:
            self._claims.take(load.run)
            return [self._mend(load, ends[-1])]
        return self._claims.claim(load, now + self._wall_offset_s)

    def _mend(self, load: Load, end: RunEnded) -> Effect:
        """The log has the end and the record has not: its owner died between the two."""
        at = load.batches[-1].at
        update = UpdateRun(load.run, load.epoch, state=end.state, reason=end.reason, ended_at=at)
        return self._asks.ask(Mending(load.run), update)

    def _claimed(self, run: RunId, is_ours: bool, now: float) -> list[Effect]:
        load = self._claims.take(run)
        if load is None or not is_ours or load.record is None or load.blob is None:
            return []
        epoch = load.epoch + 1
        log = RunLog(run, self.me, epoch, load.next_seq + 1, self._asks)
        wall_at = now + self._wall_offset_s
        log.add(requests=[UpdateRun(run, epoch, state=State.RUNNING, owner=self.me, started_at=wall_at)])
        self._dirty[run] = None
        members = [member.id for member in self._members]
        is_takeover = epoch > 1
        effects: list[Effect] = [Emit(RunClaimed(run, epoch, is_takeover))]
        if run == workflow_of(run):
            return effects + self._begin_workflow(load, log, members, wall_at)
        return effects + self._begin_dag(load, log, members, now)

    def _begin_workflow(self, load: Load, log: RunLog, members: list[NodeId], wall_at: float) -> list[Effect]:
        assert load.record is not None
        assert load.blob is not None
        fold = WorkflowRun(self._definitions.workflow(load.blob))
        for batch in load.batches:
            for entry in batch.entries:
                fold.apply(entry)
        owner = self._workflows[load.run] = WorkflowOwner(load.record, fold, log, self._asks)
        return owner.begin(members, log.epoch > 1, wall_at)

    def _begin_dag(self, load: Load, log: RunLog, members: list[NodeId], now: float) -> list[Effect]:
        assert load.record is not None
        assert load.blob is not None
        definition = self._definitions.dag(load.blob)
        fold = DagRun(definition.spec)
        for batch in load.batches:
            for entry in batch.entries:
                fold.apply(entry)
        dag = DagOwner(
            load.record, definition, fold, log, self.dispatcher, self._settings, load.record.data, self._names
        )
        relay = Relay(dag, self._asks, self._settings.resend_s)
        self._dags[load.run], self._relays[load.run] = dag, relay
        parent = self._workflows.get(dag.parent)
        if parent is not None:
            relay.turn_to(self.me)
            parent.dag_owned(dag_run_name(load.run), self.me)
        return dag.begin(members, log.epoch > 1, now)

    # --- the log ---

    def _appended(self, run: RunId, answers: Sequence[object], now: float) -> list[Effect]:
        owner = self._dags.get(run) or self._workflows.get(run)
        if owner is None:
            return []
        self._dirty[run] = None
        batch, effects = owner.log.answered(answers)
        if owner.log.is_lost:
            return self._stand_down(run, owner.log.epoch)
        if batch is None:
            return effects
        self.published.append(batch)
        if run in self._dags and any(isinstance(entry, RunEnded) for entry in batch.entries):
            self._closed[run] = None
            state, reason = self._dags[run].fold.outcome()
            effects.append(Emit(RunFinished(run, state.value, reason)))
        return effects

    def _stand_down(self, run: RunId, epoch: int) -> list[Effect]:
        """Another node drives this run now."""
        self.refused_append_count += 1
        self._drop(run)
        return [Emit(RunLost(run, epoch))]

    def _drop(self, run: RunId) -> None:
        dag = self._dags.pop(run, None)
        if dag is not None:
            for task in range(dag.fold.total_count):
                self.dispatcher.remove(Waiting(run, task))
        self._relays.pop(run, None)
        self._closed.pop(run, None)
        self._workflows.pop(run, None)
        self._dirty.pop(run, None)
        self._due_at.pop(run, None)

    def _created(self, run: RunId, name: str, answers: Sequence[object]) -> list[Effect]:
        workflow = self._workflows.get(run)
        if workflow is None:
            return []
        self._dirty[run] = None
        workflow.created(name)
        dag_run = dag_run_id(run, name)
        return workflow.hint(name) or [Send(self.me, RunOpen(dag_run))]

    def _closed_workflow(self, run: RunId) -> list[Effect]:
        workflow = self._workflows.get(run)
        if workflow is None:
            return []
        state, reason = workflow.fold.outcome()
        self._drop(run)
        return [Emit(RunFinished(run, state.value, reason))]

    # --- moving on ---

    def flush(self, now: float, wall_offset_s: float) -> list[Effect]:
        """Hand out what can be, and send what has gathered. Called after every batch of input."""
        self._wall_offset_s = wall_offset_s
        effects: list[Effect] = []
        while self._due and self._due[0][0] <= now:
            at, run = heapq.heappop(self._due)
            if self._due_at.get(run) == at:
                del self._due_at[run]
                self._dirty[run] = None
        for run in [run for run in self._dirty if run in self._dags]:
            effects += self._dags[run].wake(now)
        if not any(self._dags[run].is_behind for run in self._dirty if run in self._dags):
            effects += self._hand_out(now)
        dirty, self._dirty = self._dirty, {}
        for run in dirty:
            effects += self._flush_run(run, now)
        if now >= self._scan_at:
            self._scan_at = now + self._scan_s
            effects.append(self._asks.ask(Scanning(), ListRuns(is_open=True)))
        return effects

    def _flush_run(self, run: RunId, now: float) -> list[Effect]:
        wall_at = now + self._wall_offset_s
        workflow = self._workflows.get(run)
        if workflow is not None:
            return workflow.flush(wall_at)
        dag, relay = self._dags.get(run), self._relays.get(run)
        if dag is None or relay is None:
            return []
        effects = dag.flush(now, wall_at) + relay.flush(run in self._closed, now)
        if relay.is_done and dag.log.is_idle:
            self._drop(run)
            return effects
        due_at = min(dag.deadline(), relay.deadline())
        if due_at < self._due_at.get(run, math.inf):
            self._due_at[run] = due_at
            heapq.heappush(self._due, (due_at, run))
        return effects

    def _hand_out(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for handout in self.dispatcher.pump(now):
            jobs: list[Job] = []
            codes: dict[str, bytes] = {}
            for waiting in handout.jobs:
                job = self._job(waiting, handout.to, now)
                if job is None:
                    continue
                jobs.append(job)
                for digest in self.dispatcher.codes_to_send(handout.to, (job.payload, *job.uses)):
                    codes[digest] = self._dags[waiting.run].code(digest)
            if jobs:
                effects.append(Send(handout.to, Work(tuple(jobs), codes, handout.backlog)))
        effects += [Send(to, Offer(queues)) for to, queues in self.dispatcher.offers(now)]
        return effects

    def _job(self, waiting: Waiting, to: NodeId, now: float) -> Job | None:
        dag = self._dags.get(waiting.run)
        if dag is None or not dag.is_waiting(waiting.task):
            self.dispatcher.refund(to)
            return None
        self._dirty[waiting.run] = None
        return dag.hand_out(waiting.task, to, now)

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = min(self._scan_at, self.dispatcher.deadline())
        return min(due, self._due[0][0]) if self._due else due
