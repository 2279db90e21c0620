"""Meshes of real processes for the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshflow.client import Client
from tests.system.network import hosts
from tests.system.real_mesh import RealMesh

__all__ = ["MakeMesh", "calm", "calm_pair", "client", "hosts", "make_mesh", "mesh"]

MakeMesh = Callable[..., RealMesh]


@pytest.fixture
def make_mesh(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeMesh]:
    """Makes a mesh without nodes: `make_mesh("name")`; all are ended after the test."""
    meshes: list[RealMesh] = []

    def make(name: str = "mesh", **more: object) -> RealMesh:
        meshes.append(RealMesh(tmp_path / name, **more))  # type: ignore[arg-type]
        return meshes[-1]

    yield make
    for mesh in meshes:
        mesh.close()
        print(mesh.logs())  # pytest shows it if the test failed


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """One node with two slots, for all tests of a file that do it no harm."""
    yield from _running(tmp_path_factory, "a")


@pytest.fixture(scope="module")
def calm_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMesh]:
    """The same with two such nodes."""
    yield from _running(tmp_path_factory, "a", "b")


def _running(folders: pytest.TempPathFactory, *names: str) -> Iterator[RealMesh]:
    mesh = RealMesh(folders.mktemp("calm") / "mesh")
    try:
        for name in names:
            mesh.start(name)
        mesh.await_ready()
        yield mesh
    finally:
        mesh.close()
        print(mesh.logs())


@pytest.fixture
def client(calm: RealMesh) -> Iterator[Client]:
    """A client of that node."""
    with calm.connect() as client:
        yield client


@pytest.fixture
def mesh(make_mesh: MakeMesh) -> RealMesh:
    """A mesh without nodes."""
    return make_mesh()
