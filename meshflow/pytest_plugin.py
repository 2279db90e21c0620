"""Fixtures for tests that use a mesh. pytest finds them by itself where MeshFlow is installed.

    def test_squares(mesh):
        assert mesh.gather(mesh.map(lambda x: x * x, range(3))) == [0, 1, 4]

One local mesh serves all tests of a session, and starts with the first that asks for it. With pytest-xdist each worker
has its own. It is private: neither settings nor a mesh of the host are touched, and nothing is left behind.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from meshflow.client import Client

_DEFAULT_SLOTS = 2
"""As many as show that calls run side by side; tests that calculate for long are not worth more."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest of `--mesh-slots` and the setting `mesh_slots`."""
    told = "calls and tasks that the mesh of the fixture `mesh` runs at a time"
    parser.getgroup("meshflow").addoption("--mesh-slots", type=int, metavar="COUNT", help=told)
    parser.addini("mesh_slots", told, default=str(_DEFAULT_SLOTS))


@pytest.fixture(scope="session")
def mesh_slots(request: pytest.FixtureRequest) -> int:
    """How many calls and tasks the mesh of `mesh` runs at a time: `--mesh-slots`, or `mesh_slots` in pytest's settings;
    2 unless one is given. A `conftest.py` may have a fixture of this name in its place."""
    given = request.config.getoption("--mesh-slots")
    slots = int(request.config.getini("mesh_slots") if given is None else given)
    if slots < 1:
        raise pytest.UsageError(f"a mesh needs at least one slot, and --mesh-slots or mesh_slots says {slots}")
    return slots


@pytest.fixture(scope="session")
def mesh(mesh_slots: int) -> "Iterator[Client]":
    """A client of a mesh on this machine, with the queues `workflow`, `dag` and `task`."""
    from meshflow.local_mesh import local

    with local(mesh_slots) as client:
        yield client
