"""Nobody makes a node run code: canary pickles in every message, from everybody, and recordings that are replayed.

Each canary leaves the id of the process that loads it. Task processes of a member may load some: that is what they are
there for. Nodes, and who only knocks, must not.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from meshflow.core.messages import Drain
from meshflow.core.records import State
from meshflow.ids import NodeId
from meshflow.runtime.keys import make_key
from meshflow.wire import encode_message
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, eventually, finish, is_running
from tests.system.strangers import (
    AUDITED,
    Recorder,
    canary,
    connect,
    free_port,
    key_of,
    knock,
    listening,
    messages_with,
    send_all,
)

pytestmark = pytest.mark.system

STRANGER = NodeId("00000000000000ff")
NODES = ("one", "two")


class Guarded:
    """A mesh of two nodes that note what pickles look up in them; everybody reaches the first through a recorder."""

    def __init__(self, mesh: RealMesh, folder: Path) -> None:
        self.mesh = mesh
        self.canaries = folder / "canaries"
        self.canaries.mkdir()
        self.journal = folder / "journal"
        mesh.environment["MESHFLOW_TEST_JOURNAL"] = str(self.journal)
        port = free_port()
        self.recorder = Recorder(port)
        self.address = f"tcp://127.0.0.1:{port}"
        advertised = f"127.0.0.1:{self.recorder.port}"
        mesh.start("one", ("workflow", "dag", "task"), 2, "--bind", f"127.0.0.1:{port}", "--advertise", advertised)
        mesh.await_ready("one")
        mesh.start("two")
        mesh.await_ready("two")
        mesh.await_nodes(2)

    @property
    def run_count(self) -> int:
        """How many runs the store knows."""
        return len(self.mesh.client().runs())

    def assert_unharmed(self) -> None:
        """Both nodes work, and neither has looked up a name for a pickle."""
        assert finish(self.mesh.submit("simple")) is State.COMPLETED
        assert self.journal.read_text() == ""
        pids = [self.mesh.pid(name) for name in NODES]
        assert all(map(is_running, pids)), self.mesh.logs()
        loaded = [int(path.name) for path in self.canaries.iterdir()]
        assert not set(loaded) & set(pids)


@pytest.fixture
def guarded(make_mesh: MakeMesh, tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(make_mesh(program=("-c", AUDITED)), tmp_path)
    yield made
    made.mesh.close()
    made.recorder.close()


def test_no_canary_is_loaded_by_a_node_and_no_recording_has_an_effect(guarded: Guarded) -> None:
    bait = canary(guarded.canaries)
    key, other = key_of(guarded.mesh), make_key()
    member = next(report.member for report in guarded.mesh.client().nodes() if report.member.name == "two")
    messages = [each for each in messages_with(bait) if not isinstance(each, Drain)]
    packed = [encode_message(each) for each in messages]
    assert finish(guarded.mesh.submit("simple")) is State.COMPLETED  # so that there is something to record
    assert [line.partition(" ")[0] for line in listening(guarded.mesh.pid("one"))] == ["tcp"]
    before = guarded.run_count

    # Strangers: as they are, as ZeroMQ without a key, with another key, and with what was recorded.
    for data in (bait, b"\x01" + bait, *packed):
        with connect(guarded.address) as raw, suppress(OSError):
            raw.sendall(data)
    for server, own in ((None, None), (key, other), (other, other)):
        knock(guarded.address, server, own, STRANGER, [bait, *packed])
    recordings = [bytes(each) for each in guarded.recorder.recordings if len(each) > 500]
    assert recordings
    for recorded in recordings:
        replay(guarded.address, recorded)
    assert not any(guarded.canaries.iterdir())  # not even in a task process
    assert guarded.run_count == before

    # Members, known and unknown.
    for sender in (STRANGER, member.id):
        send_all(guarded.address, key, sender, messages)
        knock(guarded.address, key, key, sender, [bait, b"\x01" + bait])
    eventually(lambda: "node=canary" in guarded.mesh.logs(), "what a member sends is acted on")
    guarded.assert_unharmed()


def replay(address: str, recorded: bytes) -> None:
    """Say again what somebody else said, at once and step by step, as an answer to each word of the node."""
    for size in (len(recorded), 64, 200):
        with connect(address) as raw, suppress(OSError):
            raw.settimeout(0.1)
            for start in range(0, min(len(recorded), 2000), size):
                raw.sendall(recorded[start : start + size])
                with suppress(socket.timeout):
                    if not raw.recv(65536):
                        break


def test_a_canary_does_what_it_should(tmp_path: Path) -> None:
    """Otherwise the tests above would prove nothing."""
    import os
    import pickle

    pickle.loads(canary(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
