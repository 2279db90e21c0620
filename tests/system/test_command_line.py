"""The command line against real nodes: what it shows, what it ends, and the exit codes that scripts rely on."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshflow.core.records import State
from tests.system.real_mesh import RealMesh, eventually, finish, is_running, printed

pytestmark = pytest.mark.system

FAILING = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def fail(data, store, signal, context):
    raise ValueError("the detector is off")

d = Dag("d")
d.define({PythonTask(name="t", callback=fail): PythonTask(name="after", callback=fail)})
"""

ENDLESS = """
from meshflow.models import Dag
from meshflow.tasks import BashTask, PythonTask

d = Dag("d")
command = 'sleep 300 & cd "$MESHFLOW_TEST_FOLDER"; echo $$ $! > pids; mv pids endless.pids; wait'
d.define({BashTask(name="t", command=command): PythonTask(name="after", callback=print)})
"""

PATIENT = """
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def wait(data, store, signal, context):
    folder = Path(os.environ["MESHFLOW_TEST_FOLDER"])
    (folder / "patient.started").touch()
    while not signal.is_stopped:
        time.sleep(0.01)
    print("told to stop")

d = Dag("d")
d.define({PythonTask(name="t", callback=wait): PythonTask(name="after", callback=wait)})
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """Two nodes that do everything."""
    mesh = RealMesh(tmp_path_factory.mktemp("cli") / "mesh")
    try:
        mesh.start("one")
        mesh.start("two")
        mesh.await_ready()
        mesh.await_nodes(2)
        mesh.write("failing.py", FAILING)
        mesh.write("endless.py", ENDLESS)
        mesh.write("patient.py", PATIENT)
        yield mesh
    finally:
        mesh.close()
        print(mesh.logs())


def pids(mesh: RealMesh) -> list[int]:
    """The processes of the endless command, once both run."""
    path = mesh.work / "endless.pids"
    found = eventually(lambda: path.read_text().split() if path.exists() else [], "the endless command runs")
    path.unlink()
    return [int(pid) for pid in found]


def as_json(result: "subprocess.CompletedProcess[str]") -> Any:
    """The document that a command printed."""
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_submit_prints_an_id_and_logs_follow_it(mesh: RealMesh) -> None:
    """The id is all there is on stdout; the exit code of `logs -f` tells how the run ended."""
    submitted = mesh.cli("submit", "simple")
    assert submitted.returncode == 0, submitted.stderr
    run = submitted.stdout.strip()
    assert len(run) == 24
    followed = mesh.cli("logs", "-f", run)
    assert followed.returncode == 0, followed.stderr
    assert "The value is: 5" in followed.stdout
    assert mesh.cli("logs", run).stdout == followed.stdout
    assert "The value is: 5" not in mesh.cli("logs", run, "--task", "put_task").stdout


def test_submit_works_from_any_folder(mesh: RealMesh, tmp_path: Path) -> None:
    """Examples come with the package; files are found by their paths."""
    assert mesh.cli("submit", "simple", "--wait", cwd=tmp_path).returncode == 0
    assert mesh.cli("submit", str(mesh.work / "failing.py"), cwd=tmp_path).returncode == 0
    assert mesh.cli("submit", "failing", cwd=tmp_path).returncode == 4


def test_waiting_for_a_success_gives_0(mesh: RealMesh) -> None:
    """And says so on stderr."""
    result = mesh.cli("submit", "simple", "--wait")
    assert (result.returncode, result.stderr.splitlines()[-1]) == (0, "simple completed")


def test_waiting_for_a_failure_gives_3_and_the_reason(mesh: RealMesh) -> None:
    """The failed task is named, with what it raised."""
    result = mesh.cli("submit", "failing", "--wait")
    assert result.returncode == 3
    assert "task 't' failed" in result.stderr
    assert "ValueError: the detector is off" in result.stderr
    assert "failing.py" in result.stderr, "with the line where it was raised"
    status = mesh.cli("status", result.stdout.strip()).stdout
    (row,) = [line for line in status.splitlines() if line.startswith("  t ")]
    assert row.endswith("ValueError: the detector is off"), "a table has one line for each task"


def test_waiting_too_long_gives_6_and_the_run_goes_on(mesh: RealMesh) -> None:
    """`cancel` ends it then."""
    result = mesh.cli("submit", "endless", "--wait", "--timeout", "0.5")
    assert result.returncode == 6, result.stderr
    processes = pids(mesh)
    assert all(map(is_running, processes))
    assert mesh.cli("cancel", result.stdout.strip()).returncode == 0
    eventually(lambda: not any(map(is_running, processes)), "the processes end")


def test_cancel_kills_the_process_tree(mesh: RealMesh) -> None:
    """The command and what it started are gone, what comes after never runs, and who waits gets 7."""
    waiting = subprocess.Popen(
        [*mesh.command, "submit", "endless", "--wait"], env=mesh.environment, cwd=mesh.work, stdout=subprocess.PIPE
    )
    try:
        processes = pids(mesh)
        assert mesh.cli("cancel", "endless", "--reason", "enough").returncode == 0
        out, _ = waiting.communicate(timeout=30)
    finally:
        waiting.kill()
        waiting.wait()
    assert waiting.returncode == 7
    eventually(lambda: not any(map(is_running, processes)), "the processes end")
    run = as_json(mesh.cli("status", out.decode().strip(), "-o", "json"))
    assert run["state"] == "cancelled"
    assert "enough" in run["reason"]
    assert [task["state"] for task in run["dags"][0]["tasks"]] == ["cancelled", "cancelled"]


def test_stop_lets_the_running_task_end(mesh: RealMesh) -> None:
    """It can see that it should; what comes after does not start."""
    run = mesh.submit(mesh.work / "patient.py")
    eventually((mesh.work / "patient.started").exists, "the task runs")
    assert mesh.cli("stop", run.id).returncode == 0
    assert finish(run) is State.STOPPED
    assert printed(run) == ["told to stop"]
    assert [task.state for task in run.view().tasks] == [State.COMPLETED, State.STOPPED]


def test_what_has_ended_cannot_be_stopped(mesh: RealMesh) -> None:
    """Which is said, and 4 is the exit code of not finding an open run."""
    run = mesh.submit("simple")
    finish(run)
    eventually(lambda: run.record.state.is_final, "the record says so")
    result = mesh.cli("stop", "no-such-run")
    assert result.returncode == 4
    assert "no-such-run" in result.stderr


def test_events_tell_what_happened(mesh: RealMesh) -> None:
    """From the beginning to the end of the run: as a list, or as lines if it is to be followed."""
    run = mesh.submit("simple")
    finish(run)
    told = as_json(mesh.cli("events", run.id, "-o", "json"))["items"]
    stream = mesh.cli("events", run.id, "-o", "json", "--follow").stdout
    assert [json.loads(line) for line in stream.splitlines()] == told
    assert {event["kind"] for event in told} == {"event"}
    assert (told[0]["name"], told[0]["event"]) == ("simple", "queued")
    assert {(event["name"], event["event"]) for event in told} >= {
        ("print_task", "started"),
        ("print_task", "succeeded"),
        ("simple", "succeeded"),
    }


def test_status_shows_nodes_and_runs(mesh: RealMesh) -> None:
    """As a document, with null where nothing is known."""
    run = mesh.submit("simple")
    finish(run)
    eventually(lambda: mesh.client().load(run.id).state.is_final, "the record is final")
    status = as_json(mesh.cli("status", "-o", "json", "--limit", "1000"))
    assert sorted(node["name"] for node in status["nodes"]["items"]) == ["one", "two"]
    assert {node["state"] for node in status["nodes"]["items"]} == {"alive"}
    (mine,) = [each for each in status["runs"]["items"] if each["id"] == run.id]
    assert (mine["state"], mine["counts"]) == ("completed", {"total": 2, "done": 2, "reused": 0})
    assert mine["owner"]["node"] in ("one", "two")
    nodes = as_json(mesh.cli("nodes", "-o", "json"))
    assert sorted(node["pid"] for node in nodes["items"]) == sorted([mesh.pid("one"), mesh.pid("two")])


def test_run_leaves_nothing_behind(mesh: RealMesh, tmp_path: Path) -> None:
    """No process, no file, and the mesh that is there is not touched."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = len(mesh.client().runs())
    own = {**mesh.environment, "TMPDIR": str(temporary)}
    result = subprocess.run(
        [*mesh.command, "run", "simple"], env=own, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "The value is: 5" in result.stdout
    assert list(temporary.iterdir()) == []
    assert processes_with(f"TMPDIR={temporary}") == []
    assert len(mesh.client().runs()) == before


def test_run_gives_the_exit_code_of_the_run(mesh: RealMesh) -> None:
    """3 for a failure."""
    result = mesh.cli("run", "failing")
    assert result.returncode == 3
    assert result.stderr.count("Traceback") == 1, "it is told once"
    assert result.stderr.splitlines()[-1].endswith("task 't' failed: ValueError: the detector is off")


def test_run_that_takes_too_long_is_ended_and_says_so(mesh: RealMesh) -> None:
    """6, and no word of a run that goes on: its mesh is gone."""
    result = mesh.cli("run", "endless", "--timeout", "0.5")
    assert result.returncode == 6
    assert "was ended, since this mesh lives as long as the command" in result.stderr.splitlines()[-1]


def processes_with(setting: str) -> list[int]:
    """Processes that run with this environment variable."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                variables = (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if setting.encode() in variables and is_running(int(path.name)):
                found.append(int(path.name))
    return found


def test_joins_on_a_mesh_of_one_slot_come_to_an_end(make_mesh: Any) -> None:
    """A task that waits lends its slot out: nine tasks wait for each other, one slot is enough."""
    small: RealMesh = make_mesh("small")
    small.start("only", slots=1)
    small.await_ready()
    for name in ("nested_joins", "sub_dag"):
        run = small.submit(name)
        assert finish(run) is State.COMPLETED, run.reason
