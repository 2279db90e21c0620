"""The embedded store under several processes, and under kill -9."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshflow.core.records import Batch
from meshflow.core.requests import GetField, ReadLog
from meshflow.ids import RunId
from meshflow.store.sqlite import SqliteStore
from tests.store.contract_base import RUN, ask, create

pytestmark = pytest.mark.system

PROCESSES = ("a", "b", "c", "d")
ROOT = Path(__file__).parents[2]


def hammer(path: Path, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.store.hammer", str(path), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def outcome(process: "subprocess.Popen[str]") -> list[str]:
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed.split()


def test_of_many_processes_that_append_at_one_place_exactly_one_wins(tmp_path: Path) -> None:
    """All of them make the file and race for each place of one log."""
    path, count = tmp_path / "new" / "store.sqlite", 100
    processes = [hammer(path, name, "append", count) for name in PROCESSES]
    won = [outcome(process) for process in processes]
    assert sorted(int(seq) for each in won for seq in each) == list(range(count))
    store = SqliteStore(path)
    log = ask(store, ReadLog(RUN))
    store.close()
    assert isinstance(log, tuple)
    assert [entry.token for entry in log] == [
        next(name for name, each in zip(PROCESSES, won, strict=True) if str(seq) in each) for seq in range(count)
    ]


def test_pushes_of_many_processes_are_all_there_and_each_once(tmp_path: Path) -> None:
    path, count = tmp_path / "store.sqlite", 50
    store = SqliteStore(path)
    ask(store, create())
    for process in [hammer(path, name, "push", count) for name in PROCESSES]:
        assert outcome(process) == ["done"]
    answer = ask(store, GetField(RUN, "data", "list"))
    store.close()
    assert isinstance(answer, tuple)
    assert sorted(answer[1]) == sorted(f"{name}-{number}" for name in PROCESSES for number in range(count))


def test_what_was_answered_before_kill_9_is_there_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    victims = {name: hammer(path, name, "forever") for name in PROCESSES[:2]}
    answered: dict[str, int] = {}
    for name, victim in victims.items():
        assert victim.stdout is not None
        for _ in range(50):
            answered[name] = int(victim.stdout.readline())
        victim.send_signal(signal.SIGKILL)
        with victim:
            answered[name] = [answered[name], *map(int, victim.stdout.read().split())][-1]
    store = SqliteStore(path)
    for name, last in answered.items():
        log = ask(store, ReadLog(RunId(f"{RUN}/{name}")))
        assert isinstance(log, tuple)
        assert all(isinstance(entry, Batch) for entry in log)
        # The batch after the last one that was answered may be there or not; nothing else may be missing or be there.
        assert [entry.seq for entry in log] in (list(range(last + 1)), list(range(last + 2)))
    store.close()
