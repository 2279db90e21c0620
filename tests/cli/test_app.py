"""How commands are found, helped with and reported on."""

import json
import subprocess
import sys
import types

import click
import pytest

from meshflow.cli.app import COMMANDS
from meshflow.cli.exit_codes import MEANINGS, ExitCode, of_error, of_state
from meshflow.core.records import State
from meshflow.errors import (
    ConfigLoadError,
    StoreUnavailable,
    WorkflowArgumentError,
    WorkflowImportError,
    WorkflowNotFound,
)
from meshflow.mesh import Mesh, NoMesh
from meshflow.references import NotFound, WaitTimeout
from meshflow.runtime.transport.problems import WrongKey
from meshflow.settings import Settings
from tests.cli.conftest import Run
from tests.client.fake_mesh import FakeMesh


def test_help_shows_every_command_in_its_section_but_lightflows_spellings(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert (f"  {name} " in result.stdout) == bool(entry.section), name
    assert run("-h").stdout == result.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(run: Run, name: str) -> None:
    result = run(name, "-h")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: meshflow {name}")


def test_help_imports_nothing_but_click() -> None:
    """Start-up time is felt; measuring it here would be flaky, so what costs the time is looked for instead."""
    heavy = ("zmq", "yaml", "msgpack", "cloudpickle", "pymongo", "networkx", "asyncio", "multiprocessing")
    script = (
        "import sys\nfrom meshflow.cli import main\nsys.argv = ['meshflow', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


def test_a_mistyped_command_is_answered_with_the_one_meant(run: Run) -> None:
    result = run("staus")
    assert result.exit_code == ExitCode.USAGE
    assert "did you mean 'status'?" in result.stderr


def test_without_a_command_help_is_shown(run: Run) -> None:
    assert "Start here:" in run().output


def test_errors_are_one_sentence_on_stderr_with_the_next_step(run: Run, mesh: FakeMesh) -> None:
    mesh.nodes.clear()
    result = run("nodes")
    assert result.exit_code == ExitCode.NO_MESH
    assert result.stdout == ""
    first, second = result.stderr.splitlines()
    assert first == "error: no mesh found: no node runs on this host"
    assert "meshflow node" in second


def test_with_json_errors_are_json_too(run: Run, mesh: FakeMesh) -> None:
    mesh.nodes.clear()
    result = run("nodes", "-o", "json")
    problem = json.loads(result.stderr)
    assert (problem["kind"], problem["code"], problem["exit_code"]) == ("error", "no_mesh", 5)
    assert (problem["v"], problem["id"]) == (1, None)
    assert result.exit_code == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoMesh("x"), 5),
        (WrongKey("tcp://192.0.2.1:1"), 9),
        (NotFound("x"), 4),
        (WorkflowNotFound("x"), 4),
        (WaitTimeout("x"), 6),
        (WorkflowImportError("x"), 8),
        (WorkflowArgumentError("x"), 8),
        (ConfigLoadError("x"), 2),
        (StoreUnavailable("x"), 1),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert of_error(error) == code


def test_the_exit_code_of_a_run_is_zero_only_if_it_completed() -> None:
    assert {state: int(of_state(state)) for state in State if state.is_final} == {
        State.COMPLETED: 0,
        State.SKIPPED: 3,
        State.STOPPED: 7,
        State.CANCELLED: 7,
        State.ABORTED: 3,
        State.FAILED: 3,
        State.LOST: 3,
    }


def test_every_exit_code_is_explained(run: Run) -> None:
    assert list(MEANINGS) == list(ExitCode)
    text = run("help", "exit-codes").stdout
    assert all(f"{code.value}  {code.name.lower()}" in text for code in ExitCode)


@pytest.mark.parametrize("topic", [("json",), ("refs",), ("submit",), ("config", "show")])
def test_help_has_topics(run: Run, topic: tuple[str, ...]) -> None:
    assert run("help", *topic).exit_code == 0


def test_help_on_an_unknown_topic_is_a_usage_error(run: Run) -> None:
    assert run("help", "moon").exit_code == ExitCode.USAGE


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").stdout.startswith("MeshFlow, version ")
    assert run("version").stdout.startswith("MeshFlow, version ")
    assert json.loads(run("version", "-o", "json").stdout)["kind"] == "version"


def test_global_options_are_accepted_before_and_after_the_command(run: Run) -> None:
    for arguments in (("-c", "gone.yml", "nodes"), ("nodes", "-c", "gone.yml")):
        result = run(*arguments)
        assert result.exit_code == ExitCode.USAGE
        assert "'gone.yml' cannot be read" in result.stderr


def test_the_node_to_talk_to_can_be_named_anywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def open_mesh(settings: Settings, connect: str | None) -> Mesh:
        asked.append(connect or settings.mesh.connect)
        raise NoMesh("nobody")

    monkeypatch.setattr("meshflow.connect.open_mesh", open_mesh)
    for arguments in (
        ("--connect", "a:1", "nodes"),
        ("nodes", "--connect", "a:1"),
        ("worker", "status", "--connect", "a:1"),
    ):
        assert run(*arguments).exit_code == ExitCode.NO_MESH
    assert asked == ["a:1"] * 3


def test_an_extension_may_bring_a_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def greet() -> None:
        click.echo("hello")

    point = types.SimpleNamespace(name="greet", load=lambda: greet)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group, name: [point] if name == "greet" else [])
    assert run("greet").stdout == "hello\n"


def test_old_sections_are_noted_once(run: Run) -> None:
    from pathlib import Path

    Path("lightflow.cfg").write_text("celery: {x: 1}\nsignal: {y: 1}\n")
    result = run("nodes")
    assert result.exit_code == 0
    assert result.stderr.count("celery, signal have no effect here") == 1
