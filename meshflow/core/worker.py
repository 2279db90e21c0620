"""The pulling end: slots, credit, the attempts this node holds, and what it still has to tell their owners.

Invariants:
1. No more tasks run at a time than there are slots, not counting those that lent theirs (they wait in `join_dags`):
   the shell is told how many (`Resize`). Jobs beyond the slots never exceed about `horizon_s` of work at the measured
   duration of tasks; of these, `ahead_s` are with the task processes, which need not ask for each, and come back
   (`Recall`) when those have more to do with what they run.
2. Credit out plus jobs in hand never exceeds that. A job that crossed with a withdrawal and finds no slot goes back.
3. A finished attempt is kept in its outbox until the owner's log has it.
4. A job of an owner that is known to have lost the run is not taken.

Source: design.md 6; what each owner is granted is decided in `credit.py`.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from meshflow.core.asks import Asks, Locating
from meshflow.core.attempts import Attempt
from meshflow.core.calls import Calls
from meshflow.core.codes import Codes
from meshflow.core.credit import Credit
from meshflow.core.effects import Effect, Kill, Recall, Resize, Send, Start, TellStopping
from meshflow.core.held import NOBODY, Held, stuck_count
from meshflow.core.kept import Kept, Spool
from meshflow.core.messages import Demand, Finished, Holding, Output, Report, Reports, Returned, SignalAnswer, Work
from meshflow.core.outbox import LITTLE, PATIENCE, Outbox
from meshflow.core.pace import Pace
from meshflow.core.recent import Recent
from meshflow.core.records import RunRecord, State, Value
from meshflow.core.requests import LoadRun, WriteOutput
from meshflow.core.worker_settings import WorkerSettings
from meshflow.ids import NodeId, RunId, calls_of, is_calls

_MAX_ENDED = 4096
"""Attempts that are remembered: those of some seconds at the highest rate that a node reaches."""

_MAX_EPOCHS = 4096
"""Runs whose epoch is remembered, so that a stale owner's claim to one is seen through."""


