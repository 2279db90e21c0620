"""Old runs leave a mesh of real nodes: by hand while it works, by hand without it, by themselves; and under kill -9."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from meshflow.core.records import State
from meshflow.references import NotFound
from meshflow.run_handle import RunHandle
from meshflow.run_view import RunView
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, eventually, finish, printed

pytestmark = pytest.mark.system

MEGABYTE = 1024 * 1024

LARGE = f"""
import time
from pathlib import Path
import os
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

parameters = Parameters([Option("gate", default="", type=str)])

def work(data, store, signal, context):
    print("working")
    data["large"] = os.urandom(2 * {MEGABYTE})
    store.set("kept", os.urandom({MEGABYTE}))

def wait(data, store, signal, context):
    gate = store.get("gate")
    while gate and not (Path(os.environ["MESHFLOW_TEST_FOLDER"]) / gate).exists():
        time.sleep(0.01)
    print(len(data["large"]))

first, second = PythonTask(name="first", callback=work), PythonTask(name="second", callback=wait)
d = Dag("main_dag")
d.define({{first: second}})
"""


def large_run(mesh: RealMesh, gate: str = "") -> RunHandle:
    """Submits a run that leaves some 3 MB."""
    return mesh.submit(mesh.write("large.py", LARGE), {"gate": gate}, keep_data=True)


def size_of(mesh: RealMesh) -> int:
    """Bytes of the embedded store."""
    (path,) = (mesh.folder / "state").rglob("store.sqlite")
    return path.stat().st_size


def shown(mesh: RealMesh) -> list[str]:
    """The runs of the mesh."""
    return [record.run for record in mesh.client().runs()]


def test_runs_that_ended_go_from_a_mesh_that_works_and_the_open_one_ends_as_it_should(mesh: RealMesh) -> None:
    mesh.start("a")
    mesh.await_ready()
    is_open = large_run(mesh, gate="gate")
    ended = [large_run(mesh) for _ in range(4)]
    assert [finish(run) for run in ended] == [State.COMPLETED] * 4
    before = size_of(mesh)
    follower = ended[0].follow()
    result = mesh.cli("gc", "--keep", "1", "-o", "json")
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["run_count"] == 3
    assert content["size_bytes"] > 3 * 3 * MEGABYTE
    assert shown(mesh) == [ended[3].id, is_open.id]
    assert isinstance(follower.view, RunView)
    with pytest.raises(NotFound):
        list(mesh.client().run(ended[0].id).logs())
    mesh.write("gate", "")
    assert finish(is_open) is State.COMPLETED
    assert printed(is_open, "second") == [str(2 * MEGABYTE)]
    mesh.stop("a")
    result = mesh.cli("gc", "--older-than", "0s")
    assert result.stdout.startswith("removed 2 runs: "), result.stderr
    assert size_of(mesh) < before - 8 * MEGABYTE


def test_a_cleaner_that_is_killed_leaves_nothing_that_the_next_one_does_not_remove(mesh: RealMesh) -> None:
    mesh.start("a")
    mesh.await_ready()
    runs = [large_run(mesh) for _ in range(8)]
    assert [finish(run) for run in runs] == [State.COMPLETED] * 8
    full = size_of(mesh)
    cleaner = subprocess.Popen(
        [*mesh.command, "gc", "--older-than", "0s"], env=mesh.environment, cwd=mesh.work, stdout=subprocess.DEVNULL
    )
    eventually(lambda: len(shown(mesh)) < 8, "the cleaner has begun")
    cleaner.kill()
    cleaner.wait()
    left = shown(mesh)
    assert [finish(mesh.client().run(run)) for run in left] == [State.COMPLETED] * len(left)
    mesh.kill("a")
    result = mesh.cli("gc", "--older-than", "0s")
    assert result.returncode == 0, result.stderr
    assert size_of(mesh) < full / 10
    mesh.start("a")
    mesh.await_ready("a")
    assert shown(mesh) == []
    assert finish(large_run(mesh)) is State.COMPLETED


def test_a_node_with_a_retention_removes_old_runs_by_itself(make_mesh: MakeMesh, tmp_path: Path) -> None:
    settings = tmp_path / "meshflow.yml"
    settings.write_text("retention: {runs: 1s}")
    program = (
        "-c",
        "import meshflow.core.retention as r; from dataclasses import replace; import meshflow.workers as w;"
        "options = w.node_options;"
        "w.node_options = lambda *a, **k: (o := options(*a, **k)) and replace(o, retention=replace(o.retention,"
        " first_s=0.2, clean_s=0.2));"
        "from meshflow.cli.app import cli; cli()",
    )
    mesh = make_mesh(environment={"MESHFLOW_CONFIG": str(settings)}, program=program)
    for name in ("a", "b"):
        mesh.start(name)
    mesh.await_ready()
    is_open, run = large_run(mesh, gate="gate"), large_run(mesh)
    assert finish(run) is State.COMPLETED
    ended_at = time.monotonic()
    eventually(lambda: shown(mesh) == [is_open.id], "the run that has ended is gone, and the open one is there")
    assert time.monotonic() - ended_at > 0.5
    mesh.write("gate", "")
    eventually(lambda: shown(mesh) == [], "the other one goes when it has ended")
