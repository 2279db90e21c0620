"""Names of nodes, kept for those that are gone."""

from meshflow.core.member import Member
from meshflow.core.names import recall, remember
from meshflow.core.requests import RegisterNode
from meshflow.ids import NodeId


def member(number: int, name: str = "") -> Member:
    """A member whose id follows from its number."""
    return Member(NodeId(f"{number:016x}"), f"tcp://127.0.0.1:{number + 1}", name=name)


def test_a_node_that_is_gone_keeps_its_name() -> None:
    names: dict[NodeId, str] = {}

    remember(names, [member(1, "lab1"), member(2)])
    remember(names, [member(2)])

    assert names == {member(1).id: "lab1", member(2).id: member(2).id}


def test_names_of_nodes_long_gone_are_dropped_oldest_first() -> None:
    names: dict[NodeId, str] = {}

    for number in range(1000):
        remember(names, [member(number, f"n{number}")])

    assert len(names) == 257
    assert next(iter(names.values())) == "n743"
    assert names[member(999).id] == "n999"


def test_names_from_the_store_do_not_replace_those_of_members_and_are_dropped_first() -> None:
    names = {member(1).id: "now"}

    recall(names, [RegisterNode(member(1).id, "", 2.0, "before"), RegisterNode(member(2).id, "", 1.0, "gone")])
    recall(names, [RegisterNode(member(3).id, "", 0.5)])

    assert list(names.items()) == [(member(2).id, "gone"), (member(1).id, "now")]


def test_no_more_names_come_from_the_store_than_are_kept() -> None:
    names: dict[NodeId, str] = {}

    recall(names, [RegisterNode(member(number).id, "", float(number), f"n{number}") for number in range(1000)])

    assert (len(names), names.get(member(999).id), names.get(member(743).id)) == (256, "n999", None)
