"""Signals on their way up: from the tasks of a dag run, and from its owner, to the owner of the workflow run.

Invariants:
1. A signal is sent again until it is answered, to whoever owns the workflow run by then; its key makes that harmless.
2. What the dag run itself knows (is it stopped?) is answered here; all else is asked of the workflow run.
3. A dag run says that it is idle when each of its tasks that is under way waits in `join_dags()` for all others. The
   workflow run does not count idle dag runs as something to wait for, so that no ring of such joins waits for ever.
"""

import math
from dataclasses import dataclass, replace

from meshflow.core.asks import Asks, Locating
from meshflow.core.dagowner import DagOwner
from meshflow.core.effects import Effect, Send
from meshflow.core.keys import attempt_key, caller_of, own_key
from meshflow.core.messages import Signal, SignalAnswer
from meshflow.core.records import Batch, RunRecord, State, Stop, TaskEnded
from meshflow.core.requests import LoadRun
from meshflow.ids import NodeId, dag_run_name

_TROUBLE = (State.FAILED, State.ABORTED)
_FORWARDED = ("start_dag", "join_dags", "stop_dag", "stop_workflow", "is_dag_completed")


@dataclass(slots=True)
class _Pending:
    signal: Signal
    sender: NodeId | None
    """The node whose task asked; None if the owner of the dag run itself asks."""
    sent_at: float = -math.inf
    asked_at: float = 0.0


