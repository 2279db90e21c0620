"""The example programs, each as its story says it is run; and what a type checker says of a program of a user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = REPOSITORY / "meshflow" / "examples" / "programs"

TYPED = """
import asyncio
from collections.abc import Awaitable, Iterator
from concurrent.futures import Future
from typing import assert_type

import meshflow
from meshflow.async_calls import AsyncFuture
from meshflow.async_run_handle import AsyncRunHandle
from meshflow.core.records import State
from meshflow.models.wiring import Handle


def half(number: int) -> float:
    return number / 2


with meshflow.Executor(2, initializer=print, initargs=("ready",)) as executor:
    assert_type(executor.submit(half, 3), Future[float])
    assert_type(executor.map(half, [1, 2], timeout=1.0), Iterator[float])
    executor.submit(half, "three")  # wrong


@meshflow.task(retries=2, cache=True)
def fit(number: int, *, scale: float = 1.0) -> float:
    return number * scale


@meshflow.workflow
def fitting() -> None:
    assert_type(fit(3), Handle[float])
    assert_type(fit.map([1, 2], scale=2.0), Handle[list[float]])
    fit.map([1, 2]).append(3)  # wrong


with meshflow.Client() as client:
    assert_type(client.options(cache=True).submit(half, 3).is_cached, bool)
    assert_type(client.options(cache=True).map(half, [3])[0].result(), float)


async def main() -> None:
    async with meshflow.AsyncClient(connect="host:1") as client:
        assert_type(client.submit(half, 3), AsyncFuture[float])
        assert_type(await client.submit(half, 3), float)
        assert_type(await client.map(half, [1]), list[AsyncFuture[float]])
        assert_type(await client.gather(await client.map(half, [1])), list[float])
        assert_type(client.submit("simple", {"a": 1}), Awaitable[AsyncRunHandle])
        assert_type(await (await client.submit("simple")).wait(), State)
        async for future in client.as_completed(await client.map(half, [1])):
            assert_type(future.result(), float)
        async for line in (await client.run()).logs(follow=True):
            assert_type(line.text, str)
        client.submit(half, "three")  # wrong


asyncio.run(main())
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No mesh runs here, and programs find this package."""
    folders = {f"MESHFLOW_{name}_DIR": str(tmp_path) for name in ("RUNTIME", "STATE")}
    plugin = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "meshflow.pytest_plugin"}
    return {**os.environ, **folders, **plugin, "PYTHONPATH": str(REPOSITORY)}


def output(arguments: list[str], environment: dict[str, str], folder: Path) -> list[str]:
    """The lines that a Python program printed, which ended well."""
    ended = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.splitlines()


def test_executor(environment: dict[str, str], tmp_path: Path) -> None:
    lines = output([str(PROGRAMS / "executor.py")], environment, tmp_path)
    found = [line.rpartition(" ")[2] for line in lines[:5]]
    assert found == ["True", "True", "True", "True", "False"]
    assert sorted(lines[5:]) == ["No root: math domain error", "Root: 3.0", "Root: 4.0"]


def test_async_client(environment: dict[str, str], tmp_path: Path) -> None:
    assert output([str(PROGRAMS / "async_client.py")], environment, tmp_path) == [
        "One: 1",
        "All: [0, 1, 4, 9]",
        "Next: 0",
        "Next: 9",
        "The call was ended",
    ]


def test_durable_map(environment: dict[str, str], tmp_path: Path) -> None:
    lines = output([str(PROGRAMS / "durable_map.py")], environment, tmp_path)
    assert lines[:2] == ["Submitted: roots", "Sum: 666616"]
    assert lines[2].startswith("Errors: ['2.0', \"unsupported operand")


def test_with_mesh(environment: dict[str, str], tmp_path: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path)]
    lines = output(["-m", "pytest", *options, str(PROGRAMS / "test_with_mesh.py")], environment, tmp_path)
    assert lines[-1].startswith("2 passed")


def test_every_program_is_tried() -> None:
    tests = [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    assert {path.stem.removeprefix("test_") for path in PROGRAMS.glob("*.py")} <= {*tests}


@pytest.mark.slow
def test_a_program_of_a_user_is_checked_by_types(tmp_path: Path) -> None:
    """mypy finds all as asserted, and the two mistakes."""
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(TYPED)
    environment = {**os.environ, "MYPYPATH": str(REPOSITORY)}
    ended = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    wrong = [f"program.py:{number}" for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# wrong")]
    found = [line.partition(": ")[0] for line in ended.stdout.splitlines() if ": error: " in line]
    assert found == wrong, ended.stdout + ended.stderr
