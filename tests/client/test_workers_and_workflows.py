"""Lightflow's functions `meshflow.workers.*` and `meshflow.workflows.*`, and its event classes."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshflow import workers, workflows
from meshflow.client import Client
from meshflow.config import Config
from meshflow.core.attempts import Attempt
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import CreateRun, UpdateRun
from meshflow.errors import (
    EventTypeUnknown,
    JobEventTypeUnsupported,
    WorkerEventTypeUnsupported,
    WorkflowDefinitionError,
)
from meshflow.mesh import Mesh
from meshflow.queue import JobEventName, JobStatus, JobType
from meshflow.queue.event import create_event_model, event_stream
from meshflow.queue.models import JobStoppedEvent, JobSucceededEvent
from meshflow.references import NotFound
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import DAG, RECORD, RUN, whole_run
from tests.client.run_stories import creation as stored


@pytest.fixture
def config(mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration whose mesh is the fake one."""

    def open_fake(*_: object) -> Mesh:
        return mesh.connect()

    monkeypatch.setattr("meshflow.connect.open_mesh", open_fake)
    return Config()


def test_workers_are_listed_in_lightflows_form(config: Config) -> None:
    alice, bob = workers.list_workers(config)
    assert alice.to_dict() == {
        "name": "alice",
        "broker": {"hostname": "192.0.2.1", "port": 1, "transport": "tcp", "virtual_host": "default"},
        "pid": 4001,
        "process_pids": [11, 12],
        "concurrency": 2,
        "job_count": 7,
        "queues": [
            {"name": "workflow", "routing_key": "workflow"},
            {"name": "dag", "routing_key": "dag"},
        ],
    }
    assert bob.name == "bob"
    assert [worker.name for worker in workers.list_workers(config, filter_by_queues=["gpu", "task"])] == ["bob"]
    assert workers.list_workers(config, filter_by_queues="gpu") == []


def test_named_workers_are_drained(config: Config, mesh: FakeMesh) -> None:
    workers.stop_worker(config, worker_ids="bob")
    assert (mesh.alice.member.is_draining, mesh.bob.member.is_draining) == (False, True)
    with pytest.raises(NotFound):
        workers.stop_worker(config, worker_ids=["carol"])


def test_without_names_all_workers_are_drained(config: Config, mesh: FakeMesh) -> None:
    workers.stop_worker(config)
    assert mesh.alice.member.is_draining
    assert mesh.bob.member.is_draining


def test_a_node_is_what_the_configuration_says_unless_it_is_told_otherwise() -> None:
    config = Config()
    config.load_from_dict({"node": {"queues": ["gpu"], "slots": 3}, "mesh": {"preset": "wan"}})
    options = workers.node_options(config, queues=(), slots=None, name="mine")
    assert (options.queues, options.slots, options.name, options.preset) == (("gpu",), 3, "mine", "wan")
    assert workers.node_options(config, queues=("a",), slots=1).queues == ("a",)


