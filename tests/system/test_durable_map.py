"""`Client.map_durable`: calls that are made even if their client is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshflow.client import Client
from meshflow.durable import RunFailed
from tests.system.real_mesh import RealMesh

pytestmark = pytest.mark.system


def doubled(number: int) -> int:
    return 2 * number


def die_once(number: int, path: str) -> int:
    """The process ends in the first attempt at 5."""
    if number == 5 and not Path(path).exists():
        Path(path).touch()
        os._exit(1)
    return number


def die(number: int) -> int:
    os._exit(number)


def test_many_calls_are_made_in_few_tasks_and_come_back_in_order(client: Client) -> None:
    run = client.map_durable(doubled, range(3000), calls_per_task=100)
    assert run.results(60.0) == list(range(0, 6000, 2))
    assert (run.name, run.record.total) == ("doubled", 30)


def test_large_results_are_kept(client: Client) -> None:
    assert client.map_durable(bytes, [1_000_000, 3]).results(60.0) == [bytes(1_000_000), bytes(3)]


def test_calls_whose_process_dies_are_made_again(client: Client, tmp_path: Path) -> None:
    run = client.map_durable(die_once, range(10), [str(tmp_path / "died")] * 10, calls_per_task=10)
    assert run.results(60.0) == list(range(10))


def test_a_call_that_always_kills_its_process_fails_the_run(client: Client) -> None:
    run = client.map_durable(die, [7], retries=0)
    with pytest.raises(RunFailed, match=r"task '0-0' failed: the task process exited with code 7"):
        run.results(60.0)


def test_calls_are_made_when_their_client_has_died(calm: RealMesh, client: Client) -> None:
    program = (
        "import os; from meshflow.client import Client\n"
        "print(Client().map_durable(lambda x: x + 1, range(500)).id, flush=True); os._exit(1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=calm.environment, cwd=calm.work, capture_output=True, text=True, timeout=60
    )
    assert client.run(ended.stdout.strip()).results(60.0) == list(range(1, 501)), ended.stderr
