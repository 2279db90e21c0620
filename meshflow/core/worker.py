"""The pulling end: slots, credit, the attempts this node holds, and what it still has to tell their owners.

Invariants:
1. Attempts that are starting or running never exceed the slots, not counting those that lent theirs (they wait in
   `join_dags`). Jobs beyond the slots never exceed about `horizon_s` of work at the measured duration of tasks.
2. Credit out plus jobs in hand never exceeds that capacity, but for credit that crossed with its withdrawal.
3. A finished attempt is kept in its outbox until the owner's log has it.
4. A job of an owner that is known to have lost the run is not taken.

Source: design.md 6; what each owner is granted is decided in `credit.py`.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshflow.core.asks import Asks, Locating
from meshflow.core.calls import Calls
from meshflow.core.codes import Codes
from meshflow.core.credit import Credit
from meshflow.core.effects import Effect, Kill, Send, Start, TellStopping
from meshflow.core.messages import (
    Attempt,
    Demand,
    Finished,
    Holding,
    Job,
    Output,
    Report,
    Reports,
    Returned,
    SignalAnswer,
    Work,
)
from meshflow.core.outbox import Outbox
from meshflow.core.pace import Pace
from meshflow.core.records import RunRecord, State, Value
from meshflow.core.requests import LoadRun, WriteOutput
from meshflow.ids import NodeId, RunId

_MAX_ENDED = 4096
"""Attempts that are remembered: those of some seconds at the highest rate that a node reaches."""

_MAX_EPOCHS = 4096
"""Runs whose epoch is remembered, so that a stale owner's claim to one is seen through."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a node takes and runs work."""

    slots: int = 2
    """Task processes at a time. Default in the configuration: the number of cores."""
    horizon_s: float = 0.010
    """Work held beyond the running slots, in seconds of measured task duration. More hides latency of owners far away;
    less spreads work better (design.md 4)."""
    max_prefetch: int = 256
    """Upper bound on jobs held beyond the slots."""
    stale_s: float = 0.020
    """Jobs that wait here longer than this behind long tasks are given back."""
    linger_s: float = 0.005
    """Unused credit is left with an owner at least this long before another gets it: about two round trips, in which a
    job may be on its way."""
    gather_s: float = 0.004
    """Pause between messages about reports and credit while enough jobs wait here to keep the slots busy. More makes
    larger messages, at less cost for each of many short tasks; less lets others hear of their results sooner."""
    holding_s: float = 1.0
    """Seconds between Holding messages."""
    locate_s: float = 3.0
    """Seconds without an acknowledgement after which the store is asked who owns the run."""
    kill_grace_s: float = 3.0
    """Seconds between SIGTERM and SIGKILL for a cancelled attempt."""
    max_code_bytes: int = 64 * 1024 * 1024
    """Pickled code kept for reuse."""


@dataclass(slots=True)
class _Held:
    job: Job
    codes: dict[str, bytes]
    owner: NodeId
    since: float
    """When it arrived, then when it was started."""
    is_running: bool = False
    is_cancelled: bool = False


