"""The table has a row for each cell, with what was found in its rounds; the exit code tells who has failed."""

import pytest

from meshflow.chaos.checker import Finding, Problem
from meshflow.chaos.history import Accepted, BrokenOff, Event, Refused, Submitted
from meshflow.chaos.report import HEADS, Row, cells_of, rows
from meshflow.cli.chaos import exit_code_of
from meshflow.cli.exit_codes import ExitCode
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


def test_runs_of_a_round_that_was_broken_off_before_its_fault_have_a_row() -> None:
    history: list[Event] = [Submitted(0.0, 1, 1, "once", PLAN), Accepted(0.1, 1, RUN), BrokenOff(1.0, 1, "no disk", ())]
    assert rows(history, []) == [Row("not applied", "-", 1, 1, 0, 0, 0, 0, 0.0)]


def test_a_game_without_a_round_has_no_row() -> None:
    assert rows([], []) == []


@pytest.mark.parametrize(
    ("findings", "is_broken_off", "code"),
    [
        ([], False, ExitCode.OK),
        ([], True, ExitCode.FAILURE),
        ([Finding.UNPROVED], False, ExitCode.FAILURE),
        ([Finding.LOST], False, ExitCode.RUN_FAILED),
        ([Finding.DOUBLED], True, ExitCode.RUN_FAILED),
        ([Finding.UNPROVED, Finding.ORDER], True, ExitCode.RUN_FAILED),
    ],
)
def test_a_broken_promise_and_a_game_that_failed_exit_differently(
    findings: list[Finding], is_broken_off: bool, code: ExitCode
) -> None:
    problems = [Problem(finding, 1, RUN, "") for finding in findings]
    assert exit_code_of(problems, is_broken_off=is_broken_off) is code
