"""Tasks and edges as columns; that all that travels comes back is tested in `test_wire_properties.py`."""

from dataclasses import fields, replace
from typing import Any

import msgpack
import pytest

from meshflow import wire
from meshflow.core.graph import DagSpec, Edge, TaskSpec
from meshflow.errors import PeerError, UsageError
from meshflow.tags import TAG_OF

TASKS = tuple(TaskSpec(f"task_{number}", "task", "digest") for number in range(100))
SPEC = DagSpec("many", True, "dag", TASKS, (Edge(0, 1), Edge(1, 2, "slot")))


def plain(spec: DagSpec) -> Any:
    return msgpack.unpackb(wire.encode(spec))


def decoded(columns: object) -> DagSpec:
    """A spec with these in the place of its tasks."""
    return wire.decode(DagSpec, msgpack.packb([TAG_OF[DagSpec], ["many", True, "dag", columns, []]]))


def test_what_all_tasks_share_is_there_once() -> None:
    _, (_, _, _, (count, names, queues, *others), edges) = plain(SPEC)
    assert (count, len(names), queues) == (100, 100, ["task"])
    assert [len(each) for each in others] == [1] * (len(fields(TaskSpec)) - 2)
    assert edges == [2, [0, 1], [1, 2], [None, "slot"]]
    assert wire.decode(DagSpec, wire.encode(SPEC)) == SPEC


def test_tasks_that_differ_in_every_field_come_back() -> None:
    odd = TaskSpec("b", "gpu", "d", True, False, 3, 0.5, 2.0, 60.0, 9, True)
    spec = replace(SPEC, tasks=(TASKS[0], odd, replace(TASKS[0], timeout_s=1.5)))
    assert wire.decode(DagSpec, wire.encode(spec)) == spec


def test_equal_edges_are_as_many_as_they_were() -> None:
    spec = replace(SPEC, edges=(Edge(0, 1), Edge(0, 1), Edge(0, 1)))
    assert wire.decode(DagSpec, wire.encode(spec)) == spec


def test_columns_that_are_missing_at_the_end_are_the_defaults_and_surplus_ones_are_ignored() -> None:
    expected = (TaskSpec("a", "q", "d"), TaskSpec("b", "q", "d"))
    assert decoded([2, ["a", "b"], ["q"], ["d"]]).tasks == expected
    whole = plain(replace(SPEC, tasks=expected))[1][3]
    assert decoded([*whole, ["later"]]).tasks == expected


@pytest.mark.parametrize(
    "columns",
    [
        "text",
        [2],
        [2, ["a", "b"], ["q"]],
        ["2", ["a", "b"], ["q"], ["d"]],
        [True, ["a"], ["q"], ["d"]],
        [0, [], [], []],
        [-1, ["a"], ["q"], ["d"]],
        [3, ["a", "b"], ["q"], ["d"]],
        [2, ["a", "b"], [], ["d"]],
        [2, ["a", "b"], "qq", ["d"]],
        [2, ["a", 2], ["q"], ["d"]],
        [2, ["a", "b"], [b"q"], ["d"]],
        [2, ["a", "b"], ["q"], ["d"], [1, 0]],
        [2, ["a", "b"], ["q"], ["d"], [True], [True], [2**63]],
        [2, ["a", "b"], ["q"], ["d"], [True], [True], [1], [float("inf"), float("-inf")]],
        [2**40, ["a"], ["q"], ["d"]],
    ],
)
def test_what_makes_no_columns_is_refused(columns: object) -> None:
    with pytest.raises(PeerError):
        decoded(columns)


def test_what_is_no_task_is_refused_where_it_is_encoded() -> None:
    with pytest.raises(UsageError, match="TaskSpec: expected a tuple of TaskSpec"):
        wire.encode(replace(SPEC, tasks=(TASKS[0], None)))  # type: ignore[arg-type]