class Worker:
    """The pulling end of one node."""

    def __init__(self, settings: WorkerSettings, asks: Asks, spool: Spool | None = None) -> None:
        self.settings = settings
        self.is_draining = False
        self.done_count = 0
        self._asks = asks
        self._credit = Credit(settings.linger_s)
        self._held: dict[Attempt, Held] = {}
        self._backlog: deque[Attempt] = deque()
        self._started_count = 0
        self._told_slots = settings.slots
        """What the shell knows."""
        self._recall_at = math.inf
        """When jobs that were started ahead have waited for too long."""
        self._calls = Calls()
        self._outboxes: dict[RunId, Outbox] = {}
        self.kept = Kept(spool, settings.max_kept_bytes)
        """The reports that wait, and what shares the bound on their memory."""
        self._next_report = 1
        self._ended: Recent[Attempt, None] = Recent(_MAX_ENDED)
        """Attempts that ran here of late or were given back, so that a double of their job that comes late is known."""
        self._epochs: Recent[RunId, int] = Recent(_MAX_EPOCHS)
        self._codes = Codes(settings.max_code_bytes)
        self._pace = Pace(settings.horizon_s, settings.max_prefetch)
        self._ended_at = -math.inf
        """When a task last ended."""
        self._told_at = -math.inf
        """When reports and credit were last told."""
        self._holding_at = math.inf
        self._locate_at: dict[RunId, float] = {}

    # --- what others ask ---

    @property
    def running(self) -> list[tuple[Attempt, str, float]]:
        """The attempts in task processes: which, task name, when it started."""
        return [(attempt, held.job.name, held.since) for attempt, held in self._held.items() if held.is_started]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nothing is left to tell."""
        return not self._held and not self._outboxes and self._calls.is_empty

    def offered(self, sender: NodeId, share: int) -> None:
        """An owner says that it has work, `share` jobs for each node."""
        self._credit.offered(sender, share)

    def work(self, sender: NodeId, work: Work, now: float) -> None:
        """Jobs have arrived; one that is held already is a double and changes nothing."""
        self._credit.arrived(sender, len(work.jobs), work.backlog)
        self._codes.keep(work.codes)
        for job in work.jobs:
            attempt = job.attempt
            if attempt in self._held or attempt in self._ended or attempt.epoch < self._epochs.get(attempt.run, 0):
                continue
            self._epochs.note(attempt.run, attempt.epoch)
            codes = self._codes.find((job.payload,)) if job.payload else {}
            if self.is_draining or codes is None:
                self._ended.note(attempt, None)
                self._report(Returned(attempt, lacks_code=codes is None), sender)
                continue
            self._held[attempt] = Held(job, codes, sender, now)
            self._backlog.append(attempt)
            if len(self._held) > self._slots and not self._credit.may_wait(sender):
                self._give_back(attempt)  # at once: a slot of another node may be free

    def cancel(self, attempts: Sequence[Attempt]) -> list[Effect]:
        """An owner wants these ended: those not started are given back, those running are killed."""
        effects: list[Effect] = []
        for attempt in attempts:
            held = self._held.get(attempt)
            if held is not None and held.is_started:
                held.is_cancelled = True
                effects.append(Kill(attempt, "cancelled", self.settings.kill_grace_s))
            elif held is not None:
                self._give_back(attempt)
        return effects

    def stopping(self, run: RunId) -> list[Effect]:
        """A dag run was asked to stop: its running tasks are told."""
        return [TellStopping(attempt) for attempt, held in self._held.items() if held.is_started and attempt.run == run]

    def owned(self, sender: NodeId, run: RunId, epoch: int) -> list[Effect]:
        """`sender` drives the run in `epoch`: everything about the run goes there now, and what we hold is told."""
        if epoch >= self._epochs.get(run, 0):
            self._turn_to(run, sender, epoch)
        return [self.holding(sender, run)]

    def holding(self, owner: NodeId, answers: RunId | None = None) -> Send:
        """Tell an owner what is held of its runs."""
        return Send(owner, Holding(self._held_by_owner().get(owner, ()), *self._credit.totals(owner), answers))

    def owner_gone(self, peer: NodeId, now: float) -> None:
        """A node is dead or has left: its credit is void. Attempts and reports of its runs wait for their next owner,
        who will tell; should that be lost, the store is asked."""
        self._credit.gone(peer)
        orphans = [attempt.run for attempt, held in self._held.items() if held.owner == peer]
        orphans += [outbox.run for outbox in self._outboxes.values() if outbox.owner == peer]
        for run in orphans:
            self._locate_at[run] = now + self.settings.locate_s

    def caller_gone(self, client: NodeId) -> list[Effect]:
        """A client is gone: its calls are ended, and nobody is told what came of them."""
        self._credit.gone(client)
        for attempt, held in self._held.items():
            if attempt.run == calls_of(client):
                held.owner = NOBODY
        return self.located(calls_of(client), None)

    def doubt(self, run: RunId, now: float) -> None:
        """A node says that it does not drive `run`: the store is asked who does, if we hold anything of it."""
        if self._is_about(run):
            self._locate_at.setdefault(run, now)

    def _is_about(self, run: RunId) -> bool:
        return run in self._outboxes or any(attempt.run == run for attempt in self._held)

    # --- what task processes say ---

    def output(self, attempt: Attempt, chunk: WriteOutput) -> None:
        """An attempt printed something."""
        if (held := self._held.get(attempt)) is not None:
            self._report(Output(attempt, chunk), held.owner)

    def finished(self, report: Finished, now: float) -> None:
        """An attempt ended; its slot is free."""
        if (held := self._held.pop(report.attempt, None)) is None:
            return
        self._ended.note(report.attempt, None)
        self._started_count -= 1
        self._calls.ended(report.attempt)
        self.done_count += 1
        self._ended_at = now
        if not held.job.door:  # A lease takes as long as its client likes, which says nothing of tasks.
            self._pace.took((now - held.since) / held.turn, report.ended_at - report.started_at)
        if held.is_cancelled and report.state is State.FAILED:
            # An owner had it ended. Should another one count it after all, it must not take that for a failure.
            report = replace(report, state=State.CANCELLED)
        self._report(report, held.owner)

    def returned(self, attempt: Attempt) -> None:
        """A job that was recalled had not begun: it goes back to its owner."""
        if attempt in self._held:
            self._started_count -= 1
            self._give_back(attempt)

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
        if (outbox := self._outboxes.pop(run, None)) is not None:
            outbox.drop()
        self._locate_at.pop(run, None)
        self._calls.run_ended(run)
        return self.cancel([attempt for attempt in self._held if attempt.run == run])

    def flush(self, now: float) -> list[Effect]:
        """Start what fits, and send what has gathered: reports, credit, signals. Called after every batch of input."""
        effects: list[Effect] = list(self._fill(now))
        effects.extend(self._return_surplus(now))
        if not self.is_draining:
            self._credit.grant(self._slots - len(self._held), self._prefetch(now), now)
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
        due = min(due, self._recall_at, min(self._locate_at.values(), default=math.inf))
        gathers_until = self._gathers_until
        for outbox in self._outboxes.values():
            due = min(due, max(outbox.deadline(), gathers_until))
        if any(self._credit.untold()):
            due = min(due, gathers_until)
        return min(due, self._stuck_at) if self._backlog else due

    # --- inside ---

    def _report(self, report: Report, owner: NodeId) -> None:
        if owner == NOBODY:
            return
        run = report.attempt.run
        outbox = self._outboxes.get(run)
        if outbox is None:
            outbox = Outbox(run, owner, self._epochs.get(run, 0), self._next_report, kept=self.kept)
            self._outboxes[run] = outbox
        outbox.add(report)
        # A run's next outbox goes on above this one, so that a number never names two reports.
        self._next_report = max(self._next_report, outbox.next)

    def _give_back(self, attempt: Attempt) -> None:
        held = self._held.pop(attempt)
        if not held.is_started:
            self._backlog.remove(attempt)
        self._ended.note(attempt, None)
        self._report(Returned(attempt), held.owner)

    def give_back_all(self) -> list[Effect]:
        """Return every job that has not begun, and take no more (drain)."""
        self.is_draining = True
        for attempt in list(self._backlog):
            self._give_back(attempt)
        return self._recall()

    @property
    def _slots(self) -> int:
        return self.settings.slots + self._calls.lent_count

    def _fill(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        slots = self._slots
        if slots != self._told_slots:
            self._told_slots = slots
            effects.append(Resize(slots))
        room = slots + self._pace.jobs_in(self.settings.ahead_s * slots) - self._started_count
        while self._backlog and room > 0:
            held = self._held[self._backlog.popleft()]
            room -= 1
            self._started_count += 1
            held.is_started, held.since, held.turn = True, now, max(1.0, self._started_count / slots)
            effects.append(Start(held.job, held.codes))
        if self._started_count <= slots:
            self._recall_at = math.inf
        elif self._recall_at == math.inf:
            self._recall_at = now + self.settings.stale_s
        return effects

    def _recall(self) -> list[Effect]:
        started = tuple(attempt for attempt, held in self._held.items() if held.is_started)
        return [Recall(started)] if started else []

    def _return_surplus(self, now: float) -> list[Effect]:
        """Jobs far beyond what is worth holding go back, so that an idle node can have them (credit crossed with its
        withdrawal, or tasks grew longer); and so do those that are stuck behind tasks that turned out long."""
        stale_s = self.settings.stale_s
        while self._pace.is_measured and self._backlog and len(self._backlog) > 2 * self._prefetch(now):
            self._give_back(self._backlog[-1])
        while self._backlog and now >= self._stuck_at:
            self._pace.is_at_least(stale_s)  # what was measured is wrong for what runs now
            self._give_back(self._backlog[0])
        if now < self._recall_at:
            return []
        self._recall_at = now + stale_s
        if sum(held.is_started and now - held.since >= stale_s for held in self._held.values()) <= self._slots:
            return []
        self._pace.is_at_least(stale_s)
        return self._recall()

    @property
    def _stuck_at(self) -> float:
        """When the next job will have seen no task end for too long; while some do, the queue moves."""
        return max(self._held[self._backlog[0]].since, self._ended_at) + self.settings.stale_s

    def _prefetch(self, now: float) -> int:
        """Jobs worth holding beyond the slots. A slot whose task is long already may not be free soon."""
        slots = self.settings.slots
        if not self._pace.prefetch(slots):
            return 0
        return self._pace.prefetch(max(0, slots - stuck_count(self._held.values(), now - self.settings.stale_s)))

    @property
    def _gathers_until(self) -> float:
        """Until when reports and credit wait for more of their kind: with a quarter of what is fetched ahead, no slot
        runs dry for want of a word, and a message for each of many short tasks costs more than the tasks."""
        ahead_count = len(self._held) - self._slots
        if not 4 * ahead_count > self._pace.prefetch(self.settings.slots) > 0:
            return -math.inf
        told = [outbox.owner for outbox in self._outboxes.values()]
        is_little = sum(outbox.unsent_count for outbox in self._outboxes.values()) < LITTLE
        is_patient = is_little and all(owner in told for owner in self._credit.untold())
        return self._told_at + (PATIENCE if is_patient else 1) * self.settings.gather_s

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
            if not is_calls(run) and not self._asks.is_asking(Locating(run)):
                effects.append(self._asks.ask(Locating(run), LoadRun(run)))
        return effects

    def _held_by_owner(self) -> dict[NodeId, tuple[Attempt, ...]]:
        held: dict[NodeId, list[Attempt]] = {}
        for attempt, item in self._held.items():
            if item.owner != NOBODY:
                held.setdefault(item.owner, []).append(attempt)
        for outbox in self._outboxes.values():
            held.setdefault(outbox.owner, []).extend(outbox.ended)
        return {owner: tuple(attempts) for owner, attempts in held.items()}

    def _tell_holding(self, now: float) -> list[Effect]:
        if not self._held and not self._outboxes:
            self._holding_at = math.inf
            return []
        first_time = self._holding_at == math.inf
        self._holding_at = now + self.settings.holding_s
        told = {} if first_time else self._held_by_owner()
        return [Send(owner, Holding(attempts, *self._credit.totals(owner))) for owner, attempts in told.items()]

    def _turn_to(self, run: RunId, owner: NodeId, epoch: int) -> None:
        self._epochs.note(run, max(epoch, self._epochs.get(run, 0)))
        self._locate_at.pop(run, None)
        for attempt, held in self._held.items():
            if attempt.run == run:
                held.owner = owner
        self._calls.send_again(run)
        if (outbox := self._outboxes.get(run)) is not None:
            outbox.turn_to(owner, epoch)
