"""Driving a workflow run: the finer points of its start and its end."""

from meshflow.core.provenance import instant
from meshflow.core.records import DagEnded, RunEnded, State
from meshflow.core.requests import SetFields
from tests.core.builders import WF, workflow_record
from tests.core.driven_workflow import MAIN, SUB, Driven


def test_a_run_without_a_time_of_its_start_counts_from_its_submission() -> None:
    driven = Driven(record=workflow_record())
    driven.begin()
    assert driven.flush()[1] == [SetFields(WF, "meta", {"start_time": instant(1000.0)})]


def test_counts_that_are_no_numbers_count_as_none() -> None:
    driven = Driven(MAIN, SUB)
    driven.signal("dag_ended", name="sub:1", state="completed", total="many", done=None)
    assert driven.flush()[0] == [DagEnded("sub:1", State.COMPLETED, "", 0, 0)]


def test_the_end_is_logged_once() -> None:
    driven = Driven(MAIN, DagEnded("d:1", State.COMPLETED))
    assert driven.flush()[0] == [RunEnded(State.COMPLETED, "")]
    assert driven.flush() == ([], [], [])
