"""The table has a row for each cell, with what was found in its rounds."""

from meshflow.chaos.checker import Finding, Problem
from meshflow.chaos.history import Refused, Submitted
from meshflow.chaos.report import HEADS, Row, cells_of, rows
from tests.chaos.test_checker import PLAN, RUN, good


def test_a_row_counts_what_happened_in_the_rounds_of_its_cell() -> None:
    history = [*good(), Submitted(0.2, 2, 1, "sums", PLAN), Refused(0.3, 2, "no mesh")]
    problems = [
        Problem(Finding.LOST, 1, RUN, ""),
        Problem(Finding.ORDER, 1, RUN, ""),
        Problem(Finding.UNPROVED, 1, "", ""),
    ]
    (row,) = rows(history, problems)
    assert row == Row("kill", "worker", 1, 1, 1, 1, 0, 2, 4.0)
    assert len(cells_of(row)) == len(HEADS)


def test_a_game_without_a_round_has_no_row() -> None:
    assert rows([], []) == []
