"""Driving one dag run: from its fold to jobs, from reports to its log, from its end to the workflow run above it.

Invariants:
1. A report about an attempt that is not current (`handouts.py`) is acknowledged and discarded.
2. A report is acknowledged only when the log has what it said.
3. The start of an `at_most_once` task is in the log before the job leaves; once it is there, no second attempt is made.
4. After a take-over nothing is handed out until the living members have told what they hold, or `adopt_s` has passed;
   what they hold is adopted, not started again.
5. Instances of a mapped task are handed out once the log has them, so that a later owner gives them the same numbers.
"""

import heapq
import math
from collections.abc import Sequence
from typing import assert_never

from meshflow.core.attempts import Attempt
from meshflow.core.dagrun import DagRun, Step
from meshflow.core.dispatch import Dispatcher
from meshflow.core.effects import Effect, Emit, Send
from meshflow.core.events import JobRequeued, ResultDiscarded
from meshflow.core.graph import DagDefinition
from meshflow.core.handouts import Handouts
from meshflow.core.inquiry import Inquiry
from meshflow.core.kept import rows_bytes
from meshflow.core.large_inputs import LargeInputs
from meshflow.core.messages import Cancel, Finished, Job, Output, Owned, Reports, ReportsAck, Returned, Stopping, Work
from meshflow.core.owner_settings import OwnerSettings
from meshflow.core.ownership import RunLog
from meshflow.core.provenance import dag_provenance
from meshflow.core.queue import Waiting
from meshflow.core.receipts import Receipts
from meshflow.core.records import (
    Batch,
    Entry,
    Noted,
    RunEnded,
    RunRecord,
    State,
    Stop,
    StopAsked,
    TaskEnded,
    TasksQueued,
    TaskStarted,
    Value,
)
from meshflow.core.requests import SetFields, UpdateRun
from meshflow.core.retries import ended_as, retry_wait_s
from meshflow.ids import NodeId, dag_run_name, workflow_of

_ENTRY_BYTES = 96
"""What an entry weighs beside its value, roughly; only bounds the size of a batch."""

_MANY = 64
"""Attempts under way from which on the log may gather for `gather_s`: so many give the nodes enough to do meanwhile."""

_MAX_NUMBER = 2**62
"""Attempts of peers are numbered below; one that goes on from here still fits 64 bits."""


