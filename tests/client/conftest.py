"""A fake mesh, and a client of it."""

from collections.abc import Iterator

import pytest

from meshflow.client import Client
from meshflow.config import Config
from tests.client.fake_mesh import FakeMesh


@pytest.fixture
def mesh() -> FakeMesh:
    return FakeMesh()


@pytest.fixture
def client(mesh: FakeMesh) -> Iterator[Client]:
    with Client(Config(), mesh=mesh.connect()) as client:
        yield client
