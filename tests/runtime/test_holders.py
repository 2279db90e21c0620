"""Whom a node that has no store asks for it."""

from types import SimpleNamespace
from typing import cast

from meshflow.core.member import Member, Status
from meshflow.core.node import Node
from meshflow.ids import NodeId
from meshflow.runtime.serve import _holders

JOINED = ("10.0.0.1:7000", "10.0.0.2:7000")


def node_that_sees(*members: Member) -> Node:
    """As much of a node as matters here."""
    alive = [member for member in members if member.status is Status.ALIVE]
    seen = SimpleNamespace(alive=lambda: alive, members={member.id: member for member in members})
    return cast(Node, SimpleNamespace(membership=seen))


def member(number: int, *, has_store: bool, status: Status = Status.ALIVE) -> Member:
    """The one at the address of that number."""
    return Member(NodeId(f"{number:016x}"), f"tcp://10.0.0.{number}:7000", has_store=has_store, status=status)


def test_members_with_the_store_are_asked() -> None:
    seen = node_that_sees(member(1, has_store=False), member(3, has_store=True))
    assert _holders(seen, JOINED) == ["tcp://10.0.0.3:7000"]


def test_before_any_is_known_those_are_asked_that_were_joined_through() -> None:
    assert _holders(node_that_sees(), JOINED) == [f"tcp://{address}" for address in JOINED]


def test_while_the_holder_is_dead_nobody_is_asked_who_would_have_to_ask_it_too() -> None:
    """Else the borrowers wait for each other, and the store seems away long after it is back."""
    seen = node_that_sees(member(1, has_store=True, status=Status.DEAD), member(2, has_store=False))
    assert _holders(seen, JOINED) == ["tcp://10.0.0.1:7000"]