class Worker:
    """The pulling end of one node."""

    def __init__(self, settings: WorkerSettings, asks: Asks) -> None:
        self.settings = settings
        self.is_draining = False
        self.done_count = 0
        self._asks = asks
        self._credit = Credit(settings.linger_s)
        self._held: dict[Attempt, _Held] = {}
        self._backlog: deque[Attempt] = deque()
        self._running_count = 0
        self._calls = Calls()
        self._outboxes: dict[RunId, Outbox] = {}
        self._next_report = 1
        self._ended: dict[Attempt, None] = {}
        """Attempts that ran here of late or were given back, so that a double of their job that comes late is known."""
        self._epochs: dict[RunId, int] = {}
        self._codes = Codes(settings.max_code_bytes)
        self._pace = Pace(settings.horizon_s, settings.max_prefetch)
        self._told_at = -math.inf
        """When reports and credit were last told."""
        self._holding_at = math.inf
        self._locate_at: dict[RunId, float] = {}

    # --- what others ask ---

    @property
    def running(self) -> list[tuple[Attempt, str, float]]:
        """The attempts in task processes: which, task name, when it started."""
        return [(attempt, held.job.name, held.since) for attempt, held in self._held.items() if held.is_running]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing is left to tell."""
        return not self._held and not self._outboxes and self._calls.is_empty

    def offered(self, sender: NodeId) -> None:
        """An owner says that it has work for us."""
        self._credit.offered(sender)

    def work(self, sender: NodeId, work: Work, now: float) -> None:
        """Jobs have arrived; one that is held already is a double and changes nothing."""
        self._credit.arrived(sender, len(work.jobs), has_more=work.backlog > 0)
        self._codes.keep(work.codes)
        for job in work.jobs:
            attempt = job.attempt
            if attempt in self._held or attempt in self._ended or attempt.epoch < self._epochs.get(attempt.run, 0):
                continue
            self._note_epoch(attempt.run, attempt.epoch)
            codes = self._codes.find((job.payload, *job.uses))
            if self.is_draining or codes is None:
                self._note_ended(attempt)
                self._report(Returned(attempt, lacks_code=codes is None), sender)
                continue
            self._held[attempt] = _Held(job, codes, sender, now)
            self._backlog.append(attempt)

    def cancel(self, attempts: Sequence[Attempt]) -> list[Effect]:
        """An owner wants these ended: those not started are given back, those running are killed."""
        effects: list[Effect] = []
        for attempt in attempts:
            held = self._held.get(attempt)
            if held is None:
                continue
            if held.is_running:
                held.is_cancelled = True
                effects.append(Kill(attempt, "cancelled", self.settings.kill_grace_s))
            else:
                self._give_back(attempt)
        return effects

    def stopping(self, run: RunId) -> list[Effect]:
        """A dag run was asked to stop: its running tasks are told."""
        return [TellStopping(attempt) for attempt, held in self._held.items() if held.is_running and attempt.run == run]

    def owned(self, sender: NodeId, run: RunId, epoch: int) -> list[Effect]:
        """`sender` drives the run in `epoch`: everything about the run goes there now, and what we hold is told."""
        if epoch >= self._epochs.get(run, 0):
            self._turn_to(run, sender, epoch)
        return [Send(sender, Holding(self._held_by_owner().get(sender, ()), *self._credit.totals(sender)))]

    def owner_gone(self, peer: NodeId, now: float) -> None:
        """A node is dead or has left: its credit is void. Attempts and reports of its runs wait for their next owner,
        who will tell; should that be lost, the store is asked."""
        self._credit.gone(peer)
        orphans = [attempt.run for attempt, held in self._held.items() if held.owner == peer]
        orphans += [outbox.run for outbox in self._outboxes.values() if outbox.owner == peer]
        for run in orphans:
            self._locate_at[run] = now + self.settings.locate_s

    def doubt(self, run: RunId, now: float) -> None:
        """A node says that it does not drive `run`: the store is asked who does, if we hold anything of it."""
        if self._is_about(run):
            self._locate_at.setdefault(run, now)

    def _is_about(self, run: RunId) -> bool:
        return run in self._outboxes or any(attempt.run == run for attempt in self._held)

    # --- what task processes say ---

    def output(self, attempt: Attempt, chunk: WriteOutput) -> None:
        """An attempt printed something."""
        held = self._held.get(attempt)
        if held is not None:
            self._report(Output(attempt, chunk), held.owner)

    def finished(self, report: Finished, now: float) -> None:
        """An attempt ended; its slot is free."""
        held = self._held.pop(report.attempt, None)
        if held is None:
            return
        self._note_ended(report.attempt)
        self._running_count -= 1
        self._calls.ended(report.attempt)
        self.done_count += 1
        self._pace.took(now - held.since)
        if held.is_cancelled and report.state is State.FAILED:
            # An owner had it ended. Should another one count it after all, it must not take that for a failure.
            report = replace(report, state=State.CANCELLED)
        self._report(report, held.owner)

    def signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: Value | None, now: float
    ) -> None:
        """A task asks something of its run."""
        if attempt in self._held:
            self._calls.add(attempt, call, action, arguments, data)

    def signal_answered(self, answer: SignalAnswer) -> list[Effect]:
        """The run has answered; a second answer changes nothing."""
        return self._calls.answered(answer)

    # --- delivering ---

    def acknowledged(self, sender: NodeId, run: RunId, upto: int) -> None:
        """The owner of `run` has logged the reports below `upto`."""
        outbox = self._outboxes.get(run)
        if outbox is None or outbox.owner != sender:
            return
        outbox.acknowledge(upto)
        if outbox.is_empty:
            del self._outboxes[run]

    def located(self, run: RunId, record: RunRecord | None) -> list[Effect]:
        """The store says who owns a run that did not acknowledge. A run that has ended wants nothing more."""
        if record is not None and not record.state.is_final:
            if record.owner is not None and record.epoch >= self._epochs.get(run, 0):
                self._turn_to(run, record.owner, record.epoch)
            return []
        self._outboxes.pop(run, None)
        self._locate_at.pop(run, None)
        self._calls.run_ended(run)
        return self.cancel([attempt for attempt in self._held if attempt.run == run])

    def flush(self, now: float) -> list[Effect]:
        """Start what fits, and send what has gathered: reports, credit, signals. Called after every batch of input."""
        effects: list[Effect] = list(self._fill(now))
        self._return_surplus(now)
        self._credit.grant(self._capacity - len(self._held), now)
        if now >= self._gathers_until:
            effects.extend(self._tell(now))
        effects.extend(Send(self._held[call.attempt].owner, call.signal) for call in self._calls.due(now))
        effects.extend(self._locate(now))
        if now >= self._holding_at or self._holding_at == math.inf:
            effects.extend(self._tell_holding(now))
        return effects

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = min(self._holding_at, self._credit.deadline(), self._calls.deadline())
        due = min(due, min(self._locate_at.values(), default=math.inf))
        gathers_until = self._gathers_until
        for outbox in self._outboxes.values():
            due = min(due, max(outbox.deadline(), gathers_until))
        if any(self._credit.untold()):
            due = min(due, gathers_until)
        if self._backlog:
            due = min(due, self._held[self._backlog[0]].since + self.settings.stale_s)
        return due

    # --- inside ---

    def _report(self, report: Report, owner: NodeId) -> None:
        run = report.attempt.run
        outbox = self._outboxes.get(run)
        if outbox is None:
            outbox = self._outboxes[run] = Outbox(run, owner, self._epochs.get(run, 0), self._next_report)
        outbox.add(report)
        # A run's next outbox goes on above this one, so that a number never names two reports.
        self._next_report = max(self._next_report, outbox.next)

    def _give_back(self, attempt: Attempt) -> None:
        held = self._held.pop(attempt)
        self._backlog.remove(attempt)
        self._note_ended(attempt)
        self._report(Returned(attempt), held.owner)

    def _note_ended(self, attempt: Attempt) -> None:
        self._ended[attempt] = None
        if len(self._ended) > _MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def give_back_all(self) -> None:
        """Return every job that has not started, and take no more (drain)."""
        self.is_draining = True
        for attempt in list(self._backlog):
            self._give_back(attempt)

    @property
    def _slots(self) -> int:
        return self.settings.slots + self._calls.lent_count

    def _fill(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._backlog and self._running_count < self._slots:
            attempt = self._backlog.popleft()
            held = self._held[attempt]
            held.is_running, held.since = True, now
            self._running_count += 1
            effects.append(Start(held.job, held.codes))
        return effects

    def _return_surplus(self, now: float) -> None:
        """Jobs far beyond what is worth holding go back, so that an idle node can have them (credit crossed with its
        withdrawal, or tasks grew longer); and so do those that are stuck behind tasks that turned out long."""
        while self._pace.is_measured and len(self._backlog) > 2 * self._pace.prefetch(self.settings.slots):
            self._give_back(self._backlog[-1])
        while self._backlog and now - self._held[self._backlog[0]].since >= self.settings.stale_s:
            # The measured duration is wrong for what runs now: every slot has been busy for longer.
            busy_s = [now - held.since for held in self._held.values() if held.is_running]
            self._pace.is_at_least(min(busy_s, default=self.settings.stale_s))
            self._give_back(self._backlog[0])

    @property
    def _capacity(self) -> int:
        return 0 if self.is_draining else self._slots + self._pace.prefetch(self.settings.slots)

    @property
    def _gathers_until(self) -> float:
        """Until when reports and credit wait for more of their kind: while half of what is fetched ahead is still here,
        no slot runs dry for want of a word, and a message for each of many short tasks costs more than the tasks."""
        is_supplied = 2 * len(self._backlog) > self._pace.prefetch(self.settings.slots) > 0
        return self._told_at + self.settings.gather_s if is_supplied else -math.inf

    def _tell(self, now: float) -> list[Effect]:
        effects = [effect for outbox in self._outboxes.values() for effect in self._deliver(outbox, now)]
        effects += [Send(owner, Demand(*self._credit.totals(owner))) for owner in list(self._credit.untold())]
        if effects:
            self._told_at = now
        return effects

    def _deliver(self, outbox: Outbox, now: float) -> list[Effect]:
        if outbox.stalled_s(now) > self.settings.locate_s:
            self._locate_at.setdefault(outbox.run, now)
        return [
            Send(outbox.owner, Reports(outbox.run, first, outbox.first, reports, *self._credit.totals(outbox.owner)))
            for first, reports in outbox.due(now)
        ]

    def _locate(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for run in [run for run, at in self._locate_at.items() if now >= at]:
            if not self._is_about(run):
                del self._locate_at[run]
                continue
            self._locate_at[run] = now + self.settings.locate_s
            if not self._asks.is_asking(Locating(run)):
                effects.append(self._asks.ask(Locating(run), LoadRun(run)))
        return effects

    def _held_by_owner(self) -> dict[NodeId, tuple[Attempt, ...]]:
        held: dict[NodeId, list[Attempt]] = {}
        for attempt, item in self._held.items():
            held.setdefault(item.owner, []).append(attempt)
        for outbox in self._outboxes.values():
            ended = [report.attempt for report in outbox.reports if not isinstance(report, Output)]
            held.setdefault(outbox.owner, []).extend(ended)
        return {owner: tuple(attempts) for owner, attempts in held.items()}

    def _tell_holding(self, now: float) -> list[Effect]:
        if not self._held and not self._outboxes:
            self._holding_at = math.inf
            return []
        first_time = self._holding_at == math.inf
        self._holding_at = now + self.settings.holding_s
        if first_time:
            return []
        return [
            Send(owner, Holding(attempts, *self._credit.totals(owner)))
            for owner, attempts in self._held_by_owner().items()
        ]

    def _note_epoch(self, run: RunId, epoch: int) -> None:
        self._epochs[run] = max(self._epochs.pop(run, 0), epoch)
        if len(self._epochs) > _MAX_EPOCHS:
            del self._epochs[next(iter(self._epochs))]

    def _turn_to(self, run: RunId, owner: NodeId, epoch: int) -> None:
        self._note_epoch(run, epoch)
        self._locate_at.pop(run, None)
        for attempt, held in self._held.items():
            if attempt.run == run:
                held.owner = owner
        self._calls.send_again(run)
        outbox = self._outboxes.get(run)
        if outbox is not None:
            outbox.turn_to(owner, epoch)
