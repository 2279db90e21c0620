"""The outcome of a game: a row for each cell, and what was wrong."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meshflow.chaos.checker import Finding, Problem
from meshflow.chaos.history import Accepted, Applied, BrokenOff, Event, Observed, Refused, Submitted

_NOT_APPLIED = ("not applied", "-")
"""The cell of what happened before the fault of a round that was broken off."""

HEADS = ("FAULT", "VICTIM", "ROUNDS", "RUNS", "REFUSED", "LOST", "DOUBLED", "OTHER", "WORST DELAY")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of a fault and a victim."""

    fault: str
    victim: str
    rounds: int
    runs: int
    """That were accepted."""
    refused: int
    """That were not: the client was told so, or died."""
    lost: int
    doubled: int
    other: int
    """Out of order, or the fault could not be shown to have been there."""
    worst_delay_s: float
    """The longest time from the submission of a run to its end."""


def rows(history: Sequence[Event], problems: Iterable[Problem]) -> list[Row]:
    """The table, in the order in which the cells were first visited."""
    applied = {event.round: (event.fault, event.victim) for event in history if isinstance(event, Applied)}
    broken_off = {event.round: _NOT_APPLIED for event in history if isinstance(event, BrokenOff)}
    cell_of = broken_off | applied
    round_of_mark = {event.mark: event.round for event in history if isinstance(event, Submitted)}
    accepted = {event.run: event.mark for event in history if isinstance(event, Accepted)}
    refused = [event.mark for event in history if isinstance(event, Refused)]
    delays: dict[tuple[str, str], float] = defaultdict(float)
    for event in history:
        if isinstance(event, Observed) and event.run in accepted:
            cell = cell_of[round_of_mark[accepted[event.run]]]
            delays[cell] = max(delays[cell], event.delay_s)
    found = [(cell_of[problem.round], problem.finding) for problem in problems]

    def count(cell: tuple[str, str], marks: Iterable[int]) -> int:
        return sum(cell_of[round_of_mark[mark]] == cell for mark in marks)

    def problems_of(cell: tuple[str, str], *findings: Finding) -> int:
        return sum(where == cell and finding in findings for where, finding in found)

    return [
        Row(
            *cell,
            rounds=list(cell_of.values()).count(cell),
            runs=count(cell, accepted.values()),
            refused=count(cell, refused),
            lost=problems_of(cell, Finding.LOST),
            doubled=problems_of(cell, Finding.DOUBLED),
            other=problems_of(cell, Finding.ORDER, Finding.UNPROVED),
            worst_delay_s=delays[cell],
        )
        for cell in dict.fromkeys(cell_of.values())
    ]


def cells_of(row: Row) -> list[str]:
    """A row as texts, under `HEADS`."""
    numbers = (row.rounds, row.runs, row.refused, row.lost, row.doubled, row.other)
    return [row.fault, row.victim, *map(str, numbers), f"{row.worst_delay_s:.1f} s"]
