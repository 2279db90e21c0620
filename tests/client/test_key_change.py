"""Changing the key of a mesh: all nodes, step by step, or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from meshflow.core.client_messages import NodeStatus
from meshflow.core.key_messages import AskKeys, UseKeys
from meshflow.core.member import Member, Status
from meshflow.core.messages import Message
from meshflow.ids import NodeId
from meshflow.key_change import KeyChange, KeyChangeRefused
from meshflow.mesh import Mesh, NodeReport
from meshflow.runtime.folder import runtime_folder
from meshflow.runtime.key_files import keep_keys, read_keys
from meshflow.runtime.key_keeper import answer
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.keys import MeshKey, make_key

OLD = make_key()


@dataclass
class FakeNode:
    """A node as far as its keys go, with a key file of its own."""

    member: Member
    ring: KeyRing
    is_silent: bool = False
    lost: int = 0
    """So many of the next answers to UseKeys get lost."""
    steps: list[tuple[str, ...]] = field(default_factory=list)
    """What it held, one after the other."""


class FakeWay:
    """Stands for `Mesh`."""

    def __init__(self, folder: Path) -> None:
        self.nodes_there: list[FakeNode] = []
        self.clock = 0.0
        self._folder = folder
        self.before_each: Callable[[], None] = lambda: None

    def ring(self, name: str, *keys: MeshKey) -> KeyRing:
        path = self._folder / f"{name}.key"
        keep_keys(path, keys)
        return KeyRing(runtime_folder("default", {}), self._folder, str(path))

    def node(self, name: str, *keys: MeshKey) -> FakeNode:
        number = len(self.nodes_there) + 1
        member = Member(NodeId(f"{number:016x}"), f"tcp://192.0.2.{number}:1", name=name)
        self.nodes_there.append(FakeNode(member, self.ring(name, *keys)))
        return self.nodes_there[-1]

    def nodes(self) -> list[NodeReport]:
        return [
            NodeReport(each.member, None if each.is_silent else NodeStatus(0, each.member, "", (), {}, (), (), 0, 0.0))
            for each in self.nodes_there
        ]

    def ask_each(self, members: Sequence[Member], ask: Callable[[Member, int], Message]) -> dict[NodeId, Message]:
        answers: dict[NodeId, Message] = {}
        for node in [each for each in self.nodes_there if each.member in members and not each.is_silent]:
            message = ask(node.member, 1)
            assert isinstance(message, AskKeys | UseKeys)
            said = answer(node.ring, message)
            if node.ring.fingerprints not in node.steps[-1:]:
                node.steps.append(node.ring.fingerprints)
            if isinstance(message, UseKeys) and node.lost:
                node.lost -= 1
            else:
                answers[node.member.id] = said
        return answers

    def now(self) -> float:
        return self.clock

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        self.before_each()


@pytest.fixture
def way(tmp_path: Path) -> FakeWay:
    made = FakeWay(tmp_path)
    for name in "abc":
        made.node(name, OLD)
    return made


def change(way: FakeWay, name: str = "own") -> tuple[KeyChange, KeyRing]:
    ring = way.ring(name, OLD)
    return KeyChange(cast(Mesh, way), ring), ring


def test_a_rotation_takes_every_node_through_every_step(way: FakeWay) -> None:
    changing, ring = change(way)
    new, members = changing.add()
    assert [member.name for member in members] == ["a", "b", "c"]
    assert list(ring.keys) == [OLD, new]
    changing.revoke(OLD.fingerprint)
    old, fresh = OLD.fingerprint, new.fingerprint
    for node in way.nodes_there:
        assert node.steps == [(old,), (old, fresh), (fresh, old), (fresh,)]
        assert read_keys(node.ring.found.path) == (new,)
    assert list(ring.keys) == [new]


def test_answers_that_are_lost_are_asked_for_again(way: FakeWay) -> None:
    for node in way.nodes_there:
        node.lost = 2
    changing, ring = change(way)
    new, _ = changing.add()
    changing.revoke(OLD.fingerprint)
    assert all(node.ring.keys == ring.keys == (new,) for node in way.nodes_there)


def test_the_new_key_can_be_revoked_instead(way: FakeWay) -> None:
    changing, ring = change(way)
    new, _ = changing.add()
    changing.revoke(new.fingerprint)
    assert all(node.ring.keys == ring.keys == (OLD,) for node in way.nodes_there)
    assert all((new.fingerprint, OLD.fingerprint) not in node.steps for node in way.nodes_there)


def test_a_node_that_joins_with_the_old_key_before_it_is_revoked_is_given_the_new_one(way: FakeWay) -> None:
    changing, _ = change(way)
    new, _ = changing.add()
    late = way.node("late", OLD)
    assert len(changing.revoke(OLD.fingerprint)) == 4
    assert late.ring.keys == (new,)


def test_an_interrupted_rotation_is_completed_from_where_it_was(way: FakeWay) -> None:
    changing, ring = change(way)
    new, _ = changing.add()
    way.nodes_there[1].ring.replace((new, OLD))
    way.nodes_there[2].ring.replace((new,))
    again = KeyChange(cast(Mesh, way), ring)
    with pytest.raises(KeyChangeRefused, match="a change of the key is under way"):
        again.add()
    again.revoke(OLD.fingerprint)
    assert all(node.ring.keys == (new,) for node in way.nodes_there)


@pytest.mark.parametrize("trouble", ["silent", "read-only", "other keys"])
def test_nothing_changes_if_one_node_cannot_take_part(
    way: FakeWay, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = way.nodes_there[1]
    match trouble:
        case "silent":
            node.is_silent = True
        case "read-only":
            monkeypatch.setattr(node.ring, "why_fixed", lambda: "the key file cannot be replaced: Read-only")
        case _:
            node.ring.replace((make_key(),))
    changing, ring = change(way)
    with pytest.raises(KeyChangeRefused, match=r"'?b'?.*nothing has changed"):
        changing.add()
    assert ring.keys == (OLD,)
    assert all(each.ring.keys == (OLD,) for each in way.nodes_there if each is not node)


def test_what_was_handed_out_is_taken_back_if_a_node_fails_after_all(way: FakeWay) -> None:
    def refuse(keys: tuple[MeshKey, ...]) -> None:
        raise OSError(28, "No space left on device")

    way.nodes_there[2].ring.replace = refuse  # type: ignore[method-assign]
    changing, ring = change(way)
    with pytest.raises(KeyChangeRefused, match=r"'c' says: .*No space left.*the old key stays in use"):
        changing.add()
    assert all(each.ring.keys == ring.keys == (OLD,) for each in way.nodes_there)


def test_a_node_that_never_confirms_stops_the_change_before_anything_is_cut(way: FakeWay) -> None:
    changing, ring = change(way)
    new, _ = changing.add()
    way.nodes_there[0].lost = 10_000
    way.before_each = lambda: way.nodes_there[0].ring.replace((OLD, new))
    with pytest.raises(KeyChangeRefused, match=f"'a'; .*meshflow key revoke {OLD.fingerprint}"):
        changing.revoke(OLD.fingerprint)
    assert ring.keys == (OLD, new)
    assert all(OLD in each.ring.keys for each in way.nodes_there)


def test_only_a_key_that_is_there_beside_another_can_be_revoked(way: FakeWay) -> None:
    changing, _ = change(way)
    with pytest.raises(KeyChangeRefused, match="holds no key 'deadbeef'"):
        changing.revoke("deadbeef")
    with pytest.raises(KeyChangeRefused, match="the only key of this mesh"):
        changing.revoke(OLD.fingerprint)


def test_dead_nodes_do_not_hinder_and_are_named(way: FakeWay) -> None:
    dead = way.nodes_there.pop()
    way.nodes_there.append(FakeNode(Member(dead.member.id, "tcp://192.0.2.9:1", status=Status.DEAD), dead.ring, True))
    changing, _ = change(way)
    changing.add()
    changing.revoke(OLD.fingerprint)
    assert [member.id for member in changing.absent()] == [dead.member.id]
    assert dead.ring.keys == (OLD,)
