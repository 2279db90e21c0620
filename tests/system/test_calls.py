"""Calls on a mesh of real processes: nodes, task processes and clients are killed, and what comes of it."""

import logging
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from meshflow import caller_thread
from meshflow.caller_thread import CallFailed
from meshflow.client import Client
from meshflow.core.records import State
from meshflow.errors import UsageError
from meshflow.references import NotFound
from tests.system.real_mesh import RealMesh, eventually

pytestmark = pytest.mark.system

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # task processes need not import the tests

PROGRAM = """
import sys, time
from meshflow.client import Client
client = Client()
client.gather(client.map(abs, range(100)))
futures = [client.submit(time.sleep, 100) for _ in range(2)]
while not all(future.running() for future in futures):
    time.sleep(0.01)
time.sleep(0.1)
print("called", flush=True)
"""


def shared_square(number: int) -> int:
    time.sleep(0.0002)
    return number * number


def done_count(mesh: RealMesh, name: str) -> int:
    counts = [each.status.done_count for each in mesh.client().nodes() if each.member.name == name and each.status]
    return counts[0] if counts else 0


# --- nodes ---


def test_a_node_is_killed_another_drained_and_a_third_joins_while_thousands_of_calls_run(mesh: RealMesh) -> None:
    for name in ("a", "b", "c"):
        mesh.start(name)
    mesh.await_ready()
    mesh.await_nodes(3)
    with mesh.connect() as client:
        calls = client.map(shared_square, range(20_000))
        calls[1000].result(20.0)
        mesh.kill("b")
        mesh.start("d")
        mesh.await_ready("d")
        more = client.map(shared_square, range(20_000, 25_000))
        eventually(lambda: done_count(mesh, "d"), "the node that joined gets work")
        mesh.stop("c")
        assert client.gather([*calls, *more]) == [number * number for number in range(25_000)]


# --- task processes ---


def exits_at_seven(number: int) -> int:
    if number == 7:
        os._exit(1)
    return number


def test_of_a_thousand_calls_only_that_fails_which_ends_its_process(client: Client) -> None:
    assert client.gather(client.map(abs, range(1000))) == list(range(1000))
    outcomes: list[Any] = client.gather(
        client.map(exits_at_seven, [*range(100, 600), 7, *range(600, 1000)]), return_exceptions=True
    )
    failed = [outcome for outcome in outcomes if not isinstance(outcome, int)]
    assert (len(outcomes), len(failed)) == (901, 1)
    assert isinstance(failed[0], CallFailed)
    assert "exits_at_seven" in str(failed[0])


def say_and_sleep(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


def written(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_call_whose_process_is_killed_fails_and_others_go_on(client: Client, tmp_path: Path) -> None:
    victim = client.submit(say_and_sleep, str(tmp_path / "pid"))
    os.kill(int(eventually(lambda: written(tmp_path / "pid"), "the call runs")), signal.SIGKILL)
    with pytest.raises(CallFailed, match="say_and_sleep"):
        victim.result(10.0)
    assert client.submit(operator.add, 1, 2).result(10.0) == 3


def test_a_call_that_runs_is_cancelled_with_its_process(client: Client, calm: RealMesh, tmp_path: Path) -> None:
    future = client.submit(say_and_sleep, str(tmp_path / "pid"))
    pid = int(eventually(lambda: written(tmp_path / "pid"), "the call runs"))
    client.cancel([future])
    client.cancel([future])
    with pytest.raises(CancelledError):
        future.result(5.0)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "its process ends")
    client.cancel([future])
    assert client.submit(operator.add, 1, 2).result(10.0) == 3


def fork_and_count(number: int) -> int:
    if number == 50 and os.fork() == 0:
        return -1
    return number


def test_a_call_that_forks_has_one_result(client: Client) -> None:
    client.gather(client.map(abs, range(1000)))
    assert client.gather(client.map(fork_and_count, range(1000))) == list(range(1000))


# --- sizes ---


def test_what_is_too_large_for_a_message_fails_alone_and_says_so(client: Client) -> None:
    sizes = [10, 66 * 1024 * 1024, 20]
    through_the_mesh = client.options(timeout_s=60.0)
    small, large, other = through_the_mesh.map(bytes, sizes)
    argument = through_the_mesh.submit(len, bytes(66 * 1024 * 1024))
    assert (len(small.result(20.0)), len(other.result(20.0))) == (10, 20)
    for future in (large, argument):
        with pytest.raises(CallFailed, match="max_message_bytes"):
            future.result(20.0)


def test_results_that_are_too_large_together_arrive(client: Client) -> None:
    client.gather(client.map(bytes, [1] * 1000))
    results = client.gather(client.map(bytes, [200_000] * 500))
    assert sum(map(len, results)) == 100_000_000


# --- clients ---


@pytest.mark.parametrize("is_killed", [True, False], ids=["kill -9", "exit"])
def test_the_calls_of_a_program_end_with_it(calm: RealMesh, is_killed: bool) -> None:
    more = "time.sleep(100)" if is_killed else "# no close()"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + more], env=calm.environment, stdout=subprocess.PIPE, cwd=calm.work
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == b"called\n"
        if is_killed:
            assert calm.running_count() == 2
            program.kill()
        assert program.wait(5.0) == (-signal.SIGKILL if is_killed else 0)
    # Who exits says goodbye; who is killed is missed when its connection is gone and does not come back.
    eventually(lambda: calm.running_count() == 0, "the node ends them", 4.0 if is_killed else 1.9)


