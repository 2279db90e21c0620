"""`run` and `demo`: real nodes that leave nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from meshflow.config import Config
from meshflow.private_mesh import NodeDidNotStart, NodePlan, PrivateMesh

pytestmark = pytest.mark.system

FAILING = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def fail(data, store, signal, context):
    raise ValueError("boom")

d = Dag("d", queue="special")
d.define({PythonTask(name="t", callback=fail, queue="gpu"): None})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and another for all that is temporary."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return temporary


def meshflow(*arguments: str) -> "subprocess.CompletedProcess[str]":
    package = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "meshflow", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(package)},
    )


def test_run_shows_a_workflow_and_leaves_nothing_behind(folder: Path) -> None:
    result = meshflow("run", "simple")
    assert result.returncode == 0, result.stderr
    assert "print_task | The value is: 5\n" in result.stdout
    assert "simple completed" in result.stderr
    assert list(folder.iterdir()) == []


def test_run_serves_every_queue_and_its_exit_code_follows_the_run(folder: Path) -> None:
    Path("failing.py").write_text(FAILING)
    result = meshflow("run", "failing.py", "-q", "main")
    assert result.returncode == 3, result.stderr
    assert "boom" in result.stderr
    assert list(folder.iterdir()) == []


def test_a_workflow_named_like_a_module_of_python_does_not_hurt(folder: Path) -> None:
    Path("queue.py").write_text(FAILING.replace('raise ValueError("boom")', 'print("fine")'))
    result = meshflow("run", "queue.py")
    assert result.returncode == 0, result.stderr
    assert "t | fine\n" in result.stdout


def test_the_demo_runs_simple_on_three_nodes(folder: Path) -> None:
    result = meshflow("demo")
    assert result.returncode == 0, result.stderr
    assert "print_task | The value is: 5\n" in result.stdout
    assert "alice" in result.stdout
    assert "simple completed" in result.stdout
    assert list(folder.iterdir()) == []


def test_a_node_that_does_not_start_is_told_with_its_last_words(folder: Path) -> None:
    mesh = PrivateMesh(Config(), [NodePlan("a", ())])
    with pytest.raises(NodeDidNotStart, match=r"(?s)node 'a' ended at once.*names no queue"), mesh:
        pass
    assert list(folder.iterdir()) == []
