"""Retries from Python and from the command line, on a fake mesh."""

import json
from collections.abc import Sequence

import pytest

from meshflow.client import Client
from meshflow.core.messages import RunOpen
from meshflow.core.records import Claimed, RunEnded, RunRecord, State, TaskEnded
from meshflow.core.requests import Answer, Append, ListRuns, Request, UpdateRun
from meshflow.errors import MeshflowError, NotRetryable
from meshflow.references import NotFound
from meshflow.store.memory import MemoryStore
from tests.cli.conftest import Run, document
from tests.cli.conftest import run as run
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import DAG, OWNER, RUN, batch, creation, workflow_log

FAILED = State.FAILED


def failed_run() -> list[Request]:
    """The requests that leave a run in a store whose second task failed."""
    ends = (TaskEnded(0, 1, State.COMPLETED, node="bob"), TaskEnded(1, 1, FAILED, reason="boom", node="bob"))
    log = batch(DAG, 0, Claimed(OWNER, 1), *ends, RunEnded(FAILED, "boom"))
    batches = [*workflow_log(FAILED, "boom"), log]
    return [creation(), *map(Append, batches), UpdateRun(RUN, 1, FAILED, "boom", ended_at=106.0)]


@pytest.fixture(autouse=True)
def _stored(mesh: FakeMesh) -> None:
    mesh.store.perform(failed_run())


def retries(mesh: FakeMesh) -> list[RunRecord]:
    """The runs that are retries."""
    (records,) = mesh.store.perform([ListRuns(workflows_only=True)])
    assert isinstance(records, tuple)
    return [record for record in records if record.retry_of is not None]


@pytest.mark.parametrize("by", ["id", "beginning", "name", "handle", "itself"])
def test_a_run_is_retried_however_it_is_named(mesh: FakeMesh, client: Client, by: str) -> None:
    given = {"id": RUN, "beginning": RUN[:6], "name": "simple"}.get(by)
    handle = client.run(RUN)
    retry = client.retry(given or handle) if by != "itself" else handle.retry()
    assert [record.run for record in retries(mesh)] == [retry.id]
    assert (retry.record.retry_of, retry.record.reused, retry.state) == (RUN, 1, State.QUEUED)
    assert RunOpen(retry.id) in mesh.alice.heard
    assert [task.is_reused for task in retry.view().tasks] == [True, False]


def test_a_run_that_is_not_there_cannot_be_retried(client: Client) -> None:
    with pytest.raises(NotFound):
        client.retry("0" * 24)


class SilencingStore(MemoryStore):
    """Performs everything, and has the answer to the request of that number lost, by these nodes."""

    def __init__(self, mesh: FakeMesh, number: int, *silenced: str) -> None:
        super().__init__()
        self._mesh = mesh
        self._number = number
        self._silenced = list(silenced)

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform, and perhaps have the answer lost."""
        answers = super().perform(requests)
        self._number -= 1
        if self._number <= 0 and self._silenced:
            getattr(self._mesh, self._silenced.pop(0)).store_error = "the reply was lost"
            return []
        return answers


@pytest.mark.parametrize("number", range(1, 18))
def test_a_reply_that_is_lost_changes_nothing(mesh: FakeMesh, client: Client, number: int) -> None:
    mesh.store = SilencingStore(mesh, number + 1, "alice")
    mesh.store.perform(failed_run())
    retry = client.retry(RUN)
    assert [record.run for record in retries(mesh)] == [retry.id]
    assert [task.state for task in retry.view().tasks] == [State.COMPLETED, State.WAITING]


def test_a_retry_that_no_node_answers_says_which_run_it_may_have_made(mesh: FakeMesh, client: Client) -> None:
    mesh.store = SilencingStore(mesh, 5, "alice", "bob")
    mesh.store.perform(failed_run())
    with pytest.raises(MeshflowError, match=r"accepted is not known.*meshflow status [0-9a-f]{24}"):
        client.retry(RUN)


def test_the_command_prints_the_id_and_says_what_is_reused(mesh: FakeMesh, run: Run) -> None:
    result = run("retry", RUN)
    (record,) = retries(mesh)
    assert result.stdout == f"{record.run}\n"
    assert f"retries {RUN}; tasks reused: 1" in result.stderr
    assert f"a retry of {RUN}; tasks reused: 1 of 2" in run("status", record.run).stdout
    assert f"a retry of {RUN}" in run("status").stdout


def test_the_command_tells_all_as_json(mesh: FakeMesh, run: Run) -> None:
    told = document(run("retry", "@last", "-o", "json"))
    assert (told["kind"], told["retry_of"], told["counts"]["reused"]) == ("run", RUN, 1)
    detail = json.loads(run("status", told["id"], "-o", "json").stdout)
    assert (detail["retry_of"], detail["counts"]) == (RUN, {"total": 2, "done": 1, "reused": 1})


def test_what_cannot_be_retried_is_an_error_of_use(mesh: FakeMesh, client: Client, run: Run) -> None:
    retry = client.retry(RUN)
    with pytest.raises(NotRetryable):
        retry.retry()
    result = run("retry", retry.id)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"run {retry.id} (simple) cannot be retried: it is queued" in result.stderr
