"""Judges a history: whether the promises were kept. Pure, and knows nothing of the mesh but the events.

For every run that was accepted, and every other that the store has:

1. It has ended, everybody who looked says how, and they agree; it was completed with the right answer. One whose
   `at_most_once` task was lost has failed instead, and says so: the log shows that it was handed out, and a fault had
   hit the node that had it, or one that drove its dag run, at a time at which it can have been the cause.
2. Its log, and that of each of its dag runs, has one end and nothing after it. Epochs begin at 1 and rise by one.
3. Each task has one recorded end, an attempt that was handed out, and which really ran.
4. No task began before those it comes after had done their work, nor ended before those it waits for.
5. An `at_most_once` task began at most once.

And a fault that could not be shown to have been applied proves nothing, which is a finding, too. Of a game that was
broken off, what was yet to be seen is not missed.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from meshflow.chaos.history import (
    Accepted,
    Applied,
    BrokenOff,
    Claimed,
    Completed,
    Event,
    Found,
    Healed,
    LoggedEnd,
    LoggedRunEnd,
    LoggedStart,
    Observed,
    Proved,
    Started,
    Submitted,
)
from meshflow.chaos.plans import Plan

COMPLETED, FAILED = "completed", "failed"

ONCE_LOST = "it may run at most once"
"""What a run says that failed because such a task was lost."""

_AFTERMATH_S = 10.0
"""How long after its end a fault may still cost an attempt: nodes find each other dead, and alive again."""


class Finding(Enum):
    """What kind of promise was broken."""

    LOST = "lost"
    """An accepted run did not end, or not as it should."""
    DOUBLED = "doubled"
    """Something that may be there once is there twice."""
    ORDER = "order"
    """Something came before what it has to follow."""
    UNPROVED = "unproved"
    """A fault was not shown to have been applied."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken promise."""

    finding: Finding
    round: int
    run: str
    """Empty: it is not about a run."""
    text: str


@dataclass(frozen=True, slots=True)
class _Hit:
    """A fault, and when it was there."""

    nodes: tuple[str, ...]
    began_at: float
    ended_at: float


@dataclass(slots=True)
class _Run:
    """What the history has on one workflow run and its dag runs."""

    id: str
    submitted: Submitted
    accepted_at: float
    """Infinite: the client was never told."""
    is_awaited: bool
    """Whether the game had its time to see how it ended."""
    is_read: bool
    """Whether it had its time to read its logs."""
    observed: list[Observed] = field(default_factory=list)
    started: dict[str, list[Started]] = field(default_factory=lambda: defaultdict(list))
    completed: dict[str, list[Completed]] = field(default_factory=lambda: defaultdict(list))
    logs: dict[str, list[Claimed | LoggedStart | LoggedEnd | LoggedRunEnd]] = field(
        default_factory=lambda: defaultdict(list)
    )

    @property
    def plan(self) -> Plan:
        return self.submitted.plan

    @property
    def is_completed(self) -> bool:
        return bool(self.observed) and self.observed[-1].state == COMPLETED


def check(history: Sequence[Event]) -> list[Problem]:
    """All promises that this history shows to be broken, in the order of its runs."""
    hits = _hits(history)
    problems = [
        Problem(finding, run.submitted.round, run.id, text)
        for run in _runs(history)
        for finding, text in (
            *_check_end(run, hits),
            *_check_logs(run),
            *_check_tasks(run),
            *_check_order(run),
            *_check_once(run),
        )
    ]
    return [*problems, *_check_faults(history)]


