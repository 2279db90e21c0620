"""Driving one workflow run: starting its dag runs, answering what their tasks ask, ending it when none is open.

Invariants:
1. A dag run is in this log before its record exists, and its record exists before anyone is told of it.
2. A signal is answered when the log has what it changed.
3. A stop reaches every open dag run through its record, so that it is not lost with any node; a hint makes it quick.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.asks import Asks, Closing, Creating
from meshflow.core.effects import Effect, Send
from meshflow.core.messages import Owned, RunOpen, Signal, SignalAnswer
from meshflow.core.outcome import is_outcome
from meshflow.core.ownership import RunLog
from meshflow.core.provenance import instant
from meshflow.core.records import DagEnded, DagRefused, DagStarted, Noted, RunEnded, RunRecord, State, Stop, StopAsked
from meshflow.core.requests import AskStop, CreateRun, RemoveDocument, SetFields, UpdateRun
from meshflow.core.workflowrun import WorkflowRun
from meshflow.ids import NodeId, RunId, dag_run_id

_ENTRY_BYTES = 128
"""What an entry weighs beside its texts and data, roughly; only bounds the size of a batch."""


@dataclass(slots=True)
class _Join:
    sender: NodeId
    key: str
    caller: str
    names: tuple[str, ...] | None


class WorkflowOwner:
    """One workflow run that this node drives."""

    def __init__(self, record: RunRecord, fold: WorkflowRun, log: RunLog, asks: Asks) -> None:
        self.run = record.run
        self.fold = fold
        self.log = log
        self._record = record
        self._asks = asks
        self._joins: dict[str, _Join] = {}
        self._idle: dict[str, None] = {}
        self._created: dict[str, None] = {}
        self._dag_owners: dict[str, NodeId] = {}
        self._is_ending = False
        self._started_at = record.started_at if record.started_at is not None else record.created_at
        self._ended_at = math.nan

    # --- taking charge ---

    def begin(self, members: Sequence[NodeId], is_takeover: bool, wall_at: float) -> list[Effect]:
        """Drive on from where the fold stands."""
        effects: list[Effect] = []
        if is_takeover:
            effects += [Send(member, Owned(self.run, self.log.epoch)) for member in members]
        self.log.add(requests=[SetFields(self.run, "meta", {"start_time": instant(self._started_at)})])
        if self._record.stop is not Stop.NONE:
            effects += self.ask_stop(self._record.stop, self._record.stop_reason)
        effects += [self._create(name, wall_at) for name in self.fold.open_dags]
        for started in self.fold.missing_autostart():
            self._start(started, wall_at)
        if not self.fold.spec.autostart:
            self.log.add(Noted(f"workflow {self.fold.spec.name!r} has no dag that starts by itself"))
        return effects

    def _start(self, started: DagStarted, wall_at: float) -> None:
        self.fold.apply(started)
        size_bytes = _ENTRY_BYTES + (len(started.data.inline) if started.data is not None else 0)
        self.log.add(started, then=[self._create(started.name, wall_at)], size_bytes=size_bytes)

    def _create(self, name: str, wall_at: float) -> Effect:
        """The dag run's record; asking for it twice is harmless."""
        started = self.fold.dags[name]
        record = RunRecord(
            run=dag_run_id(self.run, name),
            name=name,
            workflow=self._record.workflow,
            queue=self.fold.queue_of(name),
            parent=self.run,
            created_at=wall_at,
            data=started.data,
        )
        if self.fold.stop is not Stop.NONE:
            ask = AskStop(record.run, self.fold.stop, self._stop_reason())
            return self._asks.ask(Creating(self.run, name), CreateRun(record, {}), ask)
        return self._asks.ask(Creating(self.run, name), CreateRun(record, {}))

    def created(self, name: str) -> list[Effect]:
        """The record of dag run `name` exists, and what it is to be told is in it; its owner, or who will claim it, is
        told to look."""
        if not self.fold.is_open(name):
            return []
        is_first = name not in self._created
        self._created[name] = None
        if is_first and self.fold.stop is not Stop.NONE:
            # The stop may have come when the record was under way.
            self.log.add(then=[self._ask_stop_of(name)])
            return []
        return self._hint(name)

    # --- signals ---

    def signal(self, sender: NodeId, signal: Signal, wall_at: float) -> list[Effect]:
        """Answer a signal of a dag run, now, when it is logged, or when its dags have ended."""
        arguments = signal.arguments
        match signal.action:
            case "start_dag":
                self._start_dag(sender, signal, wall_at)
                return []
            case "join_dags":
                return self._join(sender, signal)
            case "dag_ended":
                return self._dag_ended(sender, signal)
            case "stop_workflow":
                return self._stop_workflow(sender, signal)
            case "stop_dag":
                return self._stop_dag(str(arguments.get("name", "")), sender, signal.key)
            case "is_dag_completed":
                name = str(arguments.get("name", ""))
                answer = SignalAnswer(signal.key, {"is_completed": not self.fold.is_open(name)})
                return [Send(sender, answer)] if name in self.fold.dags else self._answer(sender, answer)
            case "is_dag_stopped":
                end = self.fold.ends.get(str(arguments.get("dag_name", "")))
                is_stopped = end is not None and end.state is not State.COMPLETED
                return [Send(sender, SignalAnswer(signal.key, {"is_stopped": is_stopped}))]
            case _:
                return [Send(sender, SignalAnswer(signal.key, None, f"unknown signal {signal.action!r}"))]

    def _start_dag(self, sender: NodeId, signal: Signal, wall_at: float) -> None:
        dag = str(signal.arguments.get("name", ""))
        outcome = self.fold.start_dag(dag, signal.key, signal.data)
        if isinstance(outcome, str):
            answer = SignalAnswer(signal.key, {"dag_name": None}, outcome)
            if not outcome:
                self.log.add(DagRefused(dag, signal.key), size_bytes=_ENTRY_BYTES)
        else:
            answer = SignalAnswer(signal.key, {"dag_name": outcome.name})
            if outcome.name not in self.fold.dags:
                self._start(outcome, wall_at)
        self._answer(sender, answer)

    def _answer(self, sender: NodeId, answer: SignalAnswer) -> list[Effect]:
        """Answer if this node is still the owner: a stale one does not know of the latest dag runs."""
        self.log.add(then=[Send(sender, answer)], is_proof=True)
        return []

    def _join(self, sender: NodeId, signal: Signal) -> list[Effect]:
        caller = str(signal.arguments.get("caller", ""))
        if not self.fold.is_open(caller):
            # Waits end with the run that waits.
            return self._answer(sender, SignalAnswer(signal.key, {}))
        names = signal.arguments.get("names")
        wanted = tuple(str(name) for name in names) if isinstance(names, list | tuple) else None
        self._joins[signal.key] = _Join(sender, signal.key, caller, wanted)
        self._idle.pop(caller, None)
        if signal.arguments.get("idle") is True:
            self._idle[caller] = None
        self._answer_joins()
        return []

    def _answer_joins(self) -> None:
        met = [join for join in self._joins.values() if self.fold.is_joined(join.caller, join.names, self._idle)]
        for join in met:
            del self._joins[join.key]
            self._idle.pop(join.caller, None)
            self._answer(join.sender, SignalAnswer(join.key, {}))

    def _stop_workflow(self, sender: NodeId, signal: Signal) -> list[Effect]:
        state = _outcome(signal.arguments.get("state", State.ABORTED.value))
        if state is None:
            return [Send(sender, SignalAnswer(signal.key, None, _no_outcome(signal)))]
        reason = str(signal.arguments.get("reason", "a task asked the workflow to stop"))
        self.stop_in(Stop.STOP, state, reason)
        return self._answer(sender, SignalAnswer(signal.key, {}))

    def _dag_ended(self, sender: NodeId, signal: Signal) -> list[Effect]:
        arguments = signal.arguments
        state = _outcome(arguments.get("state"))
        if state is None:
            return [Send(sender, SignalAnswer(signal.key, None, _no_outcome(signal)))]
        name, reason = str(arguments.get("name", "")), str(arguments.get("reason", ""))
        self.dag_ended(name, state, reason, _int(arguments.get("total")), _int(arguments.get("done")))
        return self._answer(sender, SignalAnswer(signal.key, {}))

    def dag_ended(self, name: str, state: State, reason: str, total: int, done: int) -> None:
        """A dag run has ended, as its owner or its record says; the second to say so changes nothing."""
        if not self.fold.is_open(name):
            return
        self._idle.pop(name, None)
        self._created.pop(name, None)
        self._dag_owners.pop(name, None)
        entry = DagEnded(name, state, reason, total, done)
        self.fold.apply(entry)
        self.log.add(entry, size_bytes=_ENTRY_BYTES + len(reason))
        self._answer_joins()
        if state in (State.FAILED, State.ABORTED):
            self.stop_in(Stop.STOP, state, reason)

    def dag_owned(self, name: str, owner: NodeId) -> None:
        """`owner` drives dag run `name`."""
        if self.fold.is_open(name):
            self._dag_owners[name] = owner

    def missing_dags(self, open_runs: dict[RunId, None]) -> tuple[str, ...]:
        """Dag runs that this log has open, but that are not among the open runs of the store: they have ended
        unheard."""
        return tuple(
            name
            for name in self.fold.open_dags
            if name in self._created and dag_run_id(self.run, name) not in open_runs
        )

    # --- stopping and ending ---

    def ask_stop(self, stop: Stop, reason: str) -> list[Effect]:
        """A person wants this run to end early."""
        self.stop_in(stop, State.CANCELLED if stop is Stop.CANCEL else State.STOPPED, reason)
        return []

    def stop_in(self, stop: Stop, state: State, reason: str) -> None:
        """End early in `state`, unless it is ending in a graver one. Open dag runs are stopped too, once the log has
        it: else the next owner would not know why they were."""
        if self.fold.ended is not None:
            return
        before = (self.fold.stop, self.fold.end_state)
        entry = StopAsked(stop, state, reason)
        self.fold.apply(entry)
        if (self.fold.stop, self.fold.end_state) == before:
            return
        asks = [self._ask_stop_of(name) for name in self.fold.open_dags if name in self._created]
        self.log.add(entry, then=asks, size_bytes=len(reason) + _ENTRY_BYTES)

    def _stop_reason(self) -> str:
        return self.fold.reason or "the workflow was stopped"

    def _ask_stop_of(self, name: str) -> Effect:
        request = AskStop(dag_run_id(self.run, name), self.fold.stop, self._stop_reason())
        return self._asks.ask(Creating(self.run, name), request)

    def _stop_dag(self, name: str, sender: NodeId, key: str) -> list[Effect]:
        answer = Send(sender, SignalAnswer(key, {}))
        if not self.fold.is_open(name):
            return [answer]
        request = AskStop(dag_run_id(self.run, name), Stop.STOP, "a task asked this dag run to stop")
        return [self._asks.ask(Creating(self.run, name), request), answer]

    def _hint(self, name: str) -> list[Effect]:
        """Tell the owner of dag run `name` to look at its record; one that is not known is found by looking here."""
        return [Send(self._dag_owners.get(name, self.log.me), RunOpen(dag_run_id(self.run, name)))]

    def closing(self) -> Effect:
        """What remains to be done once the end is in the log: the document goes, unless it is to be kept or a retry of
        the run would need it; the record becomes final."""
        state, reason = self.fold.outcome()
        total = sum(end.total for end in self.fold.ends.values())
        done = sum(end.done for end in self.fold.ends.values())
        final = UpdateRun(
            self.run,
            self.log.epoch,
            state=state,
            reason=reason,
            ended_at=self._ended_at,
            total=total,
            done=done,
        )
        if self.fold.spec.clear_data_store and state is State.COMPLETED:
            return self._asks.ask(Closing(self.run), RemoveDocument(self.run), final)
        duration_s = self._ended_at - self._started_at
        times: dict[str, object] = {"end_time": instant(self._ended_at), "duration": duration_s}
        return self._asks.ask(Closing(self.run), SetFields(self.run, "meta", times), final)

    def flush(self, wall_at: float) -> list[Effect]:
        """End what is done, and send the next batch of the log."""
        if self.fold.is_done and not self._is_ending:
            self._is_ending = True
            self._ended_at = wall_at
            entry = RunEnded(*self.fold.outcome())
            self.fold.apply(entry)
            self.log.add(entry, then=[self.closing()])
        return self.log.flush(wall_at)


def _outcome(value: object) -> State | None:
    """The state of that name, or None if no run can end in such a state."""
    return next((state for state in State if state.value == value and is_outcome(state)), None)


def _no_outcome(signal: Signal) -> str:
    return f"{signal.action} names the state {signal.arguments.get('state')!r}, in which no run can end"


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
