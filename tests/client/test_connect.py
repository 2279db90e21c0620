"""Which nodes a client of given settings talks to."""

from pathlib import Path

import pytest

from meshflow.connect import open_mesh
from meshflow.ids import NodeId
from meshflow.mesh import NoMesh
from meshflow.runtime.address import BadAddress
from meshflow.runtime.folder import runtime_folder
from meshflow.settings import MeshSettings, Settings


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Folders of the test's own."""
    return {"MESHFLOW_RUNTIME_DIR": str(tmp_path / "run"), "MESHFLOW_STATE_DIR": str(tmp_path / "state")}


def tried(settings: Settings, environ: dict[str, str], connect: str | None = None) -> list[str]:
    mesh = open_mesh(settings, connect, environ)
    return mesh._known_addresses()


def test_the_nodes_of_this_host_come_first_then_those_to_join(environ: dict[str, str]) -> None:
    runtime_folder("default", environ).register(NodeId("ab" * 8), "alice", "tcp://127.0.0.1:4001", 1.0)
    settings = Settings(mesh=MeshSettings(join=("192.0.2.7:4000",)))
    assert tried(settings, environ) == ["tcp://127.0.0.1:4001", "tcp://192.0.2.7:4000"]


def test_a_node_that_is_named_goes_before_all_others(environ: dict[str, str]) -> None:
    runtime_folder("default", environ).register(NodeId("ab" * 8), "alice", "tcp://127.0.0.1:4001", 1.0)
    settings = Settings(mesh=MeshSettings(connect="192.0.2.7:4000"))
    assert tried(settings, environ) == ["tcp://192.0.2.7:4000"]
    assert tried(settings, environ, "192.0.2.8:4000") == ["tcp://192.0.2.8:4000"]


def test_two_names_are_two_meshes(environ: dict[str, str]) -> None:
    runtime_folder("default", environ).register(NodeId("ab" * 8), "alice", "tcp://127.0.0.1:4001", 1.0)
    assert tried(Settings(mesh=MeshSettings(name="other")), environ) == []


def test_what_is_no_address_is_refused_at_once(environ: dict[str, str]) -> None:
    with pytest.raises(BadAddress, match="'nowhere'"):
        open_mesh(Settings(), "nowhere", environ)


def test_a_port_where_nobody_listens_is_no_mesh(environ: dict[str, str]) -> None:
    with pytest.raises(NoMesh, match=r"no node answers at 'tcp://127\.0\.0\.1:1'"):
        open_mesh(Settings(), "127.0.0.1:1", environ).connect()
