"""Rounds follow from their seed, and a cell's rounds from the cell besides."""

from dataclasses import replace
from itertools import islice

from meshflow.chaos.plans import KINDS, plan_of
from meshflow.chaos.schedule import CELLS, Fault, Victim, cells, rounds


def test_the_same_seed_gives_the_same_rounds() -> None:
    assert list(islice(rounds(7, cells()), 100)) == list(islice(rounds(7, cells()), 100))
    assert list(islice(rounds(7, cells()), 100)) != list(islice(rounds(8, cells()), 100))


def test_every_cell_is_visited_before_any_is_visited_again() -> None:
    chosen = cells()
    played = list(islice(rounds(1, chosen), 2 * len(chosen)))
    for half in (played[: len(chosen)], played[len(chosen) :]):
        assert sorted((each.fault.value, each.victim.value) for each in half) == sorted(
            (fault.value, victim.value) for fault, victim in chosen
        )
    assert [each.visit for each in played] == [1] * len(chosen) + [2] * len(chosen)


def test_a_cell_alone_is_played_as_in_the_whole_game() -> None:
    """But for its number."""
    of_cell = [each for each in islice(rounds(3, cells()), 200) if each.fault is Fault.KILL]
    of_cell = [each for each in of_cell if each.victim is Victim.OWNER]
    alone = list(islice(rounds(3, cells([Fault.KILL], [Victim.OWNER])), len(of_cell)))
    assert [replace(each, number=0) for each in alone] == [replace(each, number=0) for each in of_cell]


def test_cells_are_chosen_by_fault_and_victim_and_without_what_cannot_be_had() -> None:
    assert set(cells()) == {(fault, victim) for fault, victims in CELLS.items() for victim in victims}
    assert cells([Fault.KILL, Fault.OUTAGE], [Victim.STORE]) == [
        (Fault.KILL, Victim.STORE),
        (Fault.OUTAGE, Victim.STORE),
    ]
    assert cells([Fault.OUTAGE], [Victim.WORKER]) == []
    assert cells([Fault.LOSS], [], [Fault.LOSS]) == []


def test_without_cells_there_are_no_rounds() -> None:
    assert list(rounds(1, [])) == []


def test_every_kind_of_run_has_a_plan_whose_tasks_come_after_tasks_it_has() -> None:
    for kind in KINDS:
        plan = plan_of(kind, 5)
        named = [other for others in (*plan.after.values(), *plan.joins.values(), plan.once) for other in others]
        assert set(named) <= set(plan.after), kind
        assert plan.answer == plan_of(kind, 5).answer != plan_of(kind, 6).answer