class Relay:
    """The signals of one dag run. `resend_s`: seconds until an unanswered one is sent again, growing to ten times
    that."""

    def __init__(self, dag: DagOwner, asks: Asks, resend_s: float) -> None:
        self.dag = dag
        self.parent_owner: NodeId | None = None
        self._asks = asks
        self._resend_s = resend_s
        self._pending: dict[str, _Pending] = {}
        self._joining: dict[str, str] = {}
        """`{key: attempt}` of the calls that wait in `join_dags()`; an attempt by what its keys begin with."""
        self._is_told_idle = False
        self._is_trouble_logged = dag.fold.outcome()[0] in _TROUBLE
        self._has_told_trouble = False
        self._has_told_end = False
        self._locate_at = -math.inf

    @property
    def is_done(self) -> bool:
        """Whether the end of the dag run has been told and heard."""
        return self._has_told_end and not self._pending

    def from_task(self, sender: NodeId, signal: Signal, now: float) -> list[Effect]:
        """A task asks something of its run."""
        fold = self.dag.fold
        if signal.action == "is_dag_stopped" and signal.arguments.get("dag_name") == dag_run_name(self.dag.run):
            return [Send(sender, SignalAnswer(signal.key, {"is_stopped": fold.stop is not Stop.NONE}))]
        if signal.action == "flush":
            self.dag.write_provenance(None)
            self.dag.log.add(then=[Send(sender, SignalAnswer(signal.key, {}))])
            return []
        if signal.action not in (*_FORWARDED, "is_dag_stopped"):
            return [Send(sender, SignalAnswer(signal.key, None, f"unknown signal {signal.action!r}"))]
        pending = self._pending.setdefault(
            signal.key, _Pending(replace(signal, run=self.dag.parent), sender, asked_at=now)
        )
        # A task that runs again asks under the same key as the attempt that was lost.
        pending.sender = sender
        if signal.action == "join_dags" and signal.arguments.get("names") is None:
            self._joining[signal.key] = caller_of(signal.key)
        return []

    def answered(self, answer: SignalAnswer) -> list[Effect]:
        """The workflow run has answered."""
        pending = self._pending.pop(answer.key, None)
        self._joining.pop(answer.key, None)
        if pending is None or pending.sender is None:
            return []
        return [Send(pending.sender, answer)]

    def turn_to(self, owner: NodeId) -> None:
        """The workflow run is driven by `owner`: everything unanswered is sent there."""
        self.parent_owner = owner
        for pending in self._pending.values():
            pending.sent_at = -math.inf

    def located(self, record: RunRecord | None) -> list[Effect]:
        """The store says who owns the workflow run. If that has ended, nobody is left to tell."""
        if record is None or record.state.is_final:
            answers = [self.answered(SignalAnswer(key, None, "the workflow run has ended")) for key in [*self._pending]]
            return [effect for effects in answers for effect in effects]
        if record.owner is not None and record.owner != self.parent_owner:
            self.turn_to(record.owner)
        return []

    def owner_gone(self, node: NodeId) -> None:
        """A node is dead; if it drove the workflow run, its next owner will tell, or the store is asked."""
        if self.parent_owner == node:
            self.parent_owner = None

    def logged(self, batch: Batch) -> None:
        """The log has `batch`. Trouble is told only then: a stale owner must not end the workflow run."""
        ends = [entry for entry in batch.entries if isinstance(entry, TaskEnded) and not entry.retry]
        self._is_trouble_logged |= any(end.state in _TROUBLE for end in ends)

    def flush(self, is_closed: bool, now: float) -> list[Effect]:
        """Tell trouble and the end (once `is_closed`: the log has it), and send what is due."""
        fold = self.dag.fold
        name = dag_run_name(self.dag.run)
        state, reason = fold.outcome()
        if self._is_trouble_logged and not self._has_told_trouble:
            self._has_told_trouble = True
            self._say("trouble", "stop_workflow", {"state": state.value, "reason": reason}, now)
        if is_closed and not self._has_told_end:
            self._has_told_end = True
            end: dict[str, object] = {"name": name, "state": state.value, "reason": reason}
            end |= {"total": fold.total_count, "done": fold.done_count}
            # No task is left that could hear an answer.
            self._pending = {key: pending for key, pending in self._pending.items() if pending.sender is None}
            self._joining.clear()
            self._say("ended", "dag_ended", end, now)
        self._tell_idle()
        return self._send_due(now)

    def _tell_idle(self) -> None:
        """Have the joins that wait sent again if the workflow run must know that this dag run became idle, or is no
        longer so."""
        is_idle = bool(self._joining) and self._is_idle()
        if is_idle != self._is_told_idle:
            self._is_told_idle = is_idle
            for key in self._joining:
                self._pending[key].sent_at = -math.inf

    def _say(self, what: str, action: str, arguments: dict[str, object], now: float) -> None:
        key = own_key(self.dag.run, what)
        self._pending[key] = _Pending(Signal(self.dag.parent, key, action, arguments), None, asked_at=now)

    def _send_due(self, now: float) -> list[Effect]:
        due = [pending for pending in self._pending.values() if now >= self._due_at(pending)]
        if not due:
            return []
        effects: list[Effect] = []
        is_late = any(now - pending.asked_at > 3 * self._resend_s for pending in due)
        if (self.parent_owner is None or is_late) and now >= self._locate_at:
            self._locate_at = now + self._resend_s
            if not self._asks.is_asking(Locating(self.dag.parent)):
                effects.append(self._asks.ask(Locating(self.dag.parent), LoadRun(self.dag.parent)))
        if self.parent_owner is None:
            return effects
        for pending in due:
            pending.sent_at = now
            effects.append(Send(self.parent_owner, self._with_idle(pending.signal)))
        return effects

    def _due_at(self, pending: _Pending) -> float:
        waited_s = max(0.0, pending.sent_at - pending.asked_at)
        return pending.sent_at + min(max(self._resend_s, waited_s), 10 * self._resend_s)

    def _with_idle(self, signal: Signal) -> Signal:
        if signal.action != "join_dags":
            return signal
        name = dag_run_name(self.dag.run)
        return replace(signal, arguments={**signal.arguments, "caller": name, "idle": self._is_told_idle})

    def _is_idle(self) -> bool:
        if len(self.dag.handouts) > len(self._joining):
            return False
        joining = dict.fromkeys(self._joining.values())
        return all(attempt_key(each) in joining for each in self.dag.handouts.attempts) and (
            State.QUEUED not in self.dag.fold.states
        )

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = min((self._due_at(pending) for pending in self._pending.values()), default=math.inf)
        return max(due, self._locate_at) if self.parent_owner is None else due
