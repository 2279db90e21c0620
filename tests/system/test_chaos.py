"""`meshflow chaos` from outside: faults against real processes, and nothing lost or done twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshflow.chaos import sandbox
from meshflow.chaos.delay import HELD_S
from meshflow.chaos.faults import apply
from meshflow.chaos.hosts import Host, Hosts, run
from meshflow.chaos.schedule import CELLS, Fault
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import RealMesh, eventually, is_running

pytestmark = pytest.mark.system

PROMISES = ("lost", "doubled", "other")

RUNS_OF_A_ROUND = 8

SHORT_SEED = 2845
"""One whose four rounds are of four faults and three victims, and whose faults last no longer than they must."""


@pytest.fixture
def shell(make_mesh: MakeMesh) -> RealMesh:
    """Folders to call the program in; it makes a mesh of its own."""
    return make_mesh()


def play(shell: RealMesh, seed: int, *arguments: str, timeout: float = 150.0) -> list[tuple[str, str]]:
    """The cells of a game in which every promise was kept."""
    done = shell.cli("chaos", "--seed", str(seed), "-o", "json", *arguments, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["problems"] == []
    for row in said["items"]:
        assert [row[promise] for promise in PROMISES] == [0, 0, 0]
        assert row["runs"] + row["refused"] == RUNS_OF_A_ROUND * row["rounds"]
    return [(row["fault"], row["victim"]) for row in said["items"]]


def need_sandbox() -> None:
    """Skip where there can be no namespaces."""
    if reason := sandbox.why_not():
        pytest.skip(f"no namespaces: {reason}")


def test_hosts_that_are_killed_cut_off_full_or_without_their_store_lose_nothing(shell: RealMesh) -> None:
    """A short matrix: four faults, three victims."""
    need_sandbox()
    faults = ("disk-full", "store-outage", "kill", "one-way")
    victims = ("store", "worker", "owner")
    options = [*(f"--fault={each}" for each in faults), *(f"--victim={each}" for each in victims)]
    assert play(shell, SHORT_SEED, *options, "--rounds", "4") == [
        ("disk-full", "store"),
        ("store-outage", "store"),
        ("kill", "worker"),
        ("one-way", "owner"),
    ]


@pytest.mark.skipif(not os.environ.get("MESHFLOW_LONG"), reason="takes ten minutes; set MESHFLOW_LONG=1")
@pytest.mark.parametrize("fault", CELLS)
def test_every_fault_can_have_every_victim_and_nothing_is_lost(shell: RealMesh, fault: Fault) -> None:
    """The long matrix."""
    need_sandbox()
    played = play(shell, 1, f"--fault={fault.value}")
    assert sorted(played) == sorted((fault.value, victim.value) for victim in CELLS[fault])


def test_processes_of_one_host_lose_nothing_either(shell: RealMesh) -> None:
    """Without namespaces: the faults of the network are left out, the others are not."""
    assert play(shell, 0, "--here", "--fault", "kill-all", "--fault", "loss") == [("kill-all", "all")]


def test_a_game_that_cannot_go_on_says_why_and_judges_what_it_has_seen(shell: RealMesh, tmp_path: Path) -> None:
    """Its exit code is not that of a broken promise, and runs that it did not wait for are not taken for lost."""
    folder = tmp_path / "kept"
    with subprocess.Popen(
        [*shell.command, "chaos", "--here", "--fault", "none", "--rounds", "2", "--keep", str(folder), "-o", "json"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as game:
        eventually(lambda: "start" in _text(folder / "tasks.jsonl"), "tasks run")
        (client,) = _nodes_with(str(folder), b"meshflow.chaos.submitter")
        os.kill(client, signal.SIGKILL)
        printed, told = game.communicate(timeout=60)
    assert game.returncode == 1, told
    said = json.loads(printed)
    assert said["problems"] == []
    assert sum(row["runs"] for row in said["items"]) > 0
    assert said["broken_off"].startswith(
        "the game could not play round 1 to its end: the client that submits has ended"
    )
    assert said["broken_off"] in told


def test_a_host_that_is_far_away_can_be_reached_and_is_near_again_when_the_fault_has_gone(tmp_path: Path) -> None:
    """Both ways, by others as by the game, and frames that the kernel has yet to cut up pass, too."""
    need_sandbox()

    def measure() -> int:
        with Hosts(tmp_path, (("store", ("store",), 1), ("far", ("task",), 1)), in_sandbox=True) as hosts:
            far = hosts.all["far"]
            injury = apply(Fault.DELAY, [far], 1, lambda: None)
            assert injury.prove()[0]
            for here, there in ((hosts.store, far), (far, hosts.store)):
                assert 2 * HELD_S[0] <= _send(here, there) < 30.0
            injury.heal()
            assert not injury.prove()[0], "a proof can fail"
            assert _send(hosts.store, far) < 2 * HELD_S[0]
        return 0

    assert sandbox.run_inside(measure) == 0


_SERVE = """
import socket
with socket.create_server(("", 7000)) as server:
    print(flush=True)
    peer, _ = server.accept()
    with peer:
        while peer.recv(65536):
            pass
"""

_SEND = """
import socket, sys, time
began = time.monotonic()
with socket.create_connection((sys.argv[1], 7000)) as peer:
    peer.sendall(bytes(200000))
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)
print(time.monotonic() - began)
"""


def _send(here: Host, there: Host) -> float:
    """How long it takes to send 200 kB from one host to another, until that has it all, in seconds."""
    serve = [*there.prefix, sys.executable, "-c", _SERVE]
    with subprocess.Popen(serve, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        return float(run(*here.prefix, sys.executable, "-c", _SEND, there.address.partition(":")[0]))


def test_an_interrupted_game_leaves_nothing_behind(shell: RealMesh, tmp_path: Path) -> None:
    """Neither processes nor networks; what was found so far is kept."""
    folder = tmp_path / "kept"
    game = subprocess.Popen(
        [*shell.command, "chaos", "--fault", "pause", "--victim", "worker", "--keep", str(folder)],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with game:
        eventually(lambda: "joined" in _text(folder / "worker2.log"), "the nodes have started")
        nodes = _nodes_with(str(folder))
        assert nodes
        game.send_signal(signal.SIGINT)
        assert game.wait(20) == 130, game.stderr and game.stderr.read()
    for pid in nodes:
        eventually(lambda pid=pid: not is_running(pid), f"process {pid} has ended")  # type: ignore[misc]
    assert (folder / "history.jsonl").exists()


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _nodes_with(text: str, name: bytes = b"") -> list[int]:
    """The processes whose environment has this text, and whose command has this name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in path.read_bytes() and name in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
