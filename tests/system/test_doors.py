"""Nobody makes a node run code: canary pickles in every message, from everybody, those who were members included, and
recordings that are replayed.

Each canary leaves the id of the process that loads it. Task processes of a member may load some: that is what they are
there for. Nodes, and who only knocks, must not.
"""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from meshflow.core.client_messages import Drain
from meshflow.core.records import State
from meshflow.ids import NodeId
from meshflow.runtime.keys import make_key
from meshflow.wire import encode_message
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, eventually, finish, is_running
from tests.system.strangers import (
    AUDITED,
    Recorder,
    Veteran,
    canary,
    connect,
    dealer,
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

    def ports(self) -> dict[str, NodeId]:
        """Every port of the mesh, one for each node, and the id of the other node: from that one it takes orders."""
        assert [line.partition(" ")[0] for name in NODES for line in listening(self.mesh.pid(name))] == ["tcp", "tcp"]
        one, two = sorted((report.member for report in self.mesh.client().nodes()), key=lambda member: member.name)
        return {self.address: two.id, two.address: one.id}

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
    messages = messages_with(bait)
    packed = [encode_message(each) for each in messages]
    assert finish(guarded.mesh.submit("simple")) is State.COMPLETED  # so that there is something to record
    addresses = list(guarded.ports())
    before = guarded.run_count

    # Strangers: as they are, as ZeroMQ without a key, with another key, and with what was recorded.
    for address in addresses:
        for data in (bait, b"\x01" + bait, *packed):
            with connect(address) as raw, suppress(OSError):
                raw.sendall(data)
        for server, own in ((None, None), (key, other), (other, other)):
            knock(address, server, own, STRANGER, [bait, *packed])
    recordings = [bytes(each) for each in guarded.recorder.recordings if len(each) > 500]
    assert recordings
    for recorded in recordings:
        replay(guarded.address, recorded, (len(recorded), 64, 200))
    assert not any(guarded.canaries.iterdir())  # not even in a task process
    assert guarded.run_count == before

    # Members, known and unknown.
    for sender in (STRANGER, member.id):
        for address in addresses:  # but for the order to leave, which they may give
            send_all(address, key, sender, [each for each in messages if not isinstance(each, Drain)])
            knock(address, key, key, sender, [bait, b"\x01" + bait])
    eventually(lambda: "node=canary" in guarded.mesh.logs(), "what a member sends is acted on")
    guarded.assert_unharmed()


def test_a_peer_whose_key_was_revoked_is_a_stranger(guarded: Guarded) -> None:
    """It goes on over the connections that it had, tries new ones with what it knows, and replays what it has seen."""
    bait = canary(guarded.canaries)
    ports, old = guarded.ports(), key_of(guarded.mesh)
    messages = messages_with(bait)
    words = [bait, b"\x01" + bait, *map(encode_message, messages)]
    before = guarded.run_count
    with ExitStack() as stack:
        veterans = [
            stack.enter_context(closing(Veteran(stack.enter_context(dealer(old, old, sender, 0)), address)))
            for address, sender in ports.items()
        ]
        for each in veterans:
            eventually(each.is_let_in, "a member is let in")
        rotated = guarded.mesh.cli("key", "rotate")
        assert rotated.returncode == 0, rotated.stderr
        new = key_of(guarded.mesh)
        assert new != old
        for each in veterans:
            eventually(each.is_cut, "its connections are closed", seconds=2.0)

        for each in veterans:
            each.goes_on(words)
        for address, sender in ports.items():
            for server, own in ((old, old), (new, old), (None, None)):  # it may have learned the public half of the new
                knock(address, server, own, sender, words)
        for recorded in [bytes(each) for each in guarded.recorder.recordings if len(each) > 500]:
            replay(guarded.address, recorded, (len(recorded),))
        assert not any(guarded.canaries.iterdir())  # not even in a task process
        assert guarded.run_count == before
        assert "node=canary" not in guarded.mesh.logs()

        # The same from a member is acted on, so what was sent before would have been by now; but for orders to leave.
        for address, sender in guarded.ports().items():
            send_all(address, new, sender, [each for each in messages if not isinstance(each, Drain)])
        eventually(lambda: "node=canary" in guarded.mesh.logs(), "what a member sends is acted on")
    guarded.assert_unharmed()


def replay(address: str, recorded: bytes, sizes: tuple[int, ...]) -> None:
    """Say again what somebody else said, in pieces of these sizes, each as an answer to a word of the node."""
    for size in sizes:
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
