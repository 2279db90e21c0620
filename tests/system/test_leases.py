"""Calls that task processes of the own host make directly: what may happen to these, to nodes and to clients."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from meshflow.caller_thread import CallFailed
from meshflow.client import Client
from meshflow.core.caller import Caller
from meshflow.core.records import State
from tests.system.real_mesh import RealMesh, eventually, is_running

numpy = pytest.importorskip("numpy")

pytestmark = pytest.mark.system

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # task processes need not import the tests

PROGRAM = """
import sys, time
from meshflow.client import Client
client = Client()
client.gather(client.map(abs, range(100)))
futures = [client.submit(time.sleep, 1.0) for _ in range(20)]
while not all(future.running() for future in futures[:2]):
    time.sleep(0.01)
time.sleep(0.1)
print("called", flush=True)
time.sleep(100)
"""

WORKFLOW = """
from meshflow.models import Dag
from meshflow.tasks import PythonTask
d = Dag("main_dag")
d.define({PythonTask("quick", lambda data, store, signal, context: None): None})
"""


def caller_of(client: Client) -> Caller:
    """The machine in the client."""
    thread: Any = client.calling._calls.start()
    caller: Caller = thread._caller
    return caller


def fed_count(client: Client) -> int:
    """Packets that leases of this client were fed."""
    return caller_of(client)._leases._last_packet


def squared(number: int) -> int:
    time.sleep(0.001)
    return number * number


def say_and_sleep(path: str, seconds: float = 60.0) -> int:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


def pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


# --- task processes and nodes that are killed ---


def test_calls_of_the_own_host_go_by_lease_and_those_with_a_timeout_do_not(client: Client) -> None:
    assert client.gather(client.map(squared, range(500))) == [number * number for number in range(500)]
    fed = fed_count(client)
    assert fed > 0
    assert client.options(timeout_s=10.0).submit(squared, 3).result(10.0) == 9
    assert fed_count(client) == fed


def test_a_call_whose_process_is_killed_fails_alone(client: Client, tmp_path: Path) -> None:
    victim = client.submit(say_and_sleep, str(tmp_path / "pid"))
    others = client.map(squared, range(500))
    (pid,) = eventually(lambda: pids(tmp_path / "pid"), "the call runs")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(CallFailed, match="say_and_sleep"):
        victim.result(10.0)
    assert client.gather(others) == [number * number for number in range(500)]


def dies_once(path: str, number: int) -> int:
    if number == 50:
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        if len(pids(Path(path))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_of_calls_that_were_fed_together_only_that_fails_which_kills_its_process(
    client: Client, tmp_path: Path
) -> None:
    client.gather(client.map(abs, range(2000)))
    path = str(tmp_path / "pids")
    outcomes: list[Any] = client.gather(client.map(dies_once, [path] * 100, range(100)), return_exceptions=True)
    assert [each for each in outcomes if not isinstance(each, CallFailed)] in (
        list(range(100)),  # It was made again, by itself.
        [number for number in range(100) if number != 50],
    )


def test_a_process_that_a_call_forked_answers_nothing_and_takes_nothing(client: Client) -> None:
    def forks(number: int) -> int:
        return -1 if number % 50 == 7 and os.fork() == 0 else number

    for _ in range(3):
        assert client.gather(client.map(forks, range(200))) == list(range(200))


def test_calls_go_on_when_one_of_two_nodes_is_killed_and_wait_when_the_other_is_too(mesh: RealMesh) -> None:
    for name in ("a", "b"):
        mesh.start(name)
    mesh.await_ready()
    mesh.await_nodes(2)
    with mesh.connect() as client:
        calls = client.map(squared, range(6000))
        calls[500].result(20.0)
        mesh.kill("a")
        eventually(lambda: calls[3000].done(), "the other makes them")
        mesh.kill("b")
        mesh.start("c")
        mesh.await_ready("c")
        assert client.gather(calls) == [number * number for number in range(6000)]


# --- who waits for whom ---


def test_a_long_call_holds_up_none_of_the_short_ones(client: Client, tmp_path: Path) -> None:
    long = client.submit(say_and_sleep, str(tmp_path / "pid"), 4.0)
    eventually(lambda: pids(tmp_path / "pid"), "the long one runs")
    began_at = time.monotonic()
    assert client.gather(client.map(squared, range(300))) == [number * number for number in range(300)]
    assert time.monotonic() - began_at < 3.0
    assert not long.done()
    long.result(10.0)


def sleep_if(number: int, path: str) -> float:
    if number == 2_000:
        time.sleep(3.0)
    with open(path, "a") as file:
        file.write(f"{number}\n")
    return time.monotonic()


def test_a_long_call_among_short_ones_holds_up_none_that_was_fed_with_it(client: Client, tmp_path: Path) -> None:
    """Also those of its own packet, and each is made once."""
    path = str(tmp_path / "made")
    client.gather(client.map(sleep_if, range(1000), [path] * 1000))
    calls = client.map(sleep_if, range(1000, 5000), [path] * 4000)
    ends = client.gather(calls)
    long = ends.pop(1000)
    assert max(ends) < long - 1.0
    assert sorted(pids(tmp_path / "made")) == list(range(5000))


def test_two_clients_share_a_node_by_turns(calm: RealMesh, client: Client) -> None:
    with calm.connect() as other:
        mine, others = client.map(time.sleep, [0.005] * 600), other.map(time.sleep, [0.005] * 600)
        client.gather(mine)
        assert sum(future.done() for future in others) > 100
        other.gather(others)


def test_a_workflow_is_not_held_up_by_a_client_that_always_has_calls(calm: RealMesh, client: Client) -> None:
    path = calm.write("quick.py", WORKFLOW)
    calls = client.map(time.sleep, [0.01] * 4000)
    calls[10].result(10.0)
    assert calm.submit(path).wait(8.0) is State.COMPLETED
    assert not calls[-1].done()
    client.cancel(calls)


# --- who ends ---


def test_a_call_that_runs_is_cancelled_with_its_process_and_others_are_made(client: Client, tmp_path: Path) -> None:
    victims = [client.submit(say_and_sleep, str(tmp_path / name)) for name in ("one", "two")]
    waiting = client.map(squared, range(50))
    one, two = (eventually(lambda: pids(tmp_path / name), "it runs")[0] for name in ("one", "two"))  # noqa: B023
    client.cancel(victims[:1])
    with pytest.raises(CancelledError):
        victims[0].result(5.0)
    eventually(lambda: not is_running(one), "its process ends", 5.0)
    assert client.gather(waiting) == [number * number for number in range(50)]
    assert is_running(two)
    assert not victims[1].done()
    client.cancel(victims)
    eventually(lambda: not is_running(two), "its process ends", 5.0)


def test_a_client_that_is_killed_leaves_no_process_busy(calm: RealMesh) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=calm.environment, stdout=subprocess.PIPE, cwd=calm.work
    )
    assert program.stdout is not None
    with program.stdout:
        assert program.stdout.readline() == b"called\n"
        assert calm.running_count() == 2
        program.kill()
        program.wait(5.0)
    eventually(lambda: calm.running_count() == 0, "they end after the call that runs", 5.0)


# --- large values ---


def test_a_large_array_goes_there_and_back(client: Client) -> None:
    array = numpy.arange(6_250_000, dtype="f8")
    assert (client.submit(lambda each: each + 1, array).result(20.0) == array + 1).all()


def test_arguments_too_large_for_a_message_are_no_problem_on_the_own_host(client: Client) -> None:
    assert client.submit(len, bytes(70 * 1024 * 1024)).result(30.0) == 70 * 1024 * 1024


def test_thousands_of_arrays_may_be_held_at_once(client: Client) -> None:
    """More than a program may have descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    arrays = client.gather(client.map(lambda number: numpy.full(12_800, number, "f8"), range(2000)))
    assert [float(array[-1]) for array in arrays] == list(map(float, range(2000)))
    echoed = client.gather(client.map(lambda array: array, arrays))
    assert all((one == other).all() for one, other in zip(arrays, echoed, strict=True))
    del arrays, echoed
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 20, "descriptors are let go of", 5.0)