class DagOwner:
    """One dag run that this node drives. `initial` is the data given to `start_dag`, None if none was."""

    def __init__(
        self,
        record: RunRecord,
        definition: DagDefinition,
        fold: DagRun,
        log: RunLog,
        dispatcher: Dispatcher,
        settings: OwnerSettings,
        initial: Value | None,
        names: dict[NodeId, str],
    ) -> None:
        self.run = record.run
        self.parent = workflow_of(record.run)
        self.fold = fold
        self.log = log
        self.handouts = Handouts(settings.lost_s)
        self._large = LargeInputs(log, settings.max_inputs_bytes)
        self._record = record
        self._definition = definition
        self._dispatcher = dispatcher
        self._settings = settings
        self._initial = initial
        self._names = names
        self._delayed: list[tuple[float, int]] = []
        self._receipts = Receipts()
        self._inquiry = Inquiry()
        self._doomed: dict[Attempt, None] = {}
        """Stale attempts that are told to end, and so must not be adopted later."""
        self._is_ending, self._progress_at, self._progress_done = False, 0.0, -1
        self._asked_at = self._appended_at = -math.inf
        self._is_gathering = False
        """Whether the last `flush` left something to a later one."""
        self._offset_s = 0.0

    # --- taking charge ---

    def begin(self, members: Sequence[NodeId], is_takeover: bool, now: float) -> list[Effect]:
        """Drive on from where the fold stands, with `members` alive."""
        effects: list[Effect] = []
        for task, (attempt, epoch, node) in self.fold.started_on.items():
            self.handouts.put(Attempt(self.run, task, attempt, epoch), node, now)
        if is_takeover:
            self._inquiry.begin(members, now + self._settings.adopt_s)
            effects += [Send(member, Owned(self.run, self.log.epoch)) for member in members]
        if self._record.stop is not Stop.NONE:
            effects += self.ask_stop(self._record.stop, self._record.stop_reason)
        self._enqueue(self.fold.ready())
        alive = dict.fromkeys(members)
        for node in self.handouts.nodes:
            if node not in alive:
                effects += self.node_gone(node)
        return effects

    def _enqueue(self, tasks: Sequence[int]) -> None:
        if not tasks:
            return
        self._record_entry(TasksQueued(tuple(tasks)))
        if not self._inquiry.hold_back(tasks):
            self._push(tasks)

    def _push(self, tasks: Sequence[int]) -> None:
        for task in tasks:
            spec = self.fold.tasks[task]
            self._dispatcher.push(Waiting(self.run, task), spec.queue, spec.priority)

    def _record_entry(self, entry: Entry, weight: int = 0, then: Sequence[Effect] = ()) -> Step:
        """Fold an entry and have it logged."""
        self.log.add(entry, then=then, size_bytes=weight + _ENTRY_BYTES)
        return self.fold.apply(entry)

    # --- handing out ---

    @property
    def is_behind(self) -> bool:
        """Whether the store is so far behind that no more jobs may leave."""
        return self.log.backlog_count > self._settings.max_backlog

    def is_waiting(self, task: int) -> bool:
        """Whether the task still wants an attempt."""
        return not self.fold.states[task].is_final and task not in self.handouts

    def hand_out(self, task: int, to: NodeId, now: float) -> Job | None:
        """The job for an attempt at `task` on node `to`, noted in the log. None if it will be sent by itself, once the
        log has its start (invariant 3) or the store has what is too much for a message."""
        spec = self.fold.tasks[task]
        attempt = Attempt(self.run, task, self.fold.attempts[task] + 1, self.log.epoch)
        workflow, whole = self._record.workflow, self.fold.inputs(task)
        inputs = self._large.fit(whole)
        initial = None if self.fold.has_parents(task) else self._initial
        of = (attempt, spec.name, workflow, spec.queue, spec.payload)
        job = Job(*of, inputs, initial, spec.timeout_s, mapped=self.fold.mapped_name(task))
        waits = spec.at_most_once or inputs != whole
        self.handouts.put(attempt, to, now, has_left=not waits)
        started = TaskStarted(task, attempt.attempt, attempt.epoch, to)
        if not waits:
            self._record_entry(started)
            return job
        self._record_entry(started, then=[Send(to, Work((job,), {job.payload: self.code(job.payload)}, 0))])
        return None

    def logged(self, batch: Batch | None, effects: Sequence[Effect], now: float) -> None:
        """The log has `batch`; what waited for that is performed now, so that jobs among it are on their way."""
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Work):
                for job in effect.message.jobs:
                    self.handouts.left(job.attempt, now)
        for entry in batch.entries if batch is not None else ():
            if isinstance(entry, TaskEnded) and entry.rows:  # invariant 5
                self._enqueue([task for task in self.fold.instances(entry.task) if self.is_waiting(task)])

    def code(self, digest: str) -> bytes:
        """The pickled code of that digest."""
        return self._definition.payloads[digest]

    # --- what nodes tell ---

    def reports(self, sender: NodeId, message: Reports, now: float) -> list[Effect]:
        """Take the reports that are new; after a gap nothing, so that they are sent again."""
        effects: list[Effect] = []
        for report in self._receipts.take(sender, message):
            match report:
                case Finished():
                    effects += self._finished(sender, report, now)
                case Output(chunk=chunk):
                    self.log.add(requests=[chunk], size_bytes=len(chunk.data))
                case Returned():
                    self._returned(sender, report)
                case _:
                    assert_never(report)
        self.handouts.heard(sender, now)
        return effects

    def _finished(self, sender: NodeId, report: Finished, now: float) -> list[Effect]:
        attempt = report.attempt
        if not self.handouts.is_current(attempt, sender):
            return [Emit(ResultDiscarded(self.run, attempt.task, attempt.attempt, attempt.epoch, sender))]
        if report.state is State.CANCELLED and self.fold.stop is not Stop.CANCEL:
            return self._lose(attempt.task, "an owner that did not count it had it ended")
        self.handouts.take(attempt.task)
        end = ended_as(report, self.fold, self._names.get(sender, sender))
        effects = self._end_attempt(end)
        if end.retry:
            wait_s = retry_wait_s(self.fold.tasks[attempt.task], self.fold.failures[attempt.task])
            heapq.heappush(self._delayed, (now + wait_s, attempt.task))
        return effects

    def _end_attempt(self, end: TaskEnded) -> list[Effect]:
        was = self.fold.stop
        step = self._record_entry(end, len(end.value.inline) + len(end.reason) + rows_bytes(end.rows))
        self._follow(step)
        for name in step.unknown_limits:
            self.log.add(Noted(f"limit names {name!r}, which is no successor of the task; it is ignored", end.task))
        return self._tell_all_to_stop() if was is Stop.NONE and self.fold.stop is not Stop.NONE else []

    def _follow(self, step: Step) -> None:
        for end in step.ended:
            self._dispatcher.remove(Waiting(self.run, end.task))
            self.log.add(end, size_bytes=_ENTRY_BYTES)
        self._enqueue(step.ready)

    def _returned(self, sender: NodeId, report: Returned) -> None:
        if report.lacks_code:
            self._dispatcher.forget_codes(sender)
        if not self.handouts.is_current(report.attempt, sender):
            return
        attempt, _ = self.handouts.take(report.attempt.task)
        state = State.CANCELLED if self.fold.stop is Stop.CANCEL else State.QUEUED
        self._follow(self._record_entry(TaskEnded(attempt.task, attempt.attempt, state, retry=True)))
        if not self.fold.states[attempt.task].is_final:
            self._enqueue((attempt.task,))

    def awaits(self, node: NodeId) -> bool:
        """Whether it matters that the node lists nothing of this run."""
        return self._inquiry.awaits(node) or self.handouts.has(node)

    def held(self, sender: NodeId, listed: Sequence[Attempt], now: float, *, is_answer: bool = True) -> list[Effect]:
        """A node lists what it holds of this run: adopt what we did not know of, give up what it lacks, cancel what is
        stale. Unless it answers us, it may not have heard of the take-over yet, and keep its list of this run for the
        owner before."""
        if is_answer or listed:
            self._inquiry.settle(sender)
        self.handouts.heard(sender, now)
        unknown = [attempt for attempt in listed if not self.handouts.is_current(attempt, sender)]
        # Those of a later epoch are for a later owner to judge.
        mine = [attempt for attempt in unknown if attempt.epoch <= self.log.epoch]
        stale = tuple(attempt for attempt in mine if not self._adopt(sender, attempt, now))
        if stale and (self.log.is_idle or any(attempt not in self._doomed for attempt in stale)):
            # What made them stale may not be logged yet; another owner might have to count them after all.
            self._doomed.update(dict.fromkeys(stale))
            self.log.add(then=[Send(sender, Cancel(stale))])
        effects: list[Effect] = []
        epoch = 0 if self._inquiry.awaits(sender) else self.log.epoch
        for task in self.handouts.missing(sender, listed, epoch, now):
            effects += self._lose(task, "its node does not know of it")
        return effects + self._tell_to_stop(sender)

    def _adopt(self, sender: NodeId, attempt: Attempt, now: float) -> bool:
        """An attempt of an earlier owner whose start did not reach the log goes on, and counts."""
        task = attempt.task
        if not 0 <= task < self.fold.total_count or attempt.epoch >= self.log.epoch or task in self.handouts:
            return False
        if attempt in self._doomed:
            return False
        # Not open: its parent's end did not reach the log either, so the parent runs again, and this task after it.
        if not self.fold.is_open(task) or not self.fold.attempts[task] < attempt.attempt < _MAX_NUMBER:
            return False
        self._dispatcher.remove(Waiting(self.run, task))
        self.handouts.put(attempt, sender, now)
        self._record_entry(TaskStarted(task, attempt.attempt, attempt.epoch, sender))
        return True

    def node_gone(self, node: NodeId) -> list[Effect]:
        """A node is dead: its attempts are lost."""
        self._inquiry.settle(node)
        self._receipts.gone(node)
        return [effect for task, _ in self.handouts.at(node) for effect in self._lose(task, "its node is gone")]

    def _lose(self, task: int, why: str) -> list[Effect]:
        attempt, node = self.handouts.take(task)
        spec = self.fold.tasks[task]
        reason = f"attempt {attempt.attempt} on node {self._names.get(node, node)} was lost: {why}"
        state, retry = State.LOST, True
        if spec.at_most_once:
            state, retry, reason = State.FAILED, False, f"{reason}; it may run at most once"
        elif self.fold.losses[task] + 1 >= self._settings.max_losses:
            state, retry, reason = State.FAILED, False, f"{reason}; that makes {self._settings.max_losses} times"
        end = TaskEnded(task, attempt.attempt, state, reason=reason, node=self._names.get(node, node), retry=retry)
        effects: list[Effect] = [Emit(JobRequeued(self.run, spec.name, attempt.attempt, node, reason))]
        effects += self._end_attempt(end)
        if not self.fold.states[task].is_final:
            self._enqueue((task,))
        return effects

    # --- stopping and ending ---

    def ask_stop(self, stop: Stop, reason: str) -> list[Effect]:
        """Somebody wants this run to end early. Asking again changes nothing, but CANCEL outranks STOP."""
        if self.fold.ended is not None or self.fold.stop is Stop.CANCEL or self.fold.stop is stop:
            return []
        state = State.CANCELLED if stop is Stop.CANCEL else State.STOPPED
        self._follow(self._record_entry(StopAsked(stop, state, reason)))
        return self._tell_all_to_stop()

    def _tell_all_to_stop(self) -> list[Effect]:
        return [effect for node in self.handouts.nodes for effect in self._tell_to_stop(node)]

    def _tell_to_stop(self, node: NodeId) -> list[Effect]:
        """Said at once, and again whenever the node lists what it holds: it may get lost, or come before the job."""
        attempts = tuple(attempt for _, attempt in self.handouts.at(node))
        if self.fold.stop is Stop.NONE or not attempts:
            return []
        told: list[Effect] = [Send(node, Stopping(self.run))]
        return [*told, Send(node, Cancel(attempts))] if self.fold.stop is Stop.CANCEL else told

    def write_provenance(self, wall_at: float | None) -> None:
        """Have the timings so far written to the `meta` section with the next batch; `wall_at` ends the run."""
        if self.fold.total_count > self._settings.max_provenance_tasks:
            return
        started_at = self._record.started_at or self._record.created_at
        running = {task: (self._names.get(on, on), at + self._offset_s) for task, on, at in self.handouts.under_way}
        tree = dag_provenance(self.fold, self._record.queue, started_at, wall_at, running)
        self.log.add(requests=[SetFields(self.parent, "meta", {f"log.{dag_run_name(self.run)}": tree})])

    def _end(self, wall_at: float) -> None:
        self._is_ending = True
        state, reason = self.fold.outcome()
        # Not beside the append: refused or not, a request beside it is performed.
        self._record_entry(RunEnded(state, reason), then=[self.log.last_words(self._update(state, reason, wall_at))])
        self.write_provenance(wall_at)

    def _update(self, state: State | None, reason: str | None, ended_at: float | None) -> UpdateRun:
        done, total = self.fold.done_count, self.fold.total_count
        return UpdateRun(
            self.run, self.log.epoch, state=state, reason=reason, ended_at=ended_at, total=total, done=done
        )

    # --- time ---

    def wake(self, now: float) -> list[Effect]:
        """Queue what is due, and ask nodes that have been silent about attempts they were handed."""
        effects: list[Effect] = []
        self._push([task for task in self._inquiry.release(now) if self.is_waiting(task)])
        while self._delayed and self._delayed[0][0] <= now:
            if self.is_waiting(task := heapq.heappop(self._delayed)[1]):
                self._enqueue((task,))
        if now >= self._ask_at():
            self._asked_at = now
            silent = self.handouts.silent(now - self._settings.silent_s)
            effects += [Send(node, Owned(self.run, self.log.epoch)) for node in silent]
        return effects

    def _ask_at(self) -> float:
        silent_at = self.handouts.earliest_heard_at + self._settings.silent_s
        return max(silent_at, self._asked_at + self._settings.resend_s)

    def flush(self, now: float, wall_at: float) -> list[Effect]:
        """End what is done, and send the next batch of the log."""
        self._offset_s = wall_at - now
        self._is_gathering = now < self._gathers_until()
        if self._is_gathering:
            return []
        if not self.log.is_appending:  # else one acknowledgement would follow another
            owed = self._receipts.due(now, is_busy=self._is_busy)
            if owed:
                self.log.add(then=[Send(node, ReportsAck(self.run, upto)) for node, upto in owed])
        if self.fold.is_done and not self._is_ending and not self.handouts:
            self._end(wall_at)
        elif self._has_progress and now >= self._progress_at:
            self._progress_at, self._progress_done = now + self._settings.progress_s, self.fold.done_count
            self.log.add(requests=[self._update(None, None, None)])
        if not self.log.is_appending:
            self._appended_at = now
        return self.log.flush(wall_at)

    def _gathers_until(self) -> float:
        """Until when the log waits for more: an append for each of many short tasks would cost more than the tasks."""
        return self._appended_at + self._settings.gather_s if self._is_busy else -math.inf

    @property
    def _is_busy(self) -> bool:
        return len(self.handouts) >= _MANY and not self.log.is_urgent

    @property
    def _has_progress(self) -> bool:
        return self.fold.done_count != self._progress_done and not self._is_ending

    def deadline(self) -> float:
        """When `flush` is next due without any input."""
        due = self._delayed[0][0] if self._delayed else math.inf
        due = min(due, self._ask_at(), self._progress_at if self._has_progress else math.inf)
        if self._is_gathering:
            due = min(due, self._gathers_until())
        return min(due, self._inquiry.deadline(), math.inf if self.log.is_appending else self._receipts.deadline())
