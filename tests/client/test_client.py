"""Submitting, watching and ending runs through the Python interface."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from meshflow import task, workflow
from meshflow.client import Client
from meshflow.config import Config
from meshflow.core.client_messages import Watch, Watched
from meshflow.core.messages import RunOpen
from meshflow.core.records import Batch, RunRecord, State, Stop
from meshflow.core.requests import (
    Append,
    GetBlob,
    GetField,
    LoadRun,
    ReadOutput,
    Refused,
    RemoveRun,
    Request,
    UpdateRun,
)
from meshflow.errors import UsageError, WorkflowArgumentError, WorkflowNotFound
from meshflow.ids import RunId
from meshflow.models.submission import pack
from meshflow.models.workflow import Workflow
from meshflow.references import NotFound, WaitTimeout
from meshflow.store.memory import MemoryStore
from meshflow.store.remote import TooLargeForMesh
from meshflow.submitting import creation, find_workflows, queues_of
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import RECORD, RUN, dag_log, printed, whole_run, workflow_log
from tests.client.run_stories import creation as stored

SCRIPT = '''"""A test workflow."""
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("count", default=1, type=int)])
first = PythonTask(name="first", queue="special")
dag = Dag("main", schema={first: None})
'''


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "counting.py"
    path.write_text(SCRIPT)
    return path


class RefusingStore:
    """Says no to everything."""

    def perform(self, requests: Sequence[Request]) -> list[object]:
        return [Refused("a key is too long") for _ in requests]

    def close(self) -> None:
        pass


def ask(mesh: FakeMesh, request: Request) -> object:
    return mesh.store.perform([request])[0]


# --- submitting ---


def test_a_submitted_run_is_stored_whole_before_submit_returns(mesh: FakeMesh, client: Client, script: Path) -> None:
    run = client.submit(script, {"count": "3"}, queue="main", keep_data=True)
    record = ask(mesh, LoadRun(run.id))
    assert isinstance(record, RunRecord)
    assert (record.name, record.queue, record.state, record.arguments) == (
        "counting",
        "main",
        State.QUEUED,
        {"count": 3},
    )
    assert ask(mesh, GetField(run.id, "data", "count")) == (True, 3)
    assert ask(mesh, GetField(run.id, "meta", "name")) == (True, "counting")
    assert isinstance(ask(mesh, GetBlob(run.id, "workflow")), bytes)
    assert isinstance(ask(mesh, GetBlob(run.id, "dag/main")), bytes)
    assert len(run.id) == 24


def test_a_node_is_told_of_a_new_run(mesh: FakeMesh, client: Client, script: Path) -> None:
    run = client.submit(script)
    assert mesh.alice.heard[-1] == RunOpen(run.id)


def test_what_is_wrong_with_a_workflow_is_found_before_anything_is_stored(
    mesh: FakeMesh, client: Client, script: Path
) -> None:
    with pytest.raises(WorkflowNotFound, match="did you mean 'simple'"):
        client.submit("simpel")
    with pytest.raises(WorkflowArgumentError, match="'count'"):
        client.submit(script, {"count": "many"})
    assert client.runs() == []


def test_a_loaded_workflow_can_be_submitted(client: Client, script: Path) -> None:
    workflow = Workflow(queue="own")
    workflow.load(str(script))
    assert client.submit(workflow, {"count": 2}).record.queue == "own"


def test_a_decorated_workflow_can_be_submitted(mesh: FakeMesh, client: Client) -> None:
    @workflow
    def counting(count: int) -> None:
        for number in range(count):
            task(abs_of)(number)

    record = client.submit(counting, {"count": "2"}, queue="own", keep_data=True).record
    assert (record.name, record.queue, record.arguments) == ("counting", "own", {"count": 2})
    with pytest.raises(WorkflowArgumentError, match="'count'"):
        client.submit(counting)


def abs_of(number: int) -> int:
    return abs(number)


def test_large_payloads_go_ahead_of_the_run_one_by_one(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = Workflow()
    workflow.load(str(script))
    submission = pack(workflow)
    monkeypatch.setattr("meshflow.submitting._MAX_TOGETHER_BYTES", 10)
    _, requests = creation(submission, RUN, 1.0)
    assert [type(request).__name__ for request in requests] == ["PutBlob", "CreateRun"]


def test_every_queue_of_a_workflow_is_known(script: Path) -> None:
    workflow = Workflow(queue="main")
    workflow.load(str(script))
    assert queues_of(pack(workflow)) == ("main", "dag", "special")


def test_the_examples_can_be_submitted_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, problems = find_workflows(Config())
    assert "simple" in [workflow.name for workflow, _ in found]
    assert problems == []


def test_listing_workflows_runs_no_script_that_mentions_no_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manage.py").write_text("raise SystemExit('must not run')")
    (tmp_path / "other.py").write_text("@workflow\ndef of_another_library(): pass")
    (tmp_path / "decorated_too.py").write_text("from meshflow import workflow\n@workflow\ndef nothing(): pass")
    (tmp_path / "broken.py").write_text("from meshflow.models import Dag\noops")
    found, problems = find_workflows(Config())
    assert [workflow.name for workflow, path in found if path.parent == tmp_path] == ["counting", "decorated_too"]
    assert [str(problem).count("broken.py, line 2") for problem in problems] == [1]


# --- finding runs ---


def test_runs_are_listed_newest_first_and_found_by_reference(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored()])
    assert [record.run for record in client.runs()] == [RUN]
    assert client.run("@last").id == client.run(RUN[:4]).id == client.run("simple").id == client.run(RUN).id == RUN
    with pytest.raises(NotFound):
        client.run("0" * 24)


# --- watching ---


def told_live(mesh: FakeMesh, *, is_pushed: bool) -> None:
    """Have the run happen while the client waits, with or without pushes."""
    begin, end = workflow_log()

    def happen(batch: Batch) -> Callable[[], None]:
        def step() -> None:
            mesh.store.perform([Append(batch)])
            if is_pushed:
                mesh.push(Watched(batch))

        return step

    def print_() -> None:
        mesh.store.perform([printed("print", "The value is: 5\n")])
        if is_pushed:
            mesh.push(Watched(None, (printed("print", "The value is: 5\n"),)))

    mesh.story.extend([happen(begin), *map(happen, dag_log()), print_, happen(end)])


@pytest.mark.parametrize("is_pushed", [True, False])
def test_a_run_is_waited_for(mesh: FakeMesh, client: Client, is_pushed: bool) -> None:
    mesh.store.perform([stored()])
    told_live(mesh, is_pushed=is_pushed)
    run = client.run(RUN)
    assert run.wait() is State.COMPLETED
    assert (run.state, run.record.done, run.record.total) == (State.COMPLETED, 2, 2)


def test_who_waits_is_pushed_nothing_but_the_log_of_the_workflow_run(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored()])
    told_live(mesh, is_pushed=True)
    run = client.run(RUN)
    run.wait()
    assert [message for message in mesh.alice.heard if isinstance(message, Watch)] == [Watch(RUN, 30.0, False)]
    assert (run.record.started_at, run.record.ended_at) == (101.0, 106.0)


def test_who_waits_for_a_run_that_is_not_there_is_told(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored()])
    run = client.run(RUN)
    mesh.store.perform([UpdateRun(RUN, 9, State.COMPLETED), RemoveRun(RUN)])
    with pytest.raises(NotFound, match="removed"):
        run.wait()


def test_waiting_ends_with_the_time_given_and_the_run_goes_on(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored()])
    with pytest.raises(WaitTimeout, match="did not end within 3 s"):
        client.run(RUN).wait(3.0)


def test_a_run_that_has_ended_needs_no_time_to_be_waited_for(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform(whole_run())
    assert client.run(RUN).wait(0.0) is State.COMPLETED


def test_a_watch_is_asked_for_anew_at_the_next_node(mesh: FakeMesh, client: Client) -> None:
    from meshflow.runtime.transport.problems import ConnectionLost

    mesh.store.perform([stored()])

    def die() -> None:
        mesh.alice.problem = ConnectionLost(mesh.alice.member.address)

    mesh.story.append(die)
    told_live(mesh, is_pushed=True)
    assert client.run(RUN).wait() is State.COMPLETED
    assert any(isinstance(message, Watch) for message in mesh.bob.heard)


def test_a_mesh_that_comes_back_is_waited_for(mesh: FakeMesh, client: Client) -> None:
    """Every node dies, and one is started again."""
    mesh.store.perform([stored()])
    following = client.run(RUN).follow()
    mesh.alice.is_silent = mesh.bob.is_silent = True
    while not following.problem:
        following.step(0.5)
    assert "no mesh found" in following.problem or "any more" in following.problem
    mesh.bob.is_silent = False
    mesh.store.perform(whole_run()[1:])
    for _ in range(20):
        following.step(0.5)
    assert following.is_done
    assert following.problem == ""


def test_events_of_a_finished_run_are_told_in_order_of_time(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform(whole_run())
    events = list(client.run(RUN).events(follow=False))
    assert [event.word for event in events][:4] == ["queued", "started", "queued", "started"]
    assert events[-1].name == "simple"


def test_logs_can_be_of_one_task(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([*whole_run(), printed("put", "hello")])
    assert [line.text for line in client.run(RUN).logs()] == ["The value is: 5", "hello"]
    assert [line.text for line in client.run(RUN).logs(task="put")] == ["hello"]
    assert [line.text for line in client.run(RUN).logs(follow=True, task="print")] == ["The value is: 5"]


class SmallMessages(MemoryStore):
    """A store that is reached through messages in which only the output of one task fits."""

    def perform(self, requests: Sequence[Request]) -> list[object]:
        for request in requests:
            if isinstance(request, ReadOutput) and request.task is None:
                raise TooLargeForMesh(request, "too large")
        return super().perform(requests)


def test_output_that_is_too_large_for_a_message_is_read_task_by_task(mesh: FakeMesh, client: Client) -> None:
    mesh.store = SmallMessages()
    mesh.store.perform([*whole_run(), printed("put", "hello\n")])
    assert [line.text for line in client.run(RUN).logs()] == ["hello", "The value is: 5"]
    assert list(client.run(RUN).logs(follow=True)) == []
    assert client.run(RUN).wait() is State.COMPLETED


def test_the_state_is_known_when_following_ends_though_the_record_lags(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform(whole_run())
    run = client.run(RUN)
    assert client.load(RUN).state is State.QUEUED
    list(run.logs(follow=True))
    assert run.state is State.COMPLETED


def test_the_view_has_dags_tasks_and_nodes(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform(whole_run())
    view = client.run(RUN).view()
    assert [(task.name, task.state, task.node) for task in view.tasks] == [
        ("put", State.COMPLETED, "bob"),
        ("print", State.COMPLETED, "bob"),
    ]
    assert view.owner == "alice"


def test_all_runs_are_followed_from_now_on(mesh: FakeMesh, client: Client) -> None:
    """What happened before is not told; a run that begins later is, from its beginning."""
    old = RunId("0" * 24)
    mesh.store.perform([stored(RunRecord(old, "old", "old", "workflow", created_at=1.0))])
    events = client.events()

    def begin() -> None:
        mesh.store.perform(whole_run())

    mesh.story.append(begin)
    first = next(events)
    assert (first.word, first.name) == ("queued", "simple")


# --- ending ---


def test_stop_is_noted_in_the_store_and_hinted_to_a_node(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored()])
    assert client.run(RUN).stop("enough")
    record = client.load(RUN)
    assert (record.stop, record.stop_reason) == (Stop.STOP, "enough")
    assert RunOpen(RUN) in mesh.alice.heard
    assert client.run(RUN).cancel()
    assert client.load(RUN).stop is Stop.CANCEL


def test_a_run_that_has_ended_cannot_be_stopped(mesh: FakeMesh, client: Client) -> None:
    mesh.store.perform([stored(), UpdateRun(RUN, 1, State.COMPLETED)])
    assert not client.run(RUN).stop()


def test_a_node_is_drained_by_its_name(mesh: FakeMesh, client: Client) -> None:
    assert client.stop_node("bob")
    assert mesh.bob.member.is_draining


def test_a_refused_submission_says_why(mesh: FakeMesh, client: Client, script: Path) -> None:
    mesh.store = RefusingStore()
    with pytest.raises(UsageError, match="'counting' cannot be submitted: a key is too long"):
        client.submit(script)


def test_the_document_of_a_run_can_be_read(mesh: FakeMesh, client: Client, script: Path) -> None:
    assert client.submit(script, {"count": 4}).store.get("count") == 4
    assert RECORD.run == RUN
