"""Strangers at the port of a node do not keep the mesh from working (`python -m tests.siege` has the long version)."""

import os

import pytest

from tests.siege import Siege, besiege, descriptor_count, run_one
from tests.system.conftest import MakeMesh
from tests.system.real_mesh import eventually

pytestmark = pytest.mark.system

SECONDS = 180.0 if os.environ.get("MESHFLOW_LONG") else 5.0
COUNT = 300
MEMORY_MB = 200.0
"""More than strangers of this siege send in the time that each is given."""


def test_a_mesh_under_siege_works_as_in_peace(make_mesh: MakeMesh) -> None:
    mesh = make_mesh()
    for name in ("one", "two"):
        mesh.start(name)
        mesh.await_ready(name)
    outcome = besiege(mesh, "one", SECONDS, COUNT)
    assert outcome.connected > COUNT
    assert sorted(outcome.siege_s)[len(outcome.siege_s) // 2] < outcome.peace_s + 1.0, outcome
    before, most, after = outcome.descriptors
    assert most <= before + COUNT + 100, outcome
    assert after <= before + 20, outcome
    assert outcome.memory_mb[1] < outcome.memory_mb[0] + MEMORY_MB, outcome
    assert mesh.log("one").read_text() == ""


def test_a_crowd_that_is_too_large_waits_outside(make_mesh: MakeMesh) -> None:
    """Whatever comes, the descriptors are there for tasks; who is inside goes on, and later others get in."""
    mesh = make_mesh(environment={"MESHFLOW_LIMITS__MAX_CONNECTIONS": "32"})
    for name in ("one", "two"):
        mesh.start(name)
        mesh.await_ready(name)
    one = next(report.member for report in mesh.await_nodes(2) if report.member.name == "one")
    before = descriptor_count(one.pid)
    with Siege(one.address, COUNT):
        log = mesh.log("one")
        eventually(lambda: "this node has 32 connections and takes in no more" in log.read_text(), "it says so")
        run_one(mesh)
        # Those who were in the backlog when it closed are in too, until they have failed to prove themselves.
        eventually(lambda: descriptor_count(one.pid) < before + 2 * 32 + 50, "no more are taken in")
    late = mesh.connect()
    eventually(lambda: any(report.member.name == "one" and report.status for report in late.nodes()), "others get in")
    late.close()
    assert log.read_text().count("takes in no more") == 1