def change_and_die_once(array: Any, path: str) -> float:
    array += 1
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(pids(Path(path))) == 1:
        time.sleep(60.0)
    return float(array.sum())


def test_a_call_that_is_made_again_sees_its_arguments_as_they_were(mesh: RealMesh, tmp_path: Path) -> None:
    mesh.start("a", slots=1)
    mesh.await_ready()
    with mesh.connect() as client:
        array = numpy.zeros(100_000)
        future = client.submit(change_and_die_once, array, str(tmp_path / "pids"))
        eventually(lambda: pids(tmp_path / "pids"), "it runs")
        mesh.kill("a")
        mesh.start("b", slots=1)
        assert future.result(30.0) == 100_000.0
        assert not array.any()


# --- where there is no way ---


def test_where_sockets_of_the_host_do_not_reach_calls_go_through_the_mesh(client: Client) -> None:
    """As from another network namespace: names of sockets are not seen there."""
    caller = caller_of(client)
    caller.leasing.door = "\0meshflow-somewhere-else"
    fed = fed_count(client)
    assert client.gather(client.map(squared, range(200))) == [number * number for number in range(200)]
    assert fed_count(client) == fed
    with pytest.raises(CallFailed, match="max_message_bytes"):
        client.submit(len, bytes(70 * 1024 * 1024)).result(30.0)
