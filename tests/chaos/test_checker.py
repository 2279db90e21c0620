"""The checker finds nothing in a good history, and every kind of damage in a broken one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest

from meshflow.chaos.checker import Finding, check
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
    Refused,
    Started,
    Submitted,
)
from meshflow.chaos.plans import Plan

RUN, DAG = "a" * 24, "a" * 24 + "/main:1"
FIRST, ONLY, WAITS = "main:1/first", "main:1/only", "main:1/waits"
PLAN = Plan("42", {FIRST: (), ONLY: (FIRST,), WAITS: (FIRST,)}, joins={WAITS: (ONLY,)}, once=(ONLY,))

E = TypeVar("E", bound=Event)
Damage = Callable[[list[Event]], list[Event]]


def task(name: str, seq: int, start: float, end: float) -> list[Event]:
    """A task that ran once, as its notes and its log have it."""
    return [
        LoggedStart(DAG, seq, name, 1),
        LoggedEnd(DAG, seq + 1, name, 1, "completed", True, "worker1"),
        Started(start, RUN, name, name, "worker1"),
        Completed(end, RUN, name, name, "worker1"),
    ]


def good() -> list[Event]:
    """A run as it should be, with a fault in its middle."""
    observed = Observed(9.0, RUN, "file", "completed", True, "", "42", 4.0)
    return [
        Submitted(0.0, 1, 1, "once", PLAN),
        Accepted(0.1, 1, RUN),
        Applied(0.5, 1, "kill", "worker", ("worker1",)),
        Proved(0.6, 1, True, "gone"),
        Healed(3.4, 1),
        Found(1, RUN),
        Claimed(RUN, 0, 1, "owner1"),
        Claimed(DAG, 0, 1, "owner1"),
        Claimed(DAG, 1, 2, "owner2"),
        *task(FIRST, 2, 1.0, 2.0),
        *task(ONLY, 4, 3.0, 4.0),
        *task(WAITS, 6, 2.5, 4.5),
        LoggedRunEnd(DAG, 8, "completed"),
        LoggedRunEnd(RUN, 1, "completed"),
        observed,
        replace(observed, by="mesh"),
    ]


def kinds(history: Sequence[Event]) -> list[Finding]:
    """What is found in a history."""
    return [problem.finding for problem in check(history)]


def without(kind: type[Event], **fields: object) -> Damage:
    """Leaves the events of a kind with these fields out."""

    def damage(history: list[Event]) -> list[Event]:
        return [event for event in history if not _is(event, kind, fields)]

    return damage


def twice(kind: type[Event], **fields: object) -> Damage:
    """Has them twice."""

    def damage(history: list[Event]) -> list[Event]:
        return [each for event in history for each in ([event, event] if _is(event, kind, fields) else [event])]

    return damage


def changed(kind: type[Event], new: dict[str, object], **fields: object) -> Damage:
    """Has them with other fields."""

    def damage(history: list[Event]) -> list[Event]:
        return [replace(event, **new) if _is(event, kind, fields) else event for event in history]  # type: ignore[arg-type]

    return damage


def _is(event: Event, kind: type[Event], fields: dict[str, object]) -> bool:
    return isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items())


def test_nothing_is_found_in_a_good_history() -> None:
    assert check(good()) == []


@pytest.mark.parametrize(
    ("finding", "damage"),
    [
        (Finding.LOST, without(Observed)),
        (Finding.LOST, changed(Observed, {"state": "running", "is_final": False})),
        (Finding.LOST, changed(Observed, {"state": "failed", "reason": "a task failed"})),
        (Finding.LOST, changed(Observed, {"answer": "41"})),
        (Finding.LOST, changed(Observed, {"answer": ""})),
        (Finding.LOST, without(LoggedRunEnd, run=DAG)),
        (Finding.LOST, without(LoggedEnd, task=FIRST)),
        (Finding.LOST, changed(LoggedEnd, {"is_last": False}, task=WAITS)),
        (Finding.DOUBLED, changed(Observed, {"answer": "41"}, by="file")),
        (Finding.DOUBLED, changed(Observed, {"state": "stopped"}, by="file")),
        (Finding.DOUBLED, twice(LoggedEnd, task=FIRST)),
        (Finding.DOUBLED, twice(LoggedRunEnd, run=RUN)),
        (Finding.DOUBLED, twice(Claimed, run=RUN)),
        (Finding.DOUBLED, changed(Claimed, {"epoch": 1}, run=DAG, epoch=2)),
        (Finding.DOUBLED, changed(Claimed, {"epoch": 3}, run=DAG, epoch=2)),
        (Finding.DOUBLED, without(Claimed, run=RUN)),
        (Finding.DOUBLED, twice(Started, task=ONLY)),
        (Finding.DOUBLED, lambda history: [*history[:-4], *task("main:1/more", 7, 5.0, 6.0), *history[-4:]]),
        (Finding.ORDER, changed(Started, {"at": 1.5}, task=ONLY)),
        (Finding.ORDER, changed(Completed, {"at": 3.5}, task=WAITS)),
        (Finding.ORDER, without(LoggedStart, task=FIRST)),
        (Finding.ORDER, changed(LoggedStart, {"attempt": 2}, task=FIRST)),
        (Finding.ORDER, without(Completed, task=ONLY)),
        (Finding.ORDER, changed(LoggedRunEnd, {"seq": 3}, run=DAG)),
        (Finding.ORDER, lambda history: [*history, LoggedStart(DAG, 9, FIRST, 2)]),
        (Finding.UNPROVED, without(Proved)),
        (Finding.UNPROVED, changed(Proved, {"is_applied": False})),
    ],
)
def test_damage_is_found(finding: Finding, damage: Damage) -> None:
    assert finding in kinds(damage(good()))


def test_a_task_that_ran_twice_is_no_finding_if_it_may() -> None:
    """At least once is what is promised; the log has one result."""
    again: list[Event] = [Started(1.2, RUN, FIRST, "again", "worker2"), Completed(2.9, RUN, FIRST, "again", "worker2")]
    assert check([*good(), *again]) == []


def once_lost() -> list[Event]:
    """A run that failed because its `at_most_once` task was lost with its node."""
    reason = "task 'only': attempt 1 on node worker1 was lost: its node is gone; it may run at most once"
    history = changed(Observed, {"state": "failed", "reason": reason, "answer": ""})(good())
    history = without(Completed, task=ONLY)(without(LoggedEnd, task=WAITS)(without(Completed, task=WAITS)(history)))
    return changed(LoggedEnd, {"state": "failed"}, task=ONLY)(history)


def test_a_run_may_fail_because_its_at_most_once_task_was_lost() -> None:
    assert check(once_lost()) == []
    assert kinds(twice(Started, task=ONLY)(once_lost())) == [Finding.DOUBLED]


@pytest.mark.parametrize(
    "damage",
    [
        changed(Applied, {"nodes": ("owner2",)}),
        without(Started, task=ONLY),
        without(Healed),
        changed(Healed, {"at": 1.0}),
        lambda history: [Refused(0.1, 1, "no answer") if isinstance(event, Accepted) else event for event in history],
    ],
    ids=["its owner was hit", "it was on its way", "the fault stayed", "the aftermath", "accepted at no known time"],
)
def test_an_at_most_once_task_may_be_lost_if_a_fault_can_have_been_the_cause(damage: Damage) -> None:
    assert check(damage(once_lost())) == []


@pytest.mark.parametrize(
    ("why", "damage"),
    [
        ("no such task has failed", changed(LoggedEnd, {"state": "completed"}, task=ONLY)),
        ("no such task has failed", without(LoggedEnd, task=ONLY)),
        ("was never handed out", without(LoggedStart, task=ONLY)),
        ("was never handed out", changed(LoggedEnd, {"attempt": 2}, task=ONLY)),
        ("no fault had hit worker1 or owner1 or owner2", changed(Applied, {"nodes": ("worker2", "store")})),
        ("no fault had hit worker1", changed(Applied, {"fault": "none", "nodes": ()})),
        ("no fault had hit worker2", changed(LoggedEnd, {"node": "worker2"}, task=ONLY)),
        ("no fault had hit worker1", changed(Applied, {"at": 4.2})),
        ("no fault had hit worker1", changed(Healed, {"at": -7.5})),
        ("no fault had hit worker1", without(Applied)),
    ],
)
def test_an_at_most_once_task_that_no_fault_can_have_cost_is_lost(why: str, damage: Damage) -> None:
    found = [problem for problem in check(damage(once_lost())) if problem.finding is Finding.LOST]
    assert any(why in problem.text for problem in found), found


def test_the_loss_of_an_at_most_once_task_excuses_no_run_that_has_none() -> None:
    history = changed(Observed, {"state": "failed", "reason": "it may run at most once"})(good())
    history = changed(Submitted, {"plan": replace(PLAN, once=())})(history)
    assert Finding.LOST in kinds(history)


def test_an_accepted_run_that_the_store_does_not_have_is_lost() -> None:
    history: list[Event] = [Submitted(0.0, 1, 1, "once", PLAN), Accepted(0.1, 1, RUN)]
    assert Finding.LOST in kinds(history)


def test_a_refused_run_need_not_be_there() -> None:
    assert check([Submitted(0.0, 1, 1, "once", PLAN), Refused(0.1, 1, "no mesh")]) == []


def test_a_refused_run_that_is_there_nevertheless_is_held_to_the_same() -> None:
    refused: list[Event] = [
        Refused(0.1, 1, "the client died") if isinstance(event, Accepted) else event for event in good()
    ]
    assert check(refused) == []
    assert Finding.LOST in kinds(changed(Observed, {"answer": "41"})(refused))


def test_what_a_game_that_was_broken_off_was_yet_to_see_is_not_missed() -> None:
    """Neither the end and the logs of the runs of its last round, nor the logs of others that it names."""
    submitted: list[Event] = [Submitted(0.0, 1, 1, "once", PLAN), Accepted(0.1, 1, RUN)]
    applied = Applied(0.5, 1, "kill", "worker", ("worker1",))
    assert check([*submitted, applied, BrokenOff(1.0, 1, "no disk", ())]) == []
    assert set(kinds([*submitted, applied, BrokenOff(1.0, 2, "no disk", ())])) == {
        Finding.LOST,
        Finding.UNPROVED,
        Finding.DOUBLED,
    }
    unread = [event for event in good() if not isinstance(event, Claimed | LoggedStart | LoggedEnd | LoggedRunEnd)]
    assert check([*unread, BrokenOff(10.0, 3, "no disk", (RUN,))]) == []
    assert Finding.LOST in kinds([*unread, BrokenOff(10.0, 3, "no disk", ())])


@pytest.mark.parametrize(
    "damage",
    [
        changed(Observed, {"answer": "41"}),
        changed(Observed, {"state": "running", "is_final": False}),
        twice(Started, task=ONLY),
        changed(Proved, {"is_applied": False}),
        twice(LoggedRunEnd, run=RUN),
    ],
)
def test_what_a_game_saw_before_it_was_broken_off_is_judged(damage: Damage) -> None:
    assert kinds([*damage(good()), BrokenOff(10.0, 1, "no disk", (RUN,))]) != []
