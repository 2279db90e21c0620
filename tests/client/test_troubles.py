"""What a person should know about a mesh."""

from dataclasses import replace

from meshflow.core.member import Member, Status
from meshflow.core.records import State
from meshflow.ids import NodeId
from meshflow.mesh import NodeReport
from meshflow.troubles import find_troubles, waiting_by_queue
from tests.client.fake_mesh import FakeMesh
from tests.client.run_stories import RECORD


def reports(mesh: FakeMesh) -> list[NodeReport]:
    return mesh.connect().nodes()


def codes(mesh: FakeMesh, *jobs: object) -> list[str]:
    return [trouble.code for trouble in find_troubles(reports(mesh), jobs)]  # type: ignore[arg-type]


def test_a_healthy_mesh_has_none(mesh: FakeMesh) -> None:
    assert codes(mesh, RECORD) == []


def test_jobs_on_a_queue_that_nobody_serves_are_told_with_the_command(mesh: FakeMesh) -> None:
    mesh.alice.waiting = {"gpu": 3, "task": 1}
    [trouble] = find_troubles(reports(mesh), [])
    assert trouble.code == "no_node_for_queue"
    assert trouble.text == "3 jobs wait on queue 'gpu', which no node serves"
    assert trouble.fix == "meshflow node --queues gpu"


def test_a_draining_or_dead_node_serves_nothing(mesh: FakeMesh) -> None:
    mesh.alice.waiting = {"task": 1}
    mesh.bob.member = replace(mesh.bob.member, is_draining=True)
    assert codes(mesh) == ["no_node_for_queue"]
    mesh.bob.member = replace(mesh.bob.member, is_draining=False, status=Status.DEAD)
    assert codes(mesh) == ["no_node_for_queue"]


def test_runs_that_wait_to_be_claimed_count_with_the_tasks(mesh: FakeMesh) -> None:
    mesh.alice.waiting = {"main": 1, "task": 0}
    running = replace(RECORD, queue="main", state=State.RUNNING)
    waiting = waiting_by_queue(reports(mesh), [replace(RECORD, queue="main"), running])
    assert waiting == {"main": 2}


def test_hosts_that_hang_on_the_store_of_another_are_told(mesh: FakeMesh) -> None:
    mesh.bob.member = replace(mesh.bob.member, host="lab2", store="", has_store=False)
    [trouble] = find_troubles(reports(mesh), [])
    assert trouble.code == "one_store_host"
    assert "host lab1 keeps the embedded store of this mesh for lab2" in trouble.text


def test_nodes_with_different_stores_are_told(mesh: FakeMesh) -> None:
    mesh.bob.member = replace(mesh.bob.member, store="mongodb://lab9/meshflow")
    assert codes(mesh) == ["several_stores"]


def test_a_store_in_trouble_and_a_silent_node_are_told(mesh: FakeMesh) -> None:
    mesh.alice.store_error = "disk full"
    mesh.bob.is_silent = True
    assert codes(mesh) == ["store_error", "silent_node"]


def test_a_mesh_of_which_no_store_host_is_up_says_so() -> None:
    lonely = Member(NodeId("ab" * 8), "tcp://192.0.2.1:1", name="a", host="lab1", has_store=False)
    [first, *_] = find_troubles([NodeReport(lonely, None)], [])
    assert "no host that is up keeps" in first.text
