"""Bad input gets one clear sentence and an exit code that is not 0, and changes nothing."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.core.records import State
from tests.system.real_mesh import RealMesh, eventually, finish

pytestmark = pytest.mark.system

HEAD = """
import threading
from meshflow.models import Dag, Option, Parameters
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    pass

def task(name, **more):
    return PythonTask(name=name, callback=more.pop("callback", work), **more)

d = Dag("d")
"""

SYNTAX = "from meshflow.models import Dag\nd = Dag('d'\n"
CYCLE = HEAD + 'a, b = task("ann"), task("bob")\nd.define({a: b, b: a})\n'
TWICE = HEAD + 'd.define({task("same"): task("same")})\n'
UNPICKLABLE = HEAD + 'd.define({task("holder", callback=threading.Lock().acquire): None})\n'
PARAMETERS = HEAD + (
    'parameters = Parameters([Option("count", type=int), Option("path", default="", type=str)])\n'
    'd.define({task("t"): None})\n'
)
UNKNOWN_DAG = HEAD + (
    "def start(data, store, signal, context):\n    signal.start_dag('missing')\n"
    'd.define({task("starter", callback=start): None})\n'
)
UNKNOWN_QUEUE = HEAD + 'd.define({task("t", queue="gpu"): None})\n'
UNPICKLABLE_VALUE = HEAD + (
    "def leave(data, store, signal, context):\n    data['lock'] = threading.Lock()\n"
    'd.define({task("leaver", callback=leave): task("after")})\n'
)
UNPICKLABLE_STORE = HEAD + (
    "def keep(data, store, signal, context):\n    store.set('lock', threading.Lock())\n"
    'd.define({task("keeper", callback=keep): None})\n'
)
FILES = {
    "syntax": SYNTAX,
    "cycle": CYCLE,
    "twice": TWICE,
    "unpicklable": UNPICKLABLE,
    "params": PARAMETERS,
    "unknown_dag": UNKNOWN_DAG,
    "unknown_queue": UNKNOWN_QUEUE,
    "unpicklable_value": UNPICKLABLE_VALUE,
    "unpicklable_store": UNPICKLABLE_STORE,
}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """One node."""
    mesh = RealMesh(tmp_path_factory.mktemp("bad") / "mesh")
    try:
        mesh.start("only")
        mesh.await_ready()
        for name, text in FILES.items():
            mesh.write(f"{name}.py", text)
        yield mesh
    finally:
        mesh.close()
        print(mesh.logs())


def sentence(result: "subprocess.CompletedProcess[str]", code: int) -> str:
    """The one sentence of a refusal, which may be followed by a hint."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["simpel"], 4, ["simpel", "simple"]),
        (["syntax"], 8, ["syntax", "syntax.py", "line 2"]),
        (["cycle"], 8, ["'d'", "ann", "bob"]),
        (["twice"], 8, ["same"]),
        (["params"], 8, ["count"]),
        (["params", "count=many"], 8, ["count", "many", "int"]),
        (["params", "count"], 2, ["count", "NAME=VALUE"]),
        (["unpicklable"], 8, ["holder"]),
    ],
)
def test_a_workflow_that_cannot_run_is_refused_and_not_stored(
    mesh: RealMesh, arguments: list[str], code: int, told: list[str]
) -> None:
    """With the names that matter."""
    before = [record.run for record in mesh.client().runs()]
    result = mesh.cli("submit", *arguments)
    if code == 2:
        assert result.returncode == 2
        said = result.stderr
    else:
        said = result.stderr if code == 4 else sentence(result, code)
        assert result.returncode == code
    assert [word for word in told if word not in said] == [], said
    assert [record.run for record in mesh.client().runs()] == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unknown_dag", ["starter", "missing", "'d'"]),
        ("unpicklable_value", ["leaver", "lock"]),
        ("unpicklable_store", ["keeper", "lock"]),
    ],
)
def test_what_only_shows_in_a_task_fails_the_run_with_the_reason(mesh: RealMesh, name: str, told: list[str]) -> None:
    """The task and what it did wrong are named."""
    result = mesh.cli("submit", name, "--wait")
    assert result.returncode == 3
    assert [word for word in told if word not in result.stderr] == [], result.stderr


def test_a_queue_that_nobody_serves_is_accepted_and_shown(mesh: RealMesh) -> None:
    """The run waits, status says for what, and a node that serves it lets the run go on."""
    submitted = mesh.cli("submit", "unknown_queue")
    assert submitted.returncode == 0
    status = eventually(lambda: _warnings(mesh, "gpu"), "status tells of the queue")
    assert "--queues gpu" in status
    mesh.start("gpu", ("gpu",))
    mesh.await_ready("gpu")
    run = mesh.client().run(submitted.stdout.strip())
    assert finish(run) is State.COMPLETED, run.reason


