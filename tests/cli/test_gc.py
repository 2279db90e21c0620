"""`gc`: which runs go, what is said, and how the store is reached."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from meshflow.cli.gc import _size
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import CreateRun, ListRuns, LoadRun, ReadOutput, WriteOutput
from meshflow.ids import RunId
from meshflow.store.base import Store
from meshflow.store.sqlite import SqliteStore
from tests.cli.conftest import Run, document
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import RECORD

DAY_S = 86400.0


def fill(store: Store) -> None:
    """Runs that ended 40, 20 and 1 days ago, and an old one that is open."""
    now = time.time()
    for number, days in enumerate((40, 20, 1, 50)):
        state = State.QUEUED if days == 50 else State.FAILED if days == 20 else State.COMPLETED
        at = now - days * DAY_S
        record = replace(
            RECORD,
            run=RunId(str(number) * 24),
            created_at=at,
            state=state,
            ended_at=at if state.is_final else None,
            workflow="plot" if days == 1 else "simple",
        )
        store.perform([CreateRun(record, {}, {}), WriteOutput(record.run, "t", 1, "stdout", 0, b"printed")])


def left(store: Store) -> str:
    """The first digits of the runs that are there, oldest first."""
    (found,) = store.perform([ListRuns()])
    assert isinstance(found, tuple)
    return "".join(reversed([record.run[0] for record in found if isinstance(record, RunRecord)]))


@pytest.fixture(autouse=True)
def _stored(mesh: FakeMesh) -> None:
    fill(mesh.store)


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["--older-than", "30d"], "312"),
        (["--older-than", "36h"], "32"),
        (["--older-than", "1w"], "32"),
        (["--keep", "1"], "312"),
        (["--keep", "0"], "3"),
        (["--keep", "0", "--older-than", "30d"], "312"),
        (["--keep", "5", "--older-than", "1s"], "3012"),
        (["--keep", "0", "--state", "failed,aborted"], "302"),
        (["--keep", "0", "--workflow", "plot"], "301"),
        (["--keep", "0", "--output-only"], "3012"),
        (["--keep", "0", "--dry-run"], "3012"),
        ([], "3012"),
    ],
    ids=" ".join,
)
def test_the_options_say_which_runs_go(run: Run, mesh: FakeMesh, arguments: list[str], kept: str) -> None:
    result = run("gc", *arguments)
    assert result.exit_code == 0
    assert left(mesh.store) == kept


def test_it_says_what_was_removed(run: Run) -> None:
    assert run("gc", "--older-than", "10d").stdout == "removed 2 runs: 2 rows, 14 bytes\n"
    assert run("gc", "--older-than", "10d").stdout == "removed 0 runs: 0 rows, 0 bytes\n"


def test_a_dry_run_lists_the_runs(run: Run) -> None:
    result = run("gc", "--older-than", "10d", "--dry-run")
    assert result.stdout == f"{'1' * 24}  simple  failed\n{'0' * 24}  simple  completed\n"
    assert result.stderr == "would remove 2 runs\n"


def test_as_json(run: Run) -> None:
    content = document(run("gc", "--keep", "0", "--older-than", "30d", "-o", "json"))
    assert content["kind"] == "cleaning"
    assert (content["run_count"], content["row_count"], content["size_bytes"]) == (1, 1, 7)
    assert (content["is_dry_run"], content["is_output_only"]) == (False, False)
    assert [each["id"] for each in content["runs"]["items"]] == ["0" * 24]


def test_the_output_alone_can_go(run: Run, mesh: FakeMesh) -> None:
    result = run("gc", "--older-than", "30d", "--output-only")
    assert result.stdout == "removed what the tasks printed of 1 run: 1 rows, 7 bytes\n"
    assert mesh.store.perform([ReadOutput(RunId("0" * 24))]) == [()]
    assert mesh.store.perform([LoadRun(RunId("0" * 24))]) != [None]


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(1023, "1023 bytes"), (1024, "1.0 KiB"), (5 * 1024**2, "5.0 MiB"), (3000 * 1024**3, "3000.0 GiB")],
)
def test_sizes_are_told_in_units(size_bytes: int, text: str) -> None:
    assert _size(size_bytes) == text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--older-than", "30"], "no length of time"),
        (["--older-than", "soon"], "30d, 12h"),
        (["--keep", "-1"], "--keep"),
        (["--keep", "1", "--state", "completed,runing"], "no run ends as 'runing'"),
        (["--keep", "1", "--state", "running"], "no run ends as 'running'"),
        (["--workflow", "simple"], "say which runs"),
        (["--dry-run"], "say which runs"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_removes_nothing(run: Run, mesh: FakeMesh, arguments: list[str], complaint: str) -> None:
    result = run("gc", *arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert left(mesh.store) == "3012"


# --- without nodes ---


def test_without_nodes_the_store_is_opened(run: Run, mesh: FakeMesh, tmp_path: Path) -> None:
    for node in mesh.nodes.values():
        node.is_silent = True
    path = tmp_path / "runs.sqlite"
    store = SqliteStore(path)
    fill(store)
    result = run("gc", "--older-than", "30d", env={"MESHFLOW_STORE__URL": str(path)})
    assert result.stdout == "removed 1 run: 1 rows, 7 bytes\n"
    assert left(store) == "312"
    store.close()


def test_without_nodes_a_store_is_not_made(run: Run, mesh: FakeMesh, tmp_path: Path) -> None:
    for node in mesh.nodes.values():
        node.is_silent = True
    state = tmp_path / "state"
    result = run("gc", "--keep", "0", env={"MESHFLOW_STATE_DIR": str(state)})
    assert result.exit_code == 5
    assert not state.exists()


def test_who_asks_for_a_certain_node_gets_no_other_store(run: Run, mesh: FakeMesh, tmp_path: Path) -> None:
    for node in mesh.nodes.values():
        node.is_silent = True
    path = tmp_path / "runs.sqlite"
    store = SqliteStore(path)
    fill(store)
    variables = {"MESHFLOW_STORE__URL": str(path)}
    assert run("gc", "--keep", "0", "--connect", "192.0.2.1:1", env=variables).exit_code == 5
    assert left(store) == "3012"
    store.close()
