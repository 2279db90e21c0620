"""Names of nodes, kept for those that are gone."""

from meshflow.core.member import Member
from meshflow.core.names import remember
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
