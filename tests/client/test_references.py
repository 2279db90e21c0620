"""How people name runs and nodes."""

from dataclasses import replace

import pytest

from meshflow.core.member import Member
from meshflow.core.records import State
from meshflow.ids import NodeId, RunId
from meshflow.references import Ambiguous, NotFound, find_node, find_run, open_runs
from tests.client.run_stories import RECORD

NEW = replace(RECORD, run=RunId("aa11" + "0" * 20))
OLD = replace(RECORD, run=RunId("aa22" + "0" * 20), state=State.COMPLETED)
OTHER = replace(RECORD, run=RunId("bb33" + "0" * 20), name="bash", workflow="bash")
RECORDS = [NEW, OLD, OTHER]

NODES = [
    Member(NodeId("ab" + "0" * 14), "tcp://192.0.2.1:1", name="alice"),
    Member(NodeId("ac" + "0" * 14), "tcp://192.0.2.1:2", name="bob"),
    Member(NodeId("ad" + "0" * 14), "tcp://192.0.2.1:3", name="bob"),
]


@pytest.mark.parametrize(
    ("reference", "found"),
    [("aa2", OLD), ("bb", OTHER), ("@last", NEW), ("simple", NEW), ("bash", OTHER), (OLD.run, OLD)],
)
def test_a_run_is_found_by_prefix_name_or_last(reference: str, found: object) -> None:
    assert find_run(reference, RECORDS) == found


def test_a_prefix_of_several_runs_lists_them() -> None:
    with pytest.raises(Ambiguous, match=r"2 runs start with 'aa': aa11.*aa22"):
        find_run("aa", RECORDS)


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(NotFound) as missed:
        find_run("simpel", RECORDS)
    assert missed.value.hint == "did you mean 'simple'?"


def test_without_runs_there_is_no_last_one() -> None:
    with pytest.raises(NotFound, match="no run yet"):
        find_run("@last", [])


def test_an_empty_reference_is_no_prefix() -> None:
    with pytest.raises(NotFound):
        find_run("", [NEW])


def test_a_workflows_name_means_all_its_open_runs_to_one_who_ends_them() -> None:
    assert open_runs("simple", [NEW, OLD]) == [NEW]
    assert open_runs("aa2", RECORDS) == [OLD]


def test_a_node_is_found_by_name_or_prefix() -> None:
    assert find_node("alice", NODES) == NODES[0]
    assert find_node("ac", NODES) == NODES[1]


def test_two_nodes_of_one_name_are_told_apart_by_id() -> None:
    with pytest.raises(Ambiguous, match="2 nodes fit 'bob'"):
        find_node("bob", NODES)


def test_a_node_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound) as missed:
        find_node("alcie", NODES)
    assert missed.value.hint == "did you mean 'alice'?"
