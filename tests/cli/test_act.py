"""`stop`, `cancel`, and Lightflow's spellings."""

from dataclasses import replace

import pytest

from meshflow.core.records import RunRecord, State, Stop
from meshflow.core.requests import LoadRun, UpdateRun
from meshflow.ids import RunId
from tests.cli.conftest import Run, document
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import RECORD, RUN, creation, whole_run

OTHER = replace(RECORD, run=RunId("1" * 24), created_at=50.0)


def asked(mesh: FakeMesh, run: RunId = RUN) -> Stop:
    record = mesh.store.perform([LoadRun(run)])[0]
    assert isinstance(record, RunRecord)
    return record.stop


@pytest.fixture(autouse=True)
def _stored(mesh: FakeMesh) -> None:
    mesh.store.perform([creation(), creation(OTHER)])


def test_stop_ends_the_run_that_is_named(run: Run, mesh: FakeMesh) -> None:
    result = run("stop", RUN[:4], "--reason", "enough")
    assert result.stdout == f"{RUN}  simple  is asked to end\n"
    assert (asked(mesh), asked(mesh, OTHER.run)) == (Stop.STOP, Stop.NONE)


def test_a_workflows_name_means_all_its_open_runs(run: Run, mesh: FakeMesh) -> None:
    content = document(run("cancel", "simple", "-o", "json"))
    assert [(each["target"], each["accepted"]) for each in content["items"]] == [("run", True), ("run", True)]
    assert (asked(mesh), asked(mesh, OTHER.run)) == (Stop.CANCEL, Stop.CANCEL)


def test_a_run_that_has_ended_is_told_so(run: Run, mesh: FakeMesh) -> None:
    mesh.store.perform([UpdateRun(RUN, 1, State.COMPLETED)])
    assert run("stop", RUN).stdout == f"{RUN}  simple  has ended already\n"


def test_stop_drains_a_node_and_cancel_does_not(run: Run, mesh: FakeMesh) -> None:
    assert "bob  finishes what it has and leaves" in run("stop", "bob").stdout
    assert mesh.bob.member.is_draining
    assert run("cancel", "alice").exit_code == 4
    assert not mesh.alice.member.is_draining


def test_what_is_neither_run_nor_node_is_not_found(run: Run) -> None:
    result = run("stop", "alcie")
    assert result.exit_code == 4
    assert "did you mean 'alice'?" in result.stderr


def test_stop_needs_to_be_told_what(run: Run) -> None:
    assert run("stop").exit_code == 2


# --- Lightflow's spellings ---


def test_workflow_start_is_submit(run: Run, mesh: FakeMesh) -> None:
    result = run("workflow", "start", "simple", "-q", "main", "-k")
    assert result.exit_code == 0
    assert len(result.stdout.strip()) == 24
    assert run("workflow", "start", "nope").exit_code == 4


def test_workflow_list_is_workflows(run: Run) -> None:
    assert run("workflow", "list").stdout == run("workflows").stdout


def test_workflow_stop_without_names_stops_all(run: Run, mesh: FakeMesh) -> None:
    assert run("workflow", "stop").stdout.count("is asked to end") == 2
    assert (asked(mesh), asked(mesh, OTHER.run)) == (Stop.STOP, Stop.STOP)


def test_workflow_status_shows_open_runs_in_lightflows_columns(run: Run, mesh: FakeMesh) -> None:
    mesh.store.perform([UpdateRun(OTHER.run, 1, State.COMPLETED)])
    lines = run("workflow", "status", "-d").stdout.splitlines()
    assert lines[0].split() == ["Status", "Name", "Start", "Time", "ID", "Job", "Arguments"]
    assert lines[1] == "-" * 138
    assert lines[2].split()[:2] == ["queued", "simple"]
    assert lines[2].count(RUN) == 2
    assert len(lines) == 3


def test_worker_status_shows_workers(run: Run, mesh: FakeMesh) -> None:
    mesh.alice.owned = (RUN,)
    text = run("worker", "status", "-d").stdout
    assert "Worker: alice\n> pid: 4001\n> queues: workflow, dag\n> concurrency: 2" in text
    assert "> broker: tcp://192.0.2.1:1/default" in text
    assert f"> jobs: [1]\n  simple (workflow) [{RUN}] {RUN} on 4001" in text
    assert "> jobs: [No tasks]" in text
    assert "alice" not in run("worker", "status", "-f", "task").stdout
    assert run("worker", "status", "-f", "gpu").stdout == "No workers are running at the moment.\n"


def test_worker_stop_drains(run: Run, mesh: FakeMesh) -> None:
    assert run("worker", "stop", "bob").exit_code == 0
    assert (mesh.alice.member.is_draining, mesh.bob.member.is_draining) == (False, True)
    assert run("worker", "stop").exit_code == 0
    assert mesh.alice.member.is_draining


def test_worker_start_is_node_and_ignores_celery(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from meshflow.runtime.serve import NodeOptions

    served: list[NodeOptions] = []

    def serve(options: NodeOptions) -> int:
        served.append(options)
        return 0

    monkeypatch.setattr("meshflow.runtime.serve.serve", serve)
    monkeypatch.setattr("meshflow.logger.install", lambda *_: None)
    result = run("worker", "start", "-q", "a,b", "-n", "mine", "-c", "3", "--autoscale=1")
    assert result.exit_code == 0, result.output
    assert (served[0].queues, served[0].name, served[0].slots) == (("a", "b"), "mine", 3)
    assert "--autoscale=1 has no effect" in result.stderr


def test_monitor_shows_what_happens(run: Run, mesh: FakeMesh) -> None:
    def begin() -> None:
        mesh.store.perform(whole_run()[1:])

    def interrupt() -> None:
        raise KeyboardInterrupt

    mesh.story.extend([begin, lambda: mesh.clock.sleep(2.0), interrupt])
    result = run("monitor", "-d")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["Status", "Type", "Name", "Duration", "(sec)", "Queue", "Workflow", "ID", "Worker"]
    assert lines[1] == "-" * 136
    assert any(line.split()[:3] == ["succeeded", "task", "put"] and "0.500" in line for line in lines)
    assert result.exit_code == 130
