"""The key of a mesh is changed while it works: no task notices, and who has the old key is out."""

import random
import threading
import time
from contextlib import closing

import pytest

from meshflow.cli.exit_codes import ExitCode
from meshflow.client import Client
from meshflow.config import Config
from meshflow.connect import open_mesh
from meshflow.core.client_messages import AskStatus, NodeStatus
from meshflow.core.records import State
from meshflow.ids import new_node_id
from meshflow.key_change import KeyChange
from meshflow.run_handle import RunHandle
from meshflow.runtime.folder import runtime_folder, state_path
from meshflow.runtime.key_files import keep_keys
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import MeshKey
from meshflow.runtime.transport.line import Line
from meshflow.runtime.transport.problems import ConnectionLost, WrongKey
from tests.system.real_mesh import RealMesh, events, eventually

pytestmark = pytest.mark.system

NODES = ("a", "b", "c")
TASKS = 60
OUT_S = 2.0
"""What is promised: so long after it is revoked, a key opens nothing any more."""

LOAD = f"""
import os, time
from pathlib import Path
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def work(data, store, signal, context):
    with (Path(os.environ["MESHFLOW_TEST_FOLDER"]) / f"{{context.workflow_id}}.ran").open("a") as file:
        file.write(context.task_name + "\\n")
    time.sleep(0.02)

d = Dag("main_dag")
d.define({{PythonTask(name=f"t{{number}}", callback=work): None for number in range({TASKS})}})
"""


class Load:
    """Submits one run after the other, and remembers them."""

    def __init__(self, mesh: RealMesh) -> None:
        self.runs: list[RunHandle] = []
        self.ended: list[State] = []
        self.problem: BaseException | None = None
        self._client: Client = mesh.client()  # closed with the mesh
        self._path = mesh.write("load.py", LOAD)
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._submit)
        self._thread.start()

    def _submit(self) -> None:
        try:
            while not self._is_ending.is_set():
                self.runs.append(self._client.submit(self._path))
                self.ended.append(self.runs[-1].wait(30.0))
        except BaseException as problem:
            self.problem = problem

    def await_more(self, count: int = 2) -> None:
        """Wait until further runs have ended."""
        before = len(self.ended)
        eventually(lambda: len(self.ended) >= before + count or self.problem, "the runs go on")

    def end(self) -> None:
        self._is_ending.set()
        self._thread.join(40.0)


class Outsider:
    """Holds a connection with one key, and notes when it is cut, and when that key is refused at last."""

    def __init__(self, key: MeshKey, address: str) -> None:
        self._key = key
        self._address = address
        self.cut_at = 0.0
        self.refused_at = 0.0
        self._line = self._open()
        assert self._is_answered(self._line)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _open(self) -> Line:
        return Line(new_node_id(random.SystemRandom()), self._key, self._address)

    def _is_answered(self, line: Line) -> bool:
        line.send(AskStatus(1))
        return isinstance(line.receive(5.0), NodeStatus)

    def _watch(self) -> None:
        with closing(self._line):
            try:
                while True:
                    assert self._is_answered(self._line)
                    time.sleep(0.01)
            except ConnectionLost:
                self.cut_at = time.monotonic()
        while not self.refused_at:
            with closing(self._open()) as line:
                try:
                    assert not self._is_answered(line), "it was let in again"
                except WrongKey:
                    self.refused_at = time.monotonic()

    def end(self) -> None:
        self._thread.join(10.0)


def ring(mesh: RealMesh) -> KeyRing:
    return KeyRing(runtime_folder("default", mesh.environment), state_path("default", mesh.environment))


def test_the_key_is_changed_twice_under_load_and_the_old_one_is_out(mesh: RealMesh) -> None:
    """Once from the command line, and once with an old connection held open to each node."""
    for name in NODES:
        mesh.start(name)
    mesh.await_ready()
    reports = mesh.await_nodes(len(NODES))
    first = ring(mesh).keys[0]
    load = Load(mesh)
    try:
        load.await_more()
        done = mesh.cli("key", "rotate")
        assert done.returncode == 0, done.stderr
        second = ring(mesh).keys[0]
        assert done.stdout.strip() == second.fingerprint != first.fingerprint
        assert first.text() not in done.stdout + done.stderr + mesh.logs()

        load.await_more()
        config = Config()
        with closing(open_mesh(config.settings, environ=mesh.environment)) as way:
            change = KeyChange(way, ring(mesh))
            third, members = change.add()
            assert len(members) == len(NODES)
            outsiders = [Outsider(second, report.member.address) for report in reports]
            revoked_at = time.monotonic()
            change.revoke(second.fingerprint)
        for outsider in outsiders:
            outsider.end()
            print(f"cut {outsider.cut_at - revoked_at:.3f} s, refused {outsider.refused_at - revoked_at:.3f} s after")
            assert 0 < outsider.cut_at - revoked_at <= OUT_S
            assert 0 < outsider.refused_at - revoked_at <= OUT_S
        load.await_more()
    finally:
        load.end()
    assert ring(mesh).keys == (third,)
    assert load.problem is None, load.problem
    assert len(load.runs) >= 6
    for run in load.runs:
        assert run.wait(5.0) is State.COMPLETED
        ran = (mesh.work / f"{run.id}.ran").read_text().splitlines()
        assert sorted(ran) == sorted(f"t{number}" for number in range(TASKS)), "each ran once"
        ends = [event.name for event in events(run) if event.type == "task" and event.word == "succeeded"]
        assert len(ends) == TASKS
    assert len(mesh.client().nodes()) == len(NODES)
    keep_keys(mesh.work / "old.key", (second,))
    mesh.environment["MESHFLOW_KEY_FILE"] = str(mesh.work / "old.key")
    denied = mesh.cli("nodes")
    assert denied.returncode == ExitCode.DENIED
    assert "the key of the mesh was changed" in denied.stderr
    said = mesh.logs()
    assert "a node is dead" not in said
    assert not [key for key in (first, second, third) if key.text() in said or key.secret in said]