def test_the_calls_of_a_program_that_is_suspended_go_on_while_others_come_and_go(calm: RealMesh) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + "time.sleep(100)"], env=calm.environment, stdout=subprocess.PIPE, cwd=calm.work
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == b"called\n"
        program.send_signal(signal.SIGSTOP)
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            with calm.connect() as other:
                other.nodes()
            assert calm.running_count() == 2
        program.kill()
        program.wait(5.0)
    eventually(lambda: calm.running_count() == 0, "the node ends them", 4.0)


def cut_connections() -> int:
    """End all connections over TCP of this process, as a network does that has forgotten them; how many."""
    count = 0
    for fileno in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError), socket.socket(fileno=os.dup(fileno)) as each:
            if each.family == socket.AF_INET and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0:
                each.shutdown(socket.SHUT_RDWR)
                count += 1
    return count


def test_a_connection_that_breaks_costs_no_call(client: Client) -> None:
    """Those that may be made once would fail if the node took the client for gone."""
    futures = client.options(at_most_once=True).map(time.sleep, [4.0, 4.0])
    eventually(lambda: all(future.running() for future in futures), "they run")
    time.sleep(0.2)
    assert cut_connections() > 0
    assert client.gather(futures) == [None, None]


def test_a_client_that_is_closed_ends_its_calls_and_makes_no_more(calm: RealMesh) -> None:
    client = calm.connect()
    calls = [client.submit(time.sleep, 100) for _ in range(5)]
    at_once = client.submit(operator.add, 1, 1)
    client.close()
    for future in [*calls, at_once]:
        with pytest.raises(CallFailed, match="was closed"):
            future.result(5.0)
    with pytest.raises(RuntimeError, match="closed"):
        client.submit(abs, 1)
    eventually(lambda: calm.running_count() == 0, "the node ends them", 1.9)


def test_a_call_that_is_made_while_the_client_is_closed_is_settled(calm: RealMesh) -> None:
    client = calm.connect()
    client.submit(abs, -1).result(10.0)
    made: list[Any] = []

    def submit() -> None:
        while True:
            try:
                made.append(client.submit(abs, -1))
            except RuntimeError:
                return

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    client.close()
    for thread in threads:
        thread.join(10.0)
    outcomes = [future.exception(5.0) for future in made]
    assert all(each is None or isinstance(each, CallFailed) for each in outcomes)


def test_two_clients_share_a_node(calm: RealMesh, client: Client) -> None:
    with calm.connect() as other:
        mine, others = client.map(time.sleep, [0.01] * 250), other.map(time.sleep, [0.01] * 250)
        client.gather(mine)
        assert sum(future.done() for future in others) > 30
        other.gather(others)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # a fork of threads, from 3.12 on