def test_celery_arguments_are_ignored_with_a_warning(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[object] = []

    def serve(options: object) -> int:
        served.append(options)
        return 0

    monkeypatch.setattr("meshflow.runtime.serve.serve", serve)
    with pytest.warns(UserWarning, match="celery_args has no effect"):
        workers.start_worker(["task"], config, celery_args=["-c", "4"])
    assert len(served) == 1


def test_a_workflow_is_started_and_stopped_by_name_or_id(config: Config, mesh: FakeMesh, tmp_path: Path) -> None:
    first = workflows.start_workflow("simple", config, queue="main")
    second = workflows.start_workflow("bash", config)
    stopped, failed = workflows.stop_workflow(config, names="simple")
    assert [(job.id, job.name, job.type, job.queue) for job in stopped] == [(first, "simple", "workflow", "main")]
    assert failed == []
    stopped, _ = workflows.stop_workflow(config)
    assert {job.id for job in stopped} == {first, second}
    assert workflows.stop_workflow(config, names=["nobody"]) == ([], [])


def test_workflows_are_listed_by_name(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "simple" in [workflow.name for workflow in workflows.list_workflows(config)]
    (tmp_path / "ring.py").write_text(
        "from meshflow.models import Dag\nfrom meshflow.tasks import PythonTask\n"
        "a, b = PythonTask('a'), PythonTask('b')\nd = Dag('d')\nd.define({a: b, b: a})\n"
    )
    with pytest.raises(WorkflowDefinitionError, match="cycle"):
        workflows.list_workflows(config)


def test_running_jobs_are_listed_with_their_place(config: Config, mesh: FakeMesh) -> None:
    dag = RunRecord(DAG, "main_dag:1", "simple", "dag", parent=RUN, state=State.RUNNING)
    running = replace(RECORD, state=State.RUNNING, started_at=100.0, arguments={"x": 1})
    mesh.store.perform([stored(running), CreateRun(dag, {})])
    mesh.alice.owned = (RUN, DAG)
    mesh.bob.running = ((Attempt(DAG, 0, 1, 1), "put", 0.5),)
    jobs = workflows.list_jobs(config)
    assert [(job.type, job.name, job.worker_name) for job in jobs] == [
        ("workflow", "simple", "alice"),
        ("dag", "main_dag:1", "alice"),
        ("task", "put", "bob"),
    ]
    assert [job.queue for job in jobs] == ["workflow", "dag", "task"]
    assert jobs[0].start_time == datetime.fromtimestamp(100.0, UTC)
    assert (jobs[0].arguments, jobs[1].arguments) == ({"x": 1}, {})
    assert {job.workflow_id for job in jobs} == {RUN}
    assert [job.name for job in workflows.list_jobs(config, filter_by_type=[JobType.Task])] == ["put"]
    assert [job.name for job in workflows.list_jobs(config, filter_by_type=JobType.Dag)] == ["main_dag:1"]
    assert [job.name for job in workflows.list_jobs(config, filter_by_worker="bob")] == ["put"]
    assert workflows.list_jobs(config, status=JobStatus.Registered) == []


def test_runs_that_wait_to_be_claimed_are_reserved(config: Config, mesh: FakeMesh) -> None:
    mesh.store.perform([stored()])
    [job] = workflows.list_jobs(config, status=JobStatus.Reserved)
    assert (job.id, job.acknowledged, job.worker_name) == (RUN, False, "")
    mesh.store.perform([UpdateRun(RUN, 1, State.RUNNING)])
    assert workflows.list_jobs(config, status=JobStatus.Reserved) == []


def happen(mesh: FakeMesh) -> None:
    """A whole run, at once."""
    mesh.store.perform(whole_run())


def test_events_of_all_runs_come_from_now_on(config: Config, mesh: FakeMesh) -> None:
    mesh.story.append(lambda: happen(mesh))
    assert next(workflows.events(config)).event == JobEventName.Queued


def test_the_plain_stream_can_be_filtered(client: Client, mesh: FakeMesh) -> None:
    mesh.story.append(lambda: happen(mesh))
    event = next(event_stream(client, filter_by_prefix="task-lightflow-succ"))
    assert (event["type"], event["name"]) == ("task-lightflow-succeeded", "put")


def test_plain_events_become_their_classes() -> None:
    plain: dict[str, object] = {
        "type": "task-lightflow-succeeded",
        "uuid": "u",
        "job_type": "task",
        "queue": "q",
        "hostname": "h",
        "pid": 7,
        "name": "n",
        "workflow_id": "w",
        "time": "2019-01-07T12:00:00",
        "duration": 1.5,
    }
    event = create_event_model(plain)
    assert isinstance(event, JobSucceededEvent)
    assert event.event_time == datetime(2019, 1, 7, 12, tzinfo=UTC)
    assert create_event_model(event.to_event()) == event
    assert isinstance(create_event_model({**plain, "type": "task-lightflow-stopped"}), JobStoppedEvent)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("task-lightflow-flew", JobEventTypeUnsupported),
        ("worker-online", WorkerEventTypeUnsupported),
        ("moon", EventTypeUnknown),
    ],
)
def test_an_event_of_another_kind_is_refused(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=kind):
        create_event_model({"type": kind})
