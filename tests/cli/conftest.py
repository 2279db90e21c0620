"""The command line on a fake mesh."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meshflow.cli.app import cli
from meshflow.mesh import Mesh
from tests.client.fake_mesh import FakeMesh

Run = Callable[..., Result]


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


@pytest.fixture
def run(mesh: FakeMesh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("submit", "simple")`: the command line, in an empty folder, with the fake mesh as its mesh."""

    def open_fake(*_: object) -> Mesh:
        return mesh.connect()

    import os

    for name in os.environ:
        if name.startswith(("MESHFLOW_", "LIGHTFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("meshflow.connect.open_mesh", open_fake)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, **more: Any) -> Result:
        return CliRunner().invoke(cli, list(arguments), prog_name="meshflow", **more)

    return call


def document(result: Result) -> dict[str, Any]:
    """The one JSON document that a command printed."""
    content: dict[str, Any] = json.loads(result.stdout)
    assert {"kind", "v", "id"} <= set(content)
    return content