def _runs(history: Iterable[Event]) -> list[_Run]:
    submitted = {event.mark: event for event in history if isinstance(event, Submitted)}
    accepted_at = {event.run: event.at for event in history if isinstance(event, Accepted)}
    ends = [event for event in history if isinstance(event, BrokenOff)]
    runs: dict[str, _Run] = {}
    for event in history:
        if isinstance(event, Accepted | Found) and event.run not in runs:
            told = submitted[event.mark]
            is_awaited = all(told.round != end.round for end in ends)
            is_read = is_awaited and all(event.run not in end.unread for end in ends)
            at = accepted_at.get(event.run, math.inf)
            runs[event.run] = _Run(event.run, told, at, is_awaited, is_read)
    for event in history:
        match event:
            case Observed() if event.run in runs:
                runs[event.run].observed.append(event)
            case Started() if event.run in runs:
                runs[event.run].started[event.task].append(event)
            case Completed() if event.run in runs:
                runs[event.run].completed[event.task].append(event)
            case Claimed() | LoggedStart() | LoggedEnd() | LoggedRunEnd():
                run = runs.get(event.run.partition("/")[0])
                if run is not None:
                    run.logs[event.run].append(event)
    return list(runs.values())


Judged = tuple[Finding, str]


def _hits(history: Iterable[Event]) -> list[_Hit]:
    healed_at = {event.round: event.at for event in history if isinstance(event, Healed)}
    applied = [event for event in history if isinstance(event, Applied)]
    return [_Hit(event.nodes, event.at, healed_at.get(event.round, math.inf)) for event in applied]


def _check_end(run: _Run, hits: Sequence[_Hit]) -> Iterable[Judged]:
    if not run.observed:
        if run.is_awaited:
            yield Finding.LOST, "it was accepted, and nobody has seen it since"
        return
    last = run.observed[-1]
    if not last.is_final:
        yield Finding.LOST, f"it has not ended; after {last.delay_s:.1f} s it is {last.state}"
        return
    finals = dict.fromkeys((each.state, each.answer) for each in run.observed if each.is_final)
    if len(finals) > 1:
        yield Finding.DOUBLED, f"it was seen to end in several ways: {list(finals)}"
    if run.plan.once and last.state == FAILED and ONCE_LOST in last.reason:
        if run.is_read and (doubt := _doubt_of_loss(run, hits)):
            yield Finding.LOST, f"it is {FAILED}: {last.reason}; but {doubt}"
    elif last.state != COMPLETED:
        yield Finding.LOST, f"it is {last.state}: {last.reason or 'without a reason'}"
    if last.state == COMPLETED and last.answer != run.plan.answer:
        yield Finding.LOST, f"its answer is {last.answer!r:.200}, not {run.plan.answer!r:.200}"


def _doubt_of_loss(run: _Run, hits: Iterable[_Hit]) -> str:
    """Why no fault can have cost this run its `at_most_once` task; empty: one can."""
    failed = [
        (log, entry)
        for log in run.logs.values()
        for entry in log
        if isinstance(entry, LoggedEnd) and entry.task in run.plan.once and entry.state == FAILED
    ]
    if not failed:
        return "no such task has failed"
    log, end = failed[0]
    handed = [(entry.task, entry.attempt) for entry in log if isinstance(entry, LoggedStart)]
    if (end.task, end.attempt) not in handed:
        return f"attempt {end.attempt} of {end.task} was never handed out"
    nodes = dict.fromkeys([end.node, *(entry.node for entry in log if isinstance(entry, Claimed))])
    began_at = min((note.at for note in run.started[end.task]), default=-math.inf)
    ended_at = run.accepted_at + run.observed[-1].delay_s
    for hit in hits:
        if hit.began_at <= ended_at and began_at <= hit.ended_at + _AFTERMATH_S and nodes.keys() & set(hit.nodes):
            return ""
    return f"no fault had hit {' or '.join(nodes)} at the time"