def _warnings(mesh: RealMesh, word: str) -> str:
    document = json.loads(mesh.cli("status", "-o", "json").stdout)
    return " ".join(f"{each['text']} {each['fix']}" for each in document["warnings"] if word in each["text"])


def test_no_mesh_gives_5_and_says_how_to_start_one(tmp_path: Path) -> None:
    """For every command that needs one."""
    empty = RealMesh(tmp_path / "empty")
    for command in (["submit", "simple"], ["status"], ["nodes"], ["stop", "simple"], ["logs"]):
        result = empty.cli(*command)
        sentence(result, 5)
        assert "meshflow node" in result.stderr


def test_a_store_that_cannot_be_reached_ends_a_node_with_its_address(tmp_path: Path) -> None:
    """Before it has told anyone that it is there."""
    other = RealMesh(tmp_path / "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"mongodb://127.0.0.1:{port}/test?serverSelectionTimeoutMS=300"
    said = sentence(other.cli("node", "--store", url), 1)
    assert f"127.0.0.1:{port}" in said
    sentence(other.cli("status"), 5)


def test_a_store_file_that_is_none_ends_a_node_with_its_path(tmp_path: Path) -> None:
    """And leaves the file as it is."""
    other = RealMesh(tmp_path / "other")
    path = other.write("store.sqlite", "this is not a database, but somebody's letter " * 100)
    before = path.read_bytes()
    assert str(path) in sentence(other.cli("node", "--store", str(path)), 1)
    assert path.read_bytes() == before


def test_a_wrong_key_is_told_by_client_and_node(mesh: RealMesh, tmp_path: Path) -> None:
    """9 for the client; a node that joins says it too, and the mesh does not count it in."""
    stranger = RealMesh(tmp_path / "stranger")
    address = mesh.client().nodes()[0].member.address.removeprefix("tcp://")
    said = sentence(stranger.cli("status", "--connect", address), 9)
    assert "key" in said
    try:
        stranger.start("stranger", ("task",), 1, "--join", address)
        stranger.await_ready()
        eventually(lambda: "key" in stranger.log("stranger").read_text(), "the node says that its key is wrong")
    finally:
        stranger.close()
    assert "stranger" not in [report.member.name for report in mesh.client().nodes()]


def test_a_port_in_use_is_named(mesh: RealMesh) -> None:
    """The node ends at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in sentence(mesh.cli("node", "--bind", f"127.0.0.1:{port}"), 2)


def test_listening_for_other_hosts_needs_a_key_to_share(mesh: RealMesh) -> None:
    """It says how to get one."""
    result = mesh.cli("node", "--bind", "0.0.0.0")
    assert "key" in sentence(result, 2)
    assert "meshflow key make" in result.stderr


def test_a_wrong_setting_is_named_with_its_line(mesh: RealMesh) -> None:
    """Of the file, with the key that was meant."""
    path = mesh.write("wrong.yml", "libraries: []\nmesh:\n  nam: lab\n")
    said = sentence(mesh.cli("status", "-c", str(path)), 2)
    assert [word for word in ("wrong.yml", "line 3", "nam") if word not in said] == []
    assert "name" in said


def test_a_node_of_another_protocol_version_is_told_apart(mesh: RealMesh, tmp_path: Path) -> None:
    """A client names the versions; a node that would join says them too, is not counted in, and does no harm."""
    boot = tmp_path / "boot.py"
    boot.write_text(OTHER_VERSION)
    run = {"MESHFLOW_RUNTIME_DIR": str(mesh.folder / "run")}
    other = RealMesh(tmp_path / "other", environment=run, program=[str(boot)])
    said = sentence(other.cli("status"), 5)
    assert [word for word in ("version 1", "version 2") if word not in said] == [], said
    try:
        other.start("newer", ("task",), 1)
        other.await_ready()
        eventually(lambda: "version 2" in other.log("newer").read_text(), "the node says what is wrong")
        run_here = mesh.submit("simple")
        assert finish(run_here) is State.COMPLETED, run_here.reason
        assert "newer" not in [report.member.name for report in mesh.client().nodes()]
    finally:
        other.close()


OTHER_VERSION = """
import meshflow.wire

meshflow.wire.PROTOCOL_VERSION += 1

from meshflow.cli import main

main()
"""
