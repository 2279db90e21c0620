"""The pulling end: slots, credit, the attempts this node holds, and what it still has to tell their owners.

Invariants:
1. Attempts that are starting or running never exceed the slots, not counting those that lent theirs (they wait in
   `join_dags`). Jobs beyond the slots never exceed about `horizon_s` of work at the measured duration of tasks.
2. Credit out plus jobs in hand never exceeds that capacity, but for credit that crossed with its withdrawal.
3. Owners that said they have work are granted credit in turns. Without any, spare credit rests with the owner that gave
   work last, so that its next job needs no offer; another owner's offer takes it back.
4. A finished attempt is kept in its outbox until the owner's log has it.

Source: design.md 6; credit as running totals (TCP's window), so that lost and doubled messages do no harm.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.asks import Asks, Locating
from meshflow.core.effects import AnswerTask, Effect, Kill, Send, Start, TellStopping
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
    Signal,
    SignalAnswer,
    Work,
)
from meshflow.core.outbox import Outbox, PendingSignal
from meshflow.core.records import RunRecord, Value
from meshflow.core.requests import LoadRun, WriteOutput
from meshflow.ids import NodeId, RunId

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
    stale_s: float = 0.050
    """Jobs that wait here longer than this behind long tasks are given back."""
    linger_s: float = 0.005
    """Unused credit is left with an owner at least this long before another gets it: about two round trips, in which a
    job may be on its way."""
    holding_s: float = 1.0
    """Seconds between Holding messages."""
    locate_s: float = 3.0
    """Seconds without an acknowledgement after which the store is asked who owns the run."""
    kill_grace_s: float = 3.0
    """Seconds between SIGTERM and SIGKILL for a cancelled attempt."""
    max_code_bytes: int = 64 * 1024 * 1024
    """Pickled code kept for reuse."""


@dataclass(slots=True)
class _Owner:
    granted: int = 0
    received: int = 0
    is_hungry: bool = False
    """It said that more waits than it has credit for; not so any more once it was given some."""
    granted_at: float = -math.inf
    is_dirty: bool = False
    """Whether its Demand must be sent."""

    @property
    def outstanding(self) -> int:
        return max(0, self.granted - self.received)


@dataclass(slots=True)
class _Held:
    job: Job
    owner: NodeId
    since: float
    """When it arrived, then when it was started."""
    is_running: bool = False
    start_count: int = 0
    """`start_dag` calls so far: they are named by their number."""


class Worker:
    """The pulling end of one node."""

    def __init__(self, me: NodeId, settings: WorkerSettings, asks: Asks) -> None:
        self.me = me
        self.settings = settings
        self.is_draining = False
        self.done_count = 0
        self._asks = asks
        self._owners: dict[NodeId, _Owner] = {}
        self._last_owner: NodeId | None = None
        self._held: dict[Attempt, _Held] = {}
        self._backlog: deque[Attempt] = deque()
        self._running_count = 0
        self._lent: dict[Attempt, int] = {}
        """`{attempt: how many of its calls wait in join_dags}`."""
        self._outboxes: dict[RunId, Outbox] = {}
        self._next_report = 1
        self._signals: dict[str, PendingSignal] = {}
        self._epochs: dict[RunId, int] = {}
        self._codes: OrderedDict[str, bytes] = OrderedDict()
        self._code_bytes = 0
        self._average_s: float | None = None
        self._holding_at = math.inf
        self._regrant_at = math.inf
        self._locate_at: dict[RunId, float] = {}

    # --- what others ask ---

    @property
    def running(self) -> list[tuple[Attempt, str, float]]:
        """The attempts in task processes: which, task name, when it started."""
        return [(attempt, held.job.name, held.since) for attempt, held in self._held.items() if held.is_running]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing is left to tell."""
        return not self._held and not self._outboxes and not self._signals

    def offered(self, sender: NodeId) -> None:
        """An owner says that it has work for us."""
        self._owner(sender).is_hungry = True

    def work(self, sender: NodeId, work: Work, now: float) -> None:
        """Jobs have arrived; one that is held already is a double and changes nothing."""
        owner = self._owner(sender)
        owner.received += len(work.jobs)
        owner.is_hungry = work.backlog > 0
        self._last_owner = sender
        self._keep_codes(work.codes)
        for job in work.jobs:
            if job.attempt in self._held:
                continue
            run = job.attempt.run
            self._note_epoch(run, job.attempt.epoch)
            if self.is_draining or any(digest not in self._codes for digest in (job.payload, *job.uses)):
                self._report(Returned(job.attempt, lacks_code=not self.is_draining), sender)
                continue
            self._held[job.attempt] = _Held(job, sender, now)
            self._backlog.append(job.attempt)

    def cancel(self, attempts: Sequence[Attempt]) -> list[Effect]:
        """An owner wants these ended: those not started are given back, those running are killed."""
        effects: list[Effect] = []
        for attempt in attempts:
            held = self._held.get(attempt)
            if held is None:
                continue
            if held.is_running:
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
        owner = self._owner(sender)
        return [Send(sender, Holding(self._held_for(sender), owner.granted, owner.received))]

    def owner_gone(self, peer: NodeId, now: float) -> None:
        """A node is dead or has left: its credit is void. Attempts and reports of its runs wait for their next owner,
        who will tell; should that be lost, the store is asked."""
        self._owners.pop(peer, None)
        if self._last_owner == peer:
            self._last_owner = None
        orphans = [attempt.run for attempt, held in self._held.items() if held.owner == peer]
        orphans += [outbox.run for outbox in self._outboxes.values() if outbox.owner == peer]
        for run in orphans:
            self._locate_at[run] = now + self.settings.locate_s

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
        self._running_count -= 1
        self._lent.pop(report.attempt, None)
        for key in [key for key, pending in self._signals.items() if pending.attempt == report.attempt]:
            del self._signals[key]
        self.done_count += 1
        took_s = max(0.0, now - held.since)
        self._average_s = took_s if self._average_s is None else 0.8 * self._average_s + 0.2 * took_s
        self._report(report, held.owner)

    def signal(
        self, attempt: Attempt, call: int, action: str, arguments: dict[str, object], data: Value | None, now: float
    ) -> None:
        """A task asks something of its run. `start_dag` is named by its number within the task, not by the attempt, so
        that a task that is run again finds the dag run it started before."""
        held = self._held.get(attempt)
        if held is None:
            return
        name = f"{attempt.attempt}.{attempt.epoch}/{call}"
        if action == "start_dag":
            held.start_count += 1
            name = f"start/{held.start_count}"
        if action == "join_dags":
            self._lent[attempt] = self._lent.get(attempt, 0) + 1
        key = f"{attempt.run}/{attempt.task}/{name}"
        signal = Signal(attempt.run, key, action, arguments, data)
        self._signals[key] = PendingSignal(signal, attempt, call, asked_at=now)

    def signal_answered(self, answer: SignalAnswer) -> list[Effect]:
        """The run has answered; a second answer changes nothing."""
        pending = self._signals.pop(answer.key, None)
        if pending is None or pending.attempt is None:
            return []
        if pending.signal.action == "join_dags":
            left = self._lent.get(pending.attempt, 0) - 1
            if left > 0:
                self._lent[pending.attempt] = left
            else:
                self._lent.pop(pending.attempt, None)
        return [AnswerTask(pending.attempt, pending.call, answer.result, answer.error)]

    # --- delivering ---

    def acknowledged(self, sender: NodeId, run: RunId, upto: int) -> None:
        """The owner of `run` has logged the reports below `upto`."""
        outbox = self._outboxes.get(run)
        if outbox is None or outbox.owner != sender:
            return
        outbox.acknowledge(upto)
        self._locate_at.pop(run, None)
        if outbox.is_empty:
            del self._outboxes[run]

    def located(self, run: RunId, record: RunRecord | None) -> list[Effect]:
        """The store says who owns a run that did not acknowledge. A run that has ended wants nothing more."""
        if record is not None and not record.state.is_final:
            if record.owner is not None and record.epoch > self._epochs.get(run, 0):
                self._turn_to(run, record.owner, record.epoch)
            return []
        self._outboxes.pop(run, None)
        self._locate_at.pop(run, None)
        for key in [key for key, pending in self._signals.items() if pending.signal.run == run]:
            del self._signals[key]
        return self.cancel([attempt for attempt in self._held if attempt.run == run])

    def flush(self, now: float) -> list[Effect]:
        """Start what fits, and send what has gathered: reports, credit, signals. Called after every batch of input."""
        effects: list[Effect] = list(self._fill(now))
        self._return_stale(now)
        self._grant(now)
        for outbox in list(self._outboxes.values()):
            effects.extend(self._deliver(outbox, now))
        for peer, owner in self._owners.items():
            if owner.is_dirty:
                owner.is_dirty = False
                effects.append(Send(peer, Demand(owner.granted, owner.received)))
        effects.extend(self._send_signals(now))
        effects.extend(self._locate(now))
        if now >= self._holding_at or self._holding_at == math.inf:
            effects.extend(self._tell_holding(now))
        return effects

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = min(self._holding_at, self._regrant_at, min(self._locate_at.values(), default=math.inf))
        for outbox in self._outboxes.values():
            due = min(due, outbox.deadline())
        for pending in self._signals.values():
            due = min(due, pending.sent_at + 1.0)
        if self._backlog:
            due = min(due, self._held[self._backlog[0]].since + self.settings.stale_s)
        return due

    # --- inside ---

    def _owner(self, peer: NodeId) -> _Owner:
        return self._owners.setdefault(peer, _Owner())

    def _keep_codes(self, codes: dict[str, bytes]) -> None:
        for digest, code in codes.items():
            if digest not in self._codes:
                self._code_bytes += len(code)
            self._codes[digest] = code
        while self._code_bytes > self.settings.max_code_bytes and len(self._codes) > len(codes):
            _, dropped = self._codes.popitem(last=False)
            self._code_bytes -= len(dropped)

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
        self._report(Returned(attempt), held.owner)

    def give_back_all(self) -> None:
        """Return every job that has not started, and take no more (drain)."""
        self.is_draining = True
        for attempt in list(self._backlog):
            self._give_back(attempt)

    @property
    def _free_slots(self) -> int:
        return self.settings.slots - (self._running_count - len(self._lent))

    def _fill(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._backlog and self._free_slots > 0:
            attempt = self._backlog.popleft()
            held = self._held[attempt]
            codes = {}
            for digest in (held.job.payload, *held.job.uses):
                codes[digest] = self._codes[digest]
                self._codes.move_to_end(digest)
            held.is_running, held.since = True, now
            self._running_count += 1
            effects.append(Start(held.job, codes))
        return effects

    def _return_stale(self, now: float) -> None:
        """Jobs stuck behind tasks that turned out long go back, so that an idle node can have them."""
        while self._backlog and now - self._held[self._backlog[0]].since >= self.settings.stale_s:
            # One stuck job tells that the measured duration is wrong for what runs now.
            self._average_s = max(self._average_s or 0.0, self.settings.stale_s)
            self._give_back(self._backlog[0])

    @property
    def _capacity(self) -> int:
        if self.is_draining:
            return 0
        prefetch = 0
        if self._average_s is not None:
            per_slot = self.settings.horizon_s / max(self._average_s, 1e-6)
            prefetch = min(self.settings.max_prefetch, int(per_slot * self.settings.slots))
        return self.settings.slots + len(self._lent) + prefetch

    def _grant(self, now: float) -> None:
        self._regrant_at = math.inf
        outstanding = sum(owner.outstanding for owner in self._owners.values())
        spare = self._capacity - len(self._held) - outstanding
        hungry = [owner for owner in self._owners.values() if owner.is_hungry]
        if hungry and spare <= 0:
            spare += self._withdraw(now)
        if spare <= 0:
            return
        if not hungry:
            last = self._owners.get(self._last_owner) if self._last_owner is not None else None
            if last is not None:
                self._give(last, spare, now)
            return
        share, rest = divmod(spare, len(hungry))
        for index, owner in enumerate(hungry):
            self._give(owner, share + (1 if index < rest else 0), now)
        self._rotate()

    def _withdraw(self, now: float) -> int:
        """Take back what owners have left unused for `linger_s`; what is not ripe yet is looked at when it is."""
        taken = 0
        for owner in self._owners.values():
            if owner.is_hungry or not owner.outstanding:
                continue
            ripe_at = owner.granted_at + self.settings.linger_s
            if ripe_at > now:
                self._regrant_at = min(self._regrant_at, ripe_at)
                continue
            taken += owner.outstanding
            owner.granted = owner.received
            owner.is_dirty = True
        return taken

    def _give(self, owner: _Owner, count: int, now: float) -> None:
        if count <= 0:
            return
        owner.granted = max(owner.granted, owner.received) + count
        owner.granted_at = now
        owner.is_dirty = True
        owner.is_hungry = False

    def _rotate(self) -> None:
        """The owner that was first in line goes to its end, so that odd credit goes round."""
        first = next(iter(self._owners))
        self._owners[first] = self._owners.pop(first)

    def _deliver(self, outbox: Outbox, now: float) -> list[Effect]:
        if outbox.stalled_s(now) > self.settings.locate_s:
            self._locate_at.setdefault(outbox.run, now)
        owner = self._owner(outbox.owner)
        effects: list[Effect] = []
        for first, reports in outbox.due(now):
            owner.is_dirty = False
            effects.append(
                Send(outbox.owner, Reports(outbox.run, first, outbox.first, reports, owner.granted, owner.received)),
            )
        return effects

    def _locate(self, now: float) -> list[Effect]:
        due = [run for run, at in self._locate_at.items() if now >= at]
        for run in due:
            self._locate_at[run] = now + self.settings.locate_s
        return [self._asks.ask(Locating(run), LoadRun(run)) for run in due]

    def _send_signals(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for pending in self._signals.values():
            if now - pending.sent_at < 1.0 or pending.attempt is None:
                continue
            held = self._held[pending.attempt]
            pending.sent_at = now
            effects.append(Send(held.owner, pending.signal))
        return effects

    def _held_for(self, owner: NodeId) -> tuple[Attempt, ...]:
        held = [attempt for attempt, item in self._held.items() if item.owner == owner]
        for outbox in self._outboxes.values():
            if outbox.owner == owner:
                held.extend(report.attempt for report in outbox.reports if not isinstance(report, Output))
        return tuple(held)

    def _tell_holding(self, now: float) -> list[Effect]:
        owners = dict.fromkeys(held.owner for held in self._held.values())
        owners.update(dict.fromkeys(outbox.owner for outbox in self._outboxes.values()))
        if not owners:
            self._holding_at = math.inf
            return []
        first_time = self._holding_at == math.inf
        self._holding_at = now + self.settings.holding_s
        if first_time:
            return []
        effects: list[Effect] = []
        for peer in owners:
            owner = self._owner(peer)
            effects.append(Send(peer, Holding(self._held_for(peer), owner.granted, owner.received)))
        return effects

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
        for pending in self._signals.values():
            if pending.signal.run == run:
                pending.sent_at = -math.inf
        outbox = self._outboxes.get(run)
        if outbox is not None:
            outbox.turn_to(owner, epoch)
