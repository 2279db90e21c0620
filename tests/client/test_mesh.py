"""A client's way into the mesh: one node that answers, another if it no longer does."""

from dataclasses import replace

import pytest

from meshflow.core.client_messages import AskStatus, StoreAsk, Watch, Watched
from meshflow.core.member import Status
from meshflow.core.requests import ListRuns, LoadRun
from meshflow.errors import StoreUnavailable
from meshflow.ids import NodeId, RunId
from meshflow.mesh import Mesh, NoMesh
from meshflow.runtime.transport.problems import ConnectionLost, WrongKey
from tests.client.fake_mesh import TIMEOUT_S, FakeMesh, FakeNode
from tests.client.run_stories import OWNER, RECORD, RUN, creation


def test_without_any_address_there_is_no_mesh() -> None:
    with pytest.raises(NoMesh, match="no node runs on this host"):
        Mesh(FakeMesh().dial, list, timeout_s=1.0).connect()


def test_a_node_that_is_not_there_is_told_with_its_reason(mesh: FakeMesh) -> None:
    lost = Mesh(mesh.dial, lambda: ["tcp://192.0.2.9:9"], timeout_s=TIMEOUT_S, now=mesh.clock)
    with pytest.raises(NoMesh, match=r"192\.0\.2\.9:9.*connection refused"):
        lost.connect()


def test_silent_nodes_are_waited_for_no_longer_than_the_timeout(mesh: FakeMesh) -> None:
    mesh.alice.is_silent = mesh.bob.is_silent = True
    before = mesh.clock.now
    with pytest.raises(NoMesh, match="did not answer within 5 s"):
        mesh.connect().connect()
    assert mesh.clock.now - before <= TIMEOUT_S + 0.1


def test_a_wrong_key_is_said_as_such(mesh: FakeMesh) -> None:
    for node in mesh.nodes.values():
        node.problem = WrongKey(node.member.address)
    with pytest.raises(WrongKey):
        mesh.connect().connect()


def test_the_first_node_that_answers_is_taken_and_the_others_are_let_go(mesh: FakeMesh) -> None:
    mesh.alice.is_silent = True
    connected = mesh.connect()
    connected.connect()
    assert [link.is_closed for link in mesh.links] == [True, False]
    assert connected.node_name(OWNER) == "alice"


def test_requests_are_answered_by_the_store_of_the_mesh(mesh: FakeMesh) -> None:
    mesh.store.perform([creation()])
    assert mesh.connect().perform([LoadRun(RUN), ListRuns()]) == [RECORD, (RECORD,)]


def test_another_node_takes_over_when_the_one_in_use_is_gone(mesh: FakeMesh) -> None:
    mesh.store.perform([creation()])
    connected = mesh.connect()
    connected.connect()
    before = connected.generation
    mesh.alice.problem = ConnectionLost(mesh.alice.member.address)
    assert connected.perform([LoadRun(RUN)]) == [RECORD]
    assert connected.generation > before
    assert any(isinstance(message, StoreAsk) for message in mesh.bob.heard)


def test_another_node_takes_over_when_the_one_in_use_falls_silent(mesh: FakeMesh) -> None:
    mesh.store.perform([creation()])
    connected = mesh.connect()
    connected.connect()
    mesh.alice.is_silent = True
    assert connected.perform([LoadRun(RUN)]) == [RECORD]


def test_no_node_left_is_no_mesh(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.connect()
    mesh.alice.is_silent = mesh.bob.is_silent = True
    with pytest.raises(NoMesh, match="any more"):
        connected.perform([LoadRun(RUN)])


def test_a_store_that_does_not_answer_is_not_a_missing_mesh(mesh: FakeMesh) -> None:
    mesh.alice.store_error = mesh.bob.store_error = "disk full"
    with pytest.raises(StoreUnavailable, match="disk full"):
        mesh.connect().perform([LoadRun(RUN)])


def test_news_that_come_while_an_answer_is_awaited_are_kept(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.hint(Watch(RUN, 10.0))
    mesh.push(Watched(None))
    connected.perform([LoadRun(RUN)])
    assert connected.news(0.0) == Watched(None)
    assert connected.news(0.0) is None


def test_news_are_awaited_for_the_time_given(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.hint(Watch(RUN, 10.0))
    before = mesh.clock.now
    assert connected.news(0.5) is None
    assert mesh.clock.now - before == pytest.approx(0.5)


def test_nodes_are_listed_with_what_each_says_of_itself(mesh: FakeMesh) -> None:
    mesh.bob.is_silent = True
    reports = mesh.connect().nodes()
    assert [(report.member.name, report.state) for report in reports] == [("alice", "alive"), ("bob", "silent")]
    assert reports[0].status is not None
    assert reports[0].status.done_count == 7


def test_dead_and_draining_members_are_told_apart(mesh: FakeMesh) -> None:
    mesh.alice.member = replace(mesh.alice.member, is_draining=True)
    mesh.bob.member = replace(mesh.bob.member, status=Status.DEAD)
    assert [report.state for report in mesh.connect().nodes()] == ["draining", "dead"]


def test_a_node_is_drained_over_a_link_of_its_own(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.connect()
    assert connected.drain(mesh.bob.member)
    assert mesh.bob.member.is_draining
    mesh.bob.is_silent = True
    assert not connected.drain(mesh.bob.member)


def test_an_unknown_node_goes_by_the_beginning_of_its_id(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    assert connected.node_name(NodeId("0123456789abcdef")) == "01234567"
    assert connected.node_name(NodeId("")) == ""


def test_a_node_that_joined_later_is_asked_about_once(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.connect()
    late = replace(mesh.bob.member, id=NodeId("0123456789abcdef"), name="carol", address="tcp://192.0.2.1:3")
    mesh.nodes[late.address] = FakeNode(late)
    assert [connected.node_name(late.id), connected.node_name(late.id)] == ["01234567", "01234567"]
    assert connected.news(0.0) is None
    assert connected.node_name(late.id) == "carol"
    asked = [message for message in mesh.alice.heard if isinstance(message, AskStatus)]
    assert len(asked) == 2


def test_a_node_that_is_gone_is_known_by_name_if_the_mesh_knows_it(mesh: FakeMesh) -> None:
    mesh.alice.names = {"0123456789abcdef": "carol"}
    connected = mesh.connect()
    connected.connect()
    assert connected.node_name(NodeId("0123456789abcdef")) == "carol"


def test_after_close_the_next_call_finds_a_node_again(mesh: FakeMesh) -> None:
    connected = mesh.connect()
    connected.connect()
    connected.close()
    assert connected.perform([LoadRun(RunId("0" * 24))]) == [None]
