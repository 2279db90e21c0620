"""`submit`: what it prints, and how it ends."""

import json
from pathlib import Path

import click
import pytest

from meshflow.cli.arguments import parse_pairs
from meshflow.core.client_messages import Watched
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagStarted,
    RunEnded,
    RunRecord,
    State,
    TaskEnded,
    TaskStarted,
)
from meshflow.core.requests import Append, ListRuns, WriteOutput
from meshflow.ids import dag_run_id
from tests.cli.conftest import Run, document
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import OWNER, WORKER


def only_run(mesh: FakeMesh) -> RunRecord:
    records = mesh.store.perform([ListRuns()])[0]
    assert isinstance(records, tuple)
    [record] = records
    assert isinstance(record, RunRecord)
    return record


def let_it_end(mesh: FakeMesh, state: State, reason: str = "") -> None:
    """Have the submitted run of `simple` claimed, run and ended while the client waits."""

    def happen() -> None:
        run = only_run(mesh).run
        dag = dag_run_id(run, "main_dag:1")
        end = TaskEnded(0, 1, state, reason=reason, started_at=1.0, ended_at=1.5, node="bob")
        batches = [
            Batch(run, 0, "a", (Claimed(OWNER, 1), DagStarted("main_dag:1", "main_dag", "k")), 1.0),
            Batch(dag, 0, "b", (Claimed(OWNER, 1), TaskStarted(0, 1, 1, WORKER)), 1.0),
            Batch(dag, 1, "c", (end, RunEnded(state, reason)), 2.0),
            Batch(run, 1, "d", (DagEnded("main_dag:1", state, reason), RunEnded(state, reason)), 2.0),
        ]
        chunk = WriteOutput(dag, "put_task", 1, "stdout", 0, b"hello\n", 1.2)
        mesh.store.perform([*map(Append, batches), chunk])
        for batch in batches:
            mesh.push(Watched(batch))
        mesh.push(Watched(None, (chunk,)))

    mesh.story.append(happen)


def test_submit_prints_the_id_and_says_how_to_go_on(run: Run, mesh: FakeMesh) -> None:
    result = run("submit", "simple", "-q", "main")
    assert result.exit_code == 0
    record = only_run(mesh)
    assert result.stdout == f"{record.run}\n"
    assert f"meshflow logs -f {record.run}" in result.stderr
    assert record.queue == "main"


def test_submit_as_json_prints_the_run(run: Run, mesh: FakeMesh) -> None:
    content = document(run("submit", "simple", "-o", "json"))
    assert (content["kind"], content["state"], content["workflow"]) == ("run", "queued", "simple")
    assert content["started_at"] is None
    assert content["created_at"].endswith("Z")
    assert content["counts"] == {"total": 0, "done": 0, "reused": 0}


def test_arguments_are_given_bare_or_with_an_option(run: Run, mesh: FakeMesh) -> None:
    assert run("submit", "parameters", "filepath=/a=b", "--arg", "iterations=3").exit_code == 0
    assert only_run(mesh).arguments["filepath"] == "/a=b"
    assert only_run(mesh).arguments["iterations"] == 3


def test_an_argument_that_is_not_declared_is_noted(run: Run, mesh: FakeMesh) -> None:
    result = run("submit", "parameters", "filepath=/a", "iteration=3")
    assert result.exit_code == 0
    assert "declares no parameter 'iteration'; did you mean 'iterations'?" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["simpel"], 4, "did you mean 'simple'"),
        (["parameters"], 8, "'filepath'"),
        (["parameters", "filepath=/a", "iterations=x"], 8, "'iterations' is 'x'"),
        (["simple", "x"], 2, "'x' is not an argument of the workflow"),
        (["bad.py"], 8, "bad.py, line 1"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(
    run: Run, mesh: FakeMesh, arguments: list[str], code: int, text: str
) -> None:
    Path("bad.py").write_text("x = (")
    result = run("submit", *arguments)
    assert result.exit_code == code
    assert text in result.stderr
    assert result.stdout == ""
    assert mesh.store.perform([ListRuns()]) == [()]


@pytest.mark.parametrize(
    ("state", "code"),
    [(State.COMPLETED, 0), (State.FAILED, 3), (State.ABORTED, 3), (State.STOPPED, 7), (State.CANCELLED, 7)],
)
@pytest.mark.parametrize("option", ["--wait", "--follow"])
def test_the_exit_code_follows_the_run(run: Run, mesh: FakeMesh, state: State, code: int, option: str) -> None:
    let_it_end(mesh, state, "why")
    result = run("submit", "simple", option)
    assert result.exit_code == code
    assert f"simple {state.value}" in result.stderr
    assert "why" in result.stderr


def test_following_shows_output_on_stdout_and_progress_on_stderr(run: Run, mesh: FakeMesh) -> None:
    let_it_end(mesh, State.COMPLETED)
    result = run("submit", "simple", "-f")
    assert result.stdout.splitlines() == [only_run(mesh).run, "put_task | hello"]
    assert "main_dag:1/put_task started on bob" in result.stderr
    assert "main_dag:1/put_task completed on bob in 0.500 s  [1/2]" in result.stderr


def test_following_as_json_prints_lines_that_end_with_the_run(run: Run, mesh: FakeMesh) -> None:
    let_it_end(mesh, State.FAILED, "boom")
    result = run("submit", "simple", "-f", "-o", "json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["kind"] for line in lines[:-1]} == {"event", "line"}
    assert (lines[-1]["kind"], lines[-1]["state"], lines[-1]["reason"]) == ("run", "failed", "boom")
    failed = next(line for line in lines if line.get("event") == "failed" and line["type"] == "task")
    assert (failed["node"], failed["duration_s"], failed["reason"]) == ("bob", 0.5, "boom")
    assert result.exit_code == 3


def test_waiting_as_json_prints_one_document(run: Run, mesh: FakeMesh) -> None:
    let_it_end(mesh, State.COMPLETED)
    assert document(run("submit", "simple", "-w", "-o", "json"))["state"] == "completed"


def test_waiting_may_run_out_and_the_run_goes_on(run: Run, mesh: FakeMesh) -> None:
    result = run("submit", "simple", "-w", "--timeout", "2")
    assert result.exit_code == 6
    assert "it goes on" in result.stderr


def test_interrupting_leaves_the_run(run: Run, mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    mesh.story.append(interrupt)
    result = run("submit", "simple", "-f")
    assert result.exit_code == 130
    assert "the run goes on" in result.stderr


def test_pairs_are_split_at_the_first_sign_and_the_last_of_a_name_counts() -> None:
    assert parse_pairs(["a=1=2", "b=", "a=3"]) == {"a": "3", "b": ""}
    for wrong in ("a", "=1"):
        with pytest.raises(click.UsageError):
            parse_pairs([wrong])
