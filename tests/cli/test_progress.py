"""Watching a run from a terminal, or from a file."""

import io
from collections.abc import Sequence

import pytest

from meshflow.cli.progress import Progress
from meshflow.core.records import Batch, Claimed, RunEnded, State, TaskEnded, TasksQueued, TaskStarted
from meshflow.follow import News
from meshflow.printed import Line
from meshflow.run_view import RunView
from tests.client.run_stories import (
    DAG,
    DEFINITION,
    OWNER,
    RECORD,
    RUN,
    WORKER,
    WORKFLOW,
    batch,
    node_name,
    workflow_log,
)


class Terminal(io.StringIO):
    """A terminal of 60 columns."""

    def isatty(self) -> bool:
        return True


class Watching:
    """A run, and what is shown of it."""

    def __init__(self, err: io.StringIO) -> None:
        self.out, self.err = io.StringIO(), err
        self.view = RunView(RUN, node_name)
        self.progress = Progress(self.view, self.out, err, started_at=0.0)
        self._tell(self.view.describe(RECORD), 0.0)
        self.view.define(WORKFLOW)

    def happen(self, step: Batch, now: float) -> None:
        self._tell(self.view.apply(step), now)
        for dag in self.view.dags.values():
            if not dag.tasks:
                dag.define(DEFINITION.spec)

    def _tell(self, news: Sequence[News], now: float) -> None:
        for each in news:
            self.progress.tell(each, now)


@pytest.fixture
def watching() -> Watching:
    """Shown to a file, with the dag run started and its first task queued."""
    shown = Watching(io.StringIO())
    shown.happen(workflow_log()[0], 0.1)
    shown.happen(batch(DAG, 0, Claimed(OWNER, 1), TasksQueued((0,))), 0.1)
    return shown


END = TaskEnded(0, 1, State.COMPLETED, started_at=1.0, ended_at=1.25, node="bob")


def test_each_start_and_end_of_a_task_is_a_line_with_the_count(watching: Watching) -> None:
    watching.happen(batch(DAG, 1, TaskStarted(0, 1, 1, WORKER)), 0.2)
    watching.happen(batch(DAG, 2, END), 0.5)
    assert watching.err.getvalue() == (
        "   0.200 s  main_dag:1/put started on bob\n   0.500 s  main_dag:1/put completed on bob in 0.250 s  [1/2]\n"
    )


def test_the_count_is_that_of_the_event_even_if_the_run_is_ahead(watching: Watching) -> None:
    other = TaskEnded(1, 1, State.COMPLETED, started_at=1.0, ended_at=2.0, node="bob")
    watching.happen(batch(DAG, 1, END, other), 0.5)
    assert [line[-5:] for line in watching.err.getvalue().splitlines()] == ["[1/2]", "[2/2]"]


def test_a_failure_says_why_and_whether_it_is_tried_again(watching: Watching) -> None:
    failure = TaskEnded(0, 2, State.FAILED, reason="boom", started_at=1.0, ended_at=2.0, node="bob", retry=True)
    watching.happen(batch(DAG, 1, failure), 0.5)
    line = watching.err.getvalue()
    assert "main_dag:1/put (attempt 2) failed on bob in 1.000 s: boom; will be tried again\n" in line
    assert "[" not in line


def test_what_tasks_print_goes_to_its_own_stream(watching: Watching) -> None:
    watching.progress.tell(Line("main_dag:1", "put", 1, "stdout", "hello", 1.0), 0.5)
    assert watching.out.getvalue() == "put | hello\n"
    assert watching.err.getvalue() == ""


def test_with_several_dag_runs_lines_name_theirs(watching: Watching) -> None:
    watching.view.dags["sub:1"] = watching.view.dags["main_dag:1"]
    watching.progress.tell(Line("main_dag:1", "put", 1, "stdout", "hello", 1.0), 0.5)
    assert watching.out.getvalue() == "main_dag:1/put | hello\n"


def test_a_long_wait_is_explained_ever_less_often(watching: Watching) -> None:
    for second in range(30):
        watching.progress.tick(float(second))
    lines = watching.err.getvalue().splitlines()
    assert lines[0] == "   2.000 s  simple 0/2 done  2.000 s  waiting for a slot: put (queue 'task')"
    assert [line.split()[0] for line in lines] == ["2.000", "6.000", "14.000"]


def test_a_run_that_nobody_claims_says_on_which_queue_it_waits() -> None:
    assert "waiting for a node: simple (queue 'workflow')" in Watching(io.StringIO()).progress.summary(1.0)


def test_a_take_over_is_told(watching: Watching) -> None:
    watching.happen(batch(DAG, 1, Claimed(WORKER, 2)), 0.5)
    assert "dag main_dag:1 lost on alice: node bob drives it from here on" in watching.err.getvalue()


def test_the_end_is_told_with_its_reason(watching: Watching) -> None:
    watching.happen(batch(RUN, 1, RunEnded(State.FAILED, "task 'put' failed: boom")), 2.0)
    watching.progress.finish(2.5)
    assert watching.err.getvalue().endswith("simple failed in 2.500 s, 0/2 tasks done: task 'put' failed: boom\n")


def test_a_mesh_that_does_not_answer_is_told(watching: Watching) -> None:
    watching.progress.trouble("no node answers", 1.0)
    watching.progress.trouble("", 2.0)
    assert watching.err.getvalue() == (
        "   1.000 s  waiting for the mesh: no node answers\n   2.000 s  the mesh answers again\n"
    )


def test_on_a_terminal_one_line_is_redrawn_and_kept_within_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = Watching(Terminal())
    shown.happen(workflow_log()[0], 0.1)
    shown.progress.tick(0.2)
    drawn = shown.err.getvalue()
    assert len(drawn) == 39
    shown.progress.tick(0.4)
    assert shown.err.getvalue().startswith(drawn + "\r\x1b[2K")
    shown.happen(batch(DAG, 0, Claimed(OWNER, 1), TaskStarted(0, 1, 1, WORKER)), 0.5)
    assert "started" not in shown.err.getvalue()
    shown.happen(batch(DAG, 1, END), 0.6)
    assert "\r\x1b[2K   0.600 s  main_dag:1/put" in shown.err.getvalue()


def test_of_many_tasks_some_are_named_and_the_rest_counted(watching: Watching) -> None:
    dag = watching.view.dags["main_dag:1"]
    dag.tasks = dag.tasks[:1] * 5
    assert "put (queue 'task'), put (queue 'task'), put (queue 'task') and 2 more" in watching.progress.summary(1.0)
