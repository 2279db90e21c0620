"""The runs this node drives, from the claim to the end, and the jobs that wait in them.

It routes: answers of the store to the run they are about, reports and signals to their dag run or workflow run. What is
decided about a run is decided in `dagowner.py`, `relay.py` and `workflowowner.py`.

Invariants:
1. A run is here exactly while this node believes to be its owner. After a refused append it is gone at once, with all
   that waited in it.
2. Only runs that were touched or are due are looked at in a flush.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from meshflow.core.agenda import Agenda
from meshflow.core.asks import Appending, Asks, Claiming, Closing, Creating, Loading, Looking, Purpose, Scanning
from meshflow.core.attempts import Attempt
from meshflow.core.claims import Claims, ClaimSettings, Load
from meshflow.core.dagowner import DagOwner
from meshflow.core.dagrun import DagRun
from meshflow.core.definitions import Definitions
from meshflow.core.dispatch import Dispatcher, DispatchSettings
from meshflow.core.effects import Effect, Emit, Send
from meshflow.core.events import RunClaimed, RunFinished, RunLost
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.handing import hand_out
from meshflow.core.keys import run_of
from meshflow.core.member import Member
from meshflow.core.messages import Owned, Reports, RunOpen, Signal, SignalAnswer
from meshflow.core.names import remember
from meshflow.core.owner_settings import OwnerSettings
from meshflow.core.ownership import RunLog
from meshflow.core.queue import Waiting
from meshflow.core.records import Batch, RunEnded, RunRecord, State, Stop
from meshflow.core.relay import Relay
from meshflow.core.requests import ListRuns, LoadRun, UpdateRun
from meshflow.core.workflowowner import WorkflowOwner
from meshflow.core.workflowrun import WorkflowRun
from meshflow.ids import NodeId, RunId, dag_run_id, dag_run_name, workflow_of


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
        self.names: dict[NodeId, str] = {}
        """What people call nodes, also some that are gone."""
        self.dispatcher = Dispatcher(dispatch_settings, me)
        self._asks = asks
        self._settings = owner_settings
        self._scan_s = claim_settings.scan_s
        self._claims = Claims(me, claim_settings, asks, definitions, started_at)
        self._members: Sequence[Member] = ()
        self._dags: dict[RunId, DagOwner] = {}
        self._relays: dict[RunId, Relay] = {}
        self._closed: dict[RunId, None] = {}
        self._workflows: dict[RunId, WorkflowOwner] = {}
        self._hinted_by: dict[RunId, NodeId] = {}
        self._look_again: dict[RunId, NodeId] = {}
        self._behind: dict[RunId, None] = {}
        """Dag runs that hand nothing out before the store has caught up."""
        self._agenda = Agenda()
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
        self._claims.set_members(members)
        remember(self.names, members)
        self.dispatcher.set_members(members)

    def node_gone(self, node: NodeId, now: float) -> list[Effect]:
        """A member is dead or has left: its attempts here are lost, and its runs are looked for at once."""
        effects: list[Effect] = []
        for run, dag in self._dags.items():
            self._agenda.touch(run)
            effects += dag.node_gone(node)
        for relay in self._relays.values():
            relay.owner_gone(node)
        self._claims.node_gone(node, now)
        self._scan_at = now
        return effects

    # --- what peers say ---

    def run_open(self, sender: NodeId, run: RunId) -> list[Effect]:
        """Somebody points to a run."""
        self._hinted_by[run] = sender
        if self._asks.is_asking(Looking(run)):
            self._look_again[run] = sender  # what is being read may be older than what the hint is about
            return []
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
                self._agenda.touch(run)

    def reports(self, sender: NodeId, message: Reports, now: float) -> list[Effect]:
        """A node tells what became of attempts."""
        dag = self._dags.get(message.run)
        if dag is None:
            return []
        self._agenda.touch(message.run)
        return dag.reports(sender, message, now)

    def held(
        self, sender: NodeId, attempts: Sequence[Attempt], now: float, answers: RunId | None = None
    ) -> list[Effect]:
        """A node lists all attempts that it holds of our runs. `answers` is the run we have asked about; None: none."""
        by_run: dict[RunId, list[Attempt]] = {}
        for attempt in attempts:
            by_run.setdefault(attempt.run, []).append(attempt)
        # Runs that are not ours (any more): the node has to find out whose they are, or that they have ended.
        effects: list[Effect] = [Send(sender, RunOpen(run)) for run in by_run if run not in self._dags]
        for run, dag in self._dags.items():
            if run in by_run or dag.awaits(sender):
                self._agenda.touch(run)
                effects += dag.held(sender, by_run.get(run, ()), now, is_answer=run == answers)
        return effects

    def signal(self, sender: NodeId, signal: Signal, now: float) -> list[Effect]:
        """A task or a dag run asks something. One that is not ours is left to be sent again, to its owner."""
        self._agenda.touch(signal.run)
        relay = self._relays.get(signal.run)
        if relay is not None:
            return relay.from_task(sender, signal, now)
        workflow = self._workflows.get(signal.run)
        return workflow.signal(sender, signal, now + self._wall_offset_s) if workflow is not None else []

    def signal_answered(self, answer: SignalAnswer) -> list[Effect]:
        """The workflow run answers one of our dag runs."""
        run = run_of(answer.key)
        relay = self._relays.get(run)
        if relay is None:
            return []
        self._agenda.touch(run)
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
                return self._claims.loaded(run, answers, now + self._wall_offset_s)
            case Claiming(run=run):
                return self._claimed(run, answers[0] is True, now)
            case Appending(run=run):
                return self._appended(run, answers, now)
            case Creating(run=run, name=name):
                return self._created(run, name)
            case Closing(run=run):
                return self._closed_workflow(run)
            case _:
                return []

    def located(self, run: RunId, record: RunRecord | None) -> list[Effect]:
        """The store says who owns a workflow run that did not answer."""
        effects: list[Effect] = []
        for dag_run, relay in self._relays.items():
            if relay.dag.parent == run:
                self._agenda.touch(dag_run)
                effects += relay.located(record)
        return effects

    def _scanned(self, records: object, now: float) -> list[Effect]:
        settled_at = self._claims.settled_at
        self._scan_at = min(self._scan_at, now + self._scan_s, settled_at if now < settled_at else math.inf)
        effects: list[Effect] = []
        open_runs: dict[RunId, None] = {}
        for record in records if isinstance(records, tuple) else ():
            if isinstance(record, RunRecord):
                open_runs[record.run] = None
                effects += self._consider(record, None, now)
        missing = [run for run in self.runs if run not in open_runs]
        for workflow in self._workflows.values():
            missing += [dag_run_id(workflow.run, name) for name in workflow.missing_dags(open_runs)]
        return effects + [self._asks.ask(Looking(run), LoadRun(run)) for run in dict.fromkeys(missing)]

    def _looked(self, run: RunId, record: object, now: float) -> list[Effect]:
        hinted_by, again_by = self._hinted_by.pop(run, None), self._look_again.pop(run, None)
        effects = [] if again_by is None else self.run_open(again_by, run)
        if isinstance(record, RunRecord) and not record.state.is_final:
            return effects + self._consider(record, hinted_by, now)
        owner = self._owner_of(run)
        if owner is not None and owner.fold.ended is None:
            # Taken over unnoticed, and ended by who did; or removed.
            effects += self._lose(run, owner.log.epoch)
        workflow = self._workflows.get(workflow_of(run))
        if workflow is not None and workflow.run != run and isinstance(record, RunRecord):
            self._agenda.touch(workflow.run)
            workflow.dag_ended(record.name, record.state, record.reason, record.total, record.done)
        return effects

    def _owner_of(self, run: RunId) -> DagOwner | WorkflowOwner | None:
        return self._dags.get(run) or self._workflows.get(run)

    def _consider(self, record: RunRecord, hinted_by: NodeId | None, now: float) -> list[Effect]:
        owner = self._owner_of(record.run)
        if owner is not None and owner.log.epoch < record.epoch:
            # Taken over unnoticed, having had nothing to append. If the new owner is dead, it may be our turn again.
            return [*self._lose(record.run, owner.log.epoch), *self._consider(record, hinted_by, now)]
        if owner is None:
            if hinted_by is None or record.stop is Stop.NONE or not self._claims.is_others(record.owner):
                return self._claims.consider(record, hinted_by, now)
            assert record.owner is not None
            return [Send(record.owner, RunOpen(record.run))]
        if record.stop is Stop.NONE:
            return []
        self._agenda.touch(record.run)
        return owner.ask_stop(record.stop, record.stop_reason)

    # --- claiming ---

    def _claimed(self, run: RunId, is_ours: bool, now: float) -> list[Effect]:
        load = self._claims.take(run)
        if not is_ours:
            return []
        assert load.record is not None, run
        epoch = load.epoch + 1
        log = RunLog(run, self.me, epoch, load.next_seq + 1, self._asks)
        wall_at = now + self._wall_offset_s
        log.add(requests=[UpdateRun(run, epoch, state=State.RUNNING, owner=self.me, started_at=wall_at)])
        self._agenda.touch(run)
        record = replace(load.record, started_at=wall_at if load.record.started_at is None else load.record.started_at)
        claimed = Emit(RunClaimed(run, epoch, epoch > 1))
        if isinstance(load.definition, DagDefinition):
            return [claimed, *self._begin_dag(load, load.definition, record, log, now)]
        return [claimed, *self._begin_workflow(load, record, log, wall_at)]

    def _begin_workflow(self, load: Load, record: RunRecord, log: RunLog, wall_at: float) -> list[Effect]:
        assert isinstance(load.definition, WorkflowSpec), load.run
        fold = WorkflowRun(load.definition)
        for entry in load.entries:
            fold.apply(entry)
        owner = self._workflows[load.run] = WorkflowOwner(record, fold, log, self._asks)
        return owner.begin([member.id for member in self._members], log.epoch > 1, wall_at)

    def _begin_dag(
        self, load: Load, definition: DagDefinition, record: RunRecord, log: RunLog, now: float
    ) -> list[Effect]:
        tells_ends = len(definition.spec.tasks) <= self._settings.max_provenance_tasks
        fold = DagRun(definition.spec, keeps_ends=tells_ends)
        for entry in load.entries:
            fold.apply(entry)
        dag = DagOwner(record, definition, fold, log, self.dispatcher, self._settings, record.data, self.names)
        relay = Relay(dag, self._asks, self._settings.resend_s)
        self._dags[load.run], self._relays[load.run] = dag, relay
        parent = self._workflows.get(dag.parent)
        if parent is not None:
            relay.turn_to(self.me)
            parent.dag_owned(dag_run_name(load.run), self.me)
        return dag.begin([member.id for member in self._members], log.epoch > 1, now)

    # --- the log ---

    def _appended(self, run: RunId, answers: Sequence[object], now: float) -> list[Effect]:
        owner = self._owner_of(run)
        if owner is None:
            return []
        self._agenda.touch(run)
        batch, effects = owner.log.answered(answers)
        if isinstance(owner, DagOwner):
            owner.logged(batch, effects, now)
        if owner.log.is_lost:
            self.refused_append_count += 1
            return self._lose(run, owner.log.epoch)
        if batch is None:
            return effects
        self.published.append(batch)
        if run in self._relays:
            self._relays[run].logged(batch)
        if run in self._dags and any(isinstance(entry, RunEnded) for entry in batch.entries):
            self._closed[run] = None
            state, reason = self._dags[run].fold.outcome()
            effects.append(Emit(RunFinished(run, state.value, reason)))
        return effects

    def _lose(self, run: RunId, epoch: int) -> list[Effect]:
        """Another node drives this run now, or has ended it."""
        self._drop(run)
        return [Emit(RunLost(run, epoch))]

    def _drop(self, run: RunId) -> None:
        dag = self._dags.pop(run, None)
        if dag is not None:
            for task, state in enumerate(dag.fold.states):
                if not state.is_final:
                    self.dispatcher.remove(Waiting(run, task))
        self._relays.pop(run, None)
        self._closed.pop(run, None)
        self._workflows.pop(run, None)
        self._behind.pop(run, None)
        self._agenda.drop(run)

    def _created(self, run: RunId, name: str) -> list[Effect]:
        workflow = self._workflows.get(run)
        if workflow is None:
            return []
        self._agenda.touch(run)
        return workflow.created(name)

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
        self._agenda.touch_due(now)
        for run in self._agenda.touched:
            dag = self._dags.get(run)
            if dag is not None:
                effects += dag.wake(now)
                self._note_behind(dag)
        if not self._behind:
            effects += hand_out(self.dispatcher, self._dags, self._agenda, now)
        for run in self._agenda.take():
            effects += self._flush_run(run, now)
        if now >= self._scan_at:
            self._scan_at = math.inf  # until the answer has come
            effects.append(self._asks.ask(Scanning(), ListRuns(is_open=True)))
        return effects

    def _note_behind(self, dag: DagOwner) -> None:
        if dag.is_behind:
            self._behind[dag.run] = None
        else:
            self._behind.pop(dag.run, None)

    def _flush_run(self, run: RunId, now: float) -> list[Effect]:
        wall_at = now + self._wall_offset_s
        workflow = self._workflows.get(run)
        if workflow is not None:
            return workflow.flush(wall_at)
        dag = self._dags.get(run)
        if dag is None:
            return []
        relay = self._relays[run]
        effects = dag.flush(now, wall_at) + relay.flush(run in self._closed, now)
        if relay.is_done and dag.log.is_idle:
            self._drop(run)
            return effects
        self._agenda.look_at(run, min(dag.deadline(), relay.deadline()))
        return effects

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = min(self._scan_at, self._agenda.deadline())
        return due if self._behind else min(due, self.dispatcher.deadline())
