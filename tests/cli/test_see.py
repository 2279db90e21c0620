"""`status`, `nodes`, `logs`, `events`, `workflows`: what they show."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import UpdateRun
from meshflow.ids import RunId
from tests.cli.conftest import Run, document
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import DAG, OWNER, RECORD, RUN, creation, printed, whole_run

OPEN = replace(RECORD, run=RunId("1" * 24), name="bash", workflow="bash", queue="gpu", created_at=200.0)


@pytest.fixture(autouse=True)
def _stored(mesh: FakeMesh) -> None:
    end = UpdateRun(RUN, 1, State.COMPLETED, owner=OWNER, started_at=101.0, ended_at=106.0, total=2, done=2)
    mesh.store.perform([*whole_run(), end, creation(OPEN)])


def test_status_shows_nodes_runs_and_what_needs_a_person(run: Run, mesh: FakeMesh) -> None:
    mesh.bob.running = ((Attempt(DAG, 0, 1, 1), "put", 0.5),)
    result = run("status")
    assert result.exit_code == 0
    assert "mesh default: 2 nodes up, 1 of 4 slots busy, 1 runs open" in result.stdout
    assert "alice  alive  workflow,dag  0/2" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(("1" * 24, RUN))]
    assert [row[1:3] for row in rows] == [["bash", "queued"], ["simple", "completed"]]
    assert "! 1 job waits on queue 'gpu', which no node serves      meshflow node --queues gpu" in result.stdout


def test_status_counts_the_tasks_of_a_run_that_goes_on(run: Run, mesh: FakeMesh) -> None:
    dag = replace(OPEN, run=RunId(f"{OPEN.run}/d:1"), parent=OPEN.run)
    mesh.store.perform([creation(dag), UpdateRun(dag.run, 0, State.RUNNING, total=5, done=2)])
    [row] = [line.split() for line in run("status").stdout.splitlines() if line.startswith(OPEN.run)]
    assert "2/5" in row


def test_status_as_json_has_the_same(run: Run) -> None:
    content = document(run("status", "-o", "json"))
    assert [node["name"] for node in content["nodes"]["items"]] == ["alice", "bob"]
    assert [each["state"] for each in content["runs"]["items"]] == ["queued", "completed"]
    assert content["runs"]["items"][1]["owner"] == {"node": "alice", "epoch": 1}
    assert content["waiting"] == {"gpu": 1}
    assert [each["code"] for each in content["warnings"]] == ["no_node_for_queue"]


@pytest.mark.parametrize("reference", [RUN, RUN[:5], "simple"])
def test_status_of_a_run_shows_its_tasks(run: Run, reference: str) -> None:
    result = run("status", reference)
    assert f"{RUN}  simple  completed" in result.stdout
    assert "put       completed  bob    1        task   0.500 s" in result.stdout


def test_status_of_a_run_as_json(run: Run) -> None:
    content = document(run("status", RUN, "-o", "json"))
    [dag] = content["dags"]
    assert (dag["kind"], dag["name"], dag["owner"], dag["state"]) == ("dag", "main_dag:1", "alice", "completed")
    task = dag["tasks"][0]
    assert (task["kind"], task["id"], task["node"], task["duration_s"]) == ("task", f"{DAG}/put", "bob", 0.5)
    assert (task["reason"], task["started_at"]) == (None, "1970-01-01T00:01:43.000Z")


def test_nodes_are_listed(run: Run, mesh: FakeMesh) -> None:
    mesh.bob.is_silent = True
    mesh.alice.store_error = "disk full"
    result = run("nodes")
    assert "bob    silent  task          -/2" in result.stdout
    assert "! alice: disk full" in result.stderr
    items = document(run("nodes", "-o", "json"))["items"]
    assert [(node["name"], node["state"], node["done_count"]) for node in items] == [
        ("alice", "alive", 7),
        ("bob", "silent", None),
    ]


def test_logs_are_those_of_the_newest_run_unless_another_is_named(run: Run) -> None:
    assert run("logs").stdout == ""
    assert run("logs", "simple").stdout == "main_dag:1/print | The value is: 5\n"
    assert run("logs", "simple", "-t", "print").stdout == "The value is: 5\n"
    assert run("logs", "simple", "-t", "put").stdout == ""


def test_logs_as_json(run: Run) -> None:
    [line] = document(run("logs", RUN, "-o", "json"))["items"]
    assert (line["kind"], line["task"], line["text"], line["stream"]) == ("line", "print", "The value is: 5", "stdout")
    assert line["at"] == "1970-01-01T00:01:44.000Z"


def test_that_nothing_was_printed_is_said_to_the_person_and_not_to_the_program_that_reads(run: Run) -> None:
    result = run("logs", "bash")
    assert (result.stdout, result.stderr) == ("", f"nothing was printed so far by run {OPEN.run} of 'bash'\n")
    assert run("logs", "simple", "-t", "put").stderr == f"nothing was printed by task 'put' in run {RUN} of 'simple'\n"
    assert run("logs", "simple", "-t", "put", "--attempt", "3").stderr.startswith(
        "nothing was printed by attempt 3 of task 'put' in run"
    )
    assert run("logs", "simple").stderr == ""
    assert run("logs", "bash", "-o", "json").stderr == ""


def test_logs_of_a_run_that_failed_without_a_word_say_why_it_did(run: Run, mesh: FakeMesh) -> None:
    reason = "task 'a' failed: ValueError: no\nTraceback:\n  ..."
    mesh.store.perform([UpdateRun(OPEN.run, 1, State.FAILED, reason=reason, ended_at=201.0)])
    assert run("logs", "bash").stderr == (
        f"nothing was printed by run {OPEN.run} of 'bash', which failed: task 'a' failed: ValueError: no\n"
        f"  more: meshflow status {OPEN.run}\n"
    )


def test_logs_can_be_followed_to_the_end(run: Run, mesh: FakeMesh) -> None:
    mesh.store.perform([printed("put", "first\n", attempt=2)])
    result = run("logs", RUN, "-f", "-o", "json")
    assert result.exit_code == 0
    assert {json.loads(line)["text"] for line in result.stdout.splitlines()} == {"first", "The value is: 5"}


def test_logs_of_a_run_that_is_not_there(run: Run) -> None:
    result = run("logs", "zzz")
    assert result.exit_code == 4
    assert "no run starts with 'zzz'" in result.stderr


def test_events_of_a_run_are_in_order(run: Run) -> None:
    lines = run("events", RUN).stdout.splitlines()
    assert "queued     workflow  simple" in lines[0]
    assert "succeeded  workflow  simple on alice in 5.000 s" in lines[-1]
    assert len(run("events", RUN, "-t", "task").stdout.splitlines()) == 6


def test_events_as_json(run: Run) -> None:
    items = document(run("events", RUN, "-o", "json", "-t", "dag"))["items"]
    assert [each["event"] for each in items] == ["queued", "started", "succeeded"]
    assert items[1]["node"] == "alice"
    followed = run("events", RUN, "-f", "-o", "json").stdout.splitlines()
    assert json.loads(followed[-1])["name"] == "simple"


def test_events_of_all_runs_go_on_from_now(run: Run, mesh: FakeMesh) -> None:
    later = replace(RECORD, run=RunId("3" * 24), created_at=300.0)

    def begin() -> None:
        mesh.store.perform([creation(later)])
        mesh.clock.sleep(2.0)

    def interrupt() -> None:
        raise KeyboardInterrupt

    mesh.story.extend([begin, interrupt])
    result = run("events", "-o", "json")
    assert [json.loads(line)["run"] for line in result.stdout.splitlines()] == [later.run]
    assert result.exit_code == 130


def test_workflows_are_listed_with_their_first_line(run: Run) -> None:
    Path("mine.py").write_text('"""My own.\n\nMore."""\nfrom meshflow.models import Dag\nd = Dag("d", schema={})\n')
    Path("broken.py").write_text("from meshflow.models import Dag\noops\n")
    result = run("workflows")
    assert "mine          My own.\n" in result.stdout
    assert "broken.py, line 2: NameError" in result.stderr
    content = document(run("workflows", "-o", "json"))
    assert len(content["warnings"]) == 1
    mine = next(each for each in content["items"] if each["name"] == "mine")
    assert (mine["kind"], mine["dags"], mine["parameters"]) == ("workflow", ["d"], [])


def test_a_workflow_is_shown_with_its_parameters(run: Run) -> None:
    result = run("workflows", "parameters")
    assert "filepath  str, required" in result.stdout
    content = document(run("workflows", "parameters", "-o", "json"))
    assert content["parameters"][0]["required"] is True
    assert run("workflows", "nope").exit_code == 4


def test_values_that_json_does_not_know_are_told_by_their_size(run: Run, mesh: FakeMesh) -> None:
    from meshflow.core.requests import CreateRun, Pickled

    odd = RunRecord(RunId("2" * 24), "odd", "odd", "q", created_at=300.0, arguments={"a": Pickled(b"xyz"), "b": b"12"})
    mesh.store.perform([CreateRun(odd, {})])
    arguments = document(run("status", "-o", "json"))["runs"]["items"][0]["arguments"]
    assert arguments == {"a": "<pickled, 3 bytes>", "b": "<2 bytes>"}