def test_a_fork_of_a_client_is_told_to_make_its_own(client: Client) -> None:
    assert client.submit(abs, -1).result(10.0) == 1
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client.submit(abs, -1)
        except UsageError as problem:
            os.write(writing, str(problem).encode())
        client.close()
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert b"forked" in pipe.read()
    assert client.submit(abs, -2).result(10.0) == 2


def test_what_calls_print_is_printed_here(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    client.submit(print, "so käse", flush=True).result(10.0)
    said: list[str] = []

    def look() -> bool:
        sys.stdout.flush()
        said.append(capfd.readouterr().out)
        return "".join(said) == "so käse\n"

    eventually(look, "it is printed", 5.0)


def test_a_queue_that_no_node_serves_is_told_of_and_calls_go_on_when_one_does(
    calm: RealMesh, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_thread, "_WARN_AFTER", 2)
    future = client.options(queue="gpu").submit(abs, -5)
    with caplog.at_level(logging.WARNING, "meshflow.calls"):
        (said,) = eventually(lambda: caplog.messages, "the program is told")
    assert "1 calls wait for a node that serves the queue 'gpu'" in said
    assert "a serves workflow, dag, task" in said
    calm.start("gpu", queues=["gpu"])
    assert future.result(15.0) == 5
    calm.stop("gpu")


def test_the_key_of_the_mesh_is_changed_while_calls_run(mesh: RealMesh) -> None:
    mesh.start("a")
    mesh.await_ready()
    with mesh.connect() as client, mesh.connect() as idle:
        assert idle.submit(abs, -1).result(10.0) == 1
        made = 0
        rotated = threading.Event()

        def rotate() -> None:
            assert mesh.cli("key", "rotate").returncode == 0
            rotated.set()

        thread = threading.Thread(target=rotate)
        thread.start()
        while not rotated.is_set() or made % 5:
            assert client.gather(client.map(shared_square, range(100))) == [each * each for each in range(100)]
            made += 1
        thread.join()
        assert client.options(at_most_once=True).submit(abs, -2).result(10.0) == 2
        assert idle.options(at_most_once=True).submit(abs, -3).result(10.0) == 3


def test_calls_wait_for_a_mesh_that_is_started_anew(
    mesh: RealMesh, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_thread, "_WARN_AFTER", 1)
    mesh.start("a")
    mesh.await_ready()
    with mesh.connect() as client:
        assert client.submit(abs, -1).result(10.0) == 1
        mesh.kill("a")
        future = client.submit(abs, -2)
        eventually(lambda: "no node answers" in caplog.text, "the program is told")
        mesh.start("a")
        assert future.result(20.0) == 2


# --- runs ---

WORKFLOW = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask

def give(data, store, signal, context):
    data["small"] = 7
    return None

def give_much(data, store, signal, context):
    data["large"] = bytes(200_000)

def fail(data, store, signal, context):
    raise ValueError("no such luck")

d = Dag("main_dag")
small, large, bad = PythonTask("small", give), PythonTask("large", give_much), PythonTask("bad", fail)
d.define({small: None, large: None, bad: None})
"""


def test_a_program_gets_what_the_tasks_of_a_run_handed_on(calm: RealMesh) -> None:
    """What is large goes with a run that has completed; others keep it for a retry."""
    completing = WORKFLOW.replace('raise ValueError("no such luck")', "pass")
    kept, dropped = calm.submit(calm.write("failing.py", WORKFLOW)), calm.submit(calm.write("giving.py", completing))
    assert (kept.wait(20.0), dropped.wait(20.0)) == (State.FAILED, State.COMPLETED)
    assert kept.result("small")["small"] == 7
    assert dropped.result("small", "main_dag:1")["small"] == 7
    assert len(kept.result("large")["large"]) == 200_000
    for run, task, text in (
        (dropped, "large", "keep_data"),
        (kept, "bad", "no such luck"),
        (kept, "other", "no task 'other'"),
    ):
        with pytest.raises(NotFound, match=text):
            run.result(task)