def _check_logs(run: _Run) -> Iterable[Judged]:
    if not run.is_read and not run.logs:
        return
    for name, log in {run.id: [], **run.logs}.items():
        epochs = [entry.epoch for entry in log if isinstance(entry, Claimed)]
        if epochs != list(range(1, len(epochs) + 1)) or not epochs:
            yield Finding.DOUBLED, f"the epochs of {name} do not rise by one from 1: {epochs}"
        ends = [entry for entry in log if isinstance(entry, LoggedRunEnd)]
        if len(ends) > 1:
            yield Finding.DOUBLED, f"{name} has {len(ends)} recorded ends"
        if not ends:
            yield Finding.LOST, f"{name} has no recorded end"
        elif log[-1] is not ends[-1]:
            yield Finding.ORDER, f"in the log of {name} there is more after its end: {log[-1]}"
        if [entry.seq for entry in log] != sorted(entry.seq for entry in log):
            yield Finding.ORDER, f"the log of {name} is not in order"


def _check_tasks(run: _Run) -> Iterable[Judged]:
    logs = [entry for log in run.logs.values() for entry in log]
    handed = {(entry.task, entry.attempt) for entry in logs if isinstance(entry, LoggedStart)}
    ends = [entry for entry in logs if isinstance(entry, LoggedEnd)]
    last = Counter(entry.task for entry in ends if entry.is_last)
    for task, count in last.items():
        if count > 1:
            yield Finding.DOUBLED, f"{task} has {count} recorded ends"
    for (task, attempt), count in Counter((entry.task, entry.attempt) for entry in ends).items():
        if count > 1 and last[task] < 2:
            yield Finding.DOUBLED, f"attempt {attempt} of {task} has {count} recorded ends"
    for entry in ends:
        if entry.state != COMPLETED:
            continue
        if (entry.task, entry.attempt) not in handed:
            yield Finding.ORDER, f"attempt {entry.attempt} of {entry.task} was never handed out, and has a result"
        if not run.completed[entry.task]:
            yield Finding.ORDER, f"{entry.task} has a recorded result, and never did its work"
    if run.is_completed and (run.is_read or run.logs):
        completed = {entry.task for entry in ends if entry.is_last and entry.state == COMPLETED}
        missing = [task for task in run.plan.after if task not in completed]
        more = [task for task in completed if task not in run.plan.after]
        if missing:
            yield Finding.LOST, f"the run is completed without a result of {', '.join(missing)}"
        if more:
            yield Finding.DOUBLED, f"the run has tasks that nobody asked for: {', '.join(more)}"


def _check_order(run: _Run) -> Iterable[Judged]:
    done_at = {task: min(note.at for note in notes) for task, notes in run.completed.items() if notes}
    for task, before in run.plan.after.items():
        for note in run.started[task]:
            early = [other for other in before if done_at.get(other, note.at) >= note.at]
            if early:
                yield Finding.ORDER, f"{task} began before {', '.join(early)} had done its work"
    for task, awaited in run.plan.joins.items():
        for done in run.completed[task]:
            early = [other for other in awaited if done_at.get(other, done.at) >= done.at]
            if early:
                yield Finding.ORDER, f"{task} did not wait for {', '.join(early)}"


def _check_once(run: _Run) -> Iterable[Judged]:
    for task in run.plan.once:
        if len(run.started[task]) > 1:
            nodes = ", ".join(note.node for note in run.started[task])
            yield Finding.DOUBLED, f"{task} may run at most once, and began {len(run.started[task])} times, on {nodes}"


def _check_faults(history: Iterable[Event]) -> Iterable[Problem]:
    proofs: dict[int, list[Proved]] = defaultdict(list)
    unplayed = [event.round for event in history if isinstance(event, BrokenOff)]
    for event in history:
        if isinstance(event, Proved):
            proofs[event.round].append(event)
    for event in history:
        if isinstance(event, Applied):
            found = proofs[event.round]
            failed = [proof.text for proof in found if not proof.is_applied]
            if failed or not (found or event.round in unplayed):
                text = "; ".join(failed) or "nothing shows that it was applied"
                yield Problem(Finding.UNPROVED, event.round, "", f"{event.fault} of {event.victim}: {text}")
