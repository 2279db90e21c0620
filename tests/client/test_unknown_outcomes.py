"""Writes of clients whose reply is lost: asked again of the next node, and done once; if no node answers, it is said
that the outcome is not known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from meshflow.client import Client
from meshflow.core.records import Stop
from meshflow.core.requests import Answer, ListRuns, Request
from meshflow.errors import MeshflowError
from meshflow.run_handle import RunHandle
from meshflow.store.memory import MemoryStore
from tests.client.fake_mesh import FakeMesh

SCRIPT = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

dag = Dag("main", schema={PythonTask(name="only"): None})
"""


class SilencingStore(MemoryStore):
    """Performs everything, and then silences nodes, so that their answer does not come: the next one in `silenced`."""

    def __init__(self, mesh: FakeMesh, silenced: list[str]) -> None:
        super().__init__()
        self._mesh = mesh
        self.silenced = silenced

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform, and perhaps have the answer lost."""
        answers = super().perform(requests)
        if self.silenced:
            node = getattr(self._mesh, self.silenced.pop(0))
            node.store_error = "the reply was lost"
            return []
        return answers


@pytest.fixture
def run(mesh: FakeMesh, client: Client, tmp_path: Path) -> RunHandle:
    """A run in a store that can lose replies."""
    mesh.store = SilencingStore(mesh, [])
    path = tmp_path / "simple.py"
    path.write_text(SCRIPT)
    return client.submit(path)


def push(run: RunHandle) -> object:
    """Push to the document."""
    return run.store.push("list", 1)


def set_(run: RunHandle) -> object:
    """Set in the document."""
    return run.store.set("value", 1)


def stop(run: RunHandle) -> object:
    """Ask the run to stop."""
    return run.stop("enough")


@pytest.mark.parametrize("write", [push, set_, stop])
def test_the_next_node_is_asked_and_nothing_is_doubled(
    mesh: FakeMesh, run: RunHandle, write: Callable[[RunHandle], object]
) -> None:
    assert isinstance(mesh.store, SilencingStore)
    mesh.store.silenced = ["alice"]
    assert write(run) is True
    assert mesh.store.silenced == []
    assert run.store.get("list", []) == [1] * (write is push)
    assert run.store.get("value", 0) == int(write is set_)
    (records,) = mesh.store.perform([ListRuns()])
    assert isinstance(records, tuple)
    assert records[0].stop is (Stop.STOP if write is stop else Stop.NONE)


def test_a_submission_is_accepted_once_though_the_first_node_does_not_say_so(
    mesh: FakeMesh, client: Client, tmp_path: Path
) -> None:
    mesh.store = SilencingStore(mesh, ["alice"])
    path = tmp_path / "simple.py"
    path.write_text(SCRIPT)
    run = client.submit(path)
    (records,) = mesh.store.perform([ListRuns()])
    assert isinstance(records, tuple)
    assert [record.run for record in records] == [run.id]


def test_a_submission_that_no_node_answers_says_that_it_may_have_been_accepted(
    mesh: FakeMesh, client: Client, tmp_path: Path
) -> None:
    mesh.store = SilencingStore(mesh, ["alice", "bob"])
    path = tmp_path / "simple.py"
    path.write_text(SCRIPT)
    with pytest.raises(MeshflowError, match="accepted is not known") as raised:
        client.submit(path)
    (records,) = mesh.store.perform([ListRuns()])
    assert isinstance(records, tuple)
    assert f"meshflow status {records[0].run}" in str(raised.value)
