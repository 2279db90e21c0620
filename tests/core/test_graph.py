"""What `check` refuses, and that it names the culprit."""

import random

import pytest

from meshflow.core.graph import DagSpec, Edge, TaskSpec, check, find_cycle
from meshflow.errors import InvalidGraph


def dag(names: str, *edges: tuple[int, int]) -> DagSpec:
    tasks = tuple(TaskSpec(name=name, queue="task", payload="") for name in names)
    return DagSpec("d", True, "dag", tasks, tuple(Edge(parent, child) for parent, child in edges))


@pytest.mark.parametrize(
    "spec",
    [
        dag(""),
        dag("a"),
        dag("abc", (0, 1), (1, 2), (0, 2)),
        dag("abc", (2, 0), (1, 0)),
        dag("abcd", (0, 1), (0, 2), (1, 3), (2, 3)),
    ],
)
def test_accepts_acyclic_graphs_of_uniquely_named_tasks(spec: DagSpec) -> None:
    check(spec)


def test_refuses_two_tasks_of_one_name() -> None:
    with pytest.raises(InvalidGraph, match="dag 'd' cannot be run: two tasks are named 'b'"):
        check(dag("abcb"))


@pytest.mark.parametrize("edge", [(-1, 0), (0, -1), (2, 0), (0, 2)])
def test_refuses_an_edge_to_a_task_that_is_not_there(edge: tuple[int, int]) -> None:
    with pytest.raises(InvalidGraph, match=f"edge {edge[0]} -> {edge[1]} names a task"):
        check(dag("ab", edge))


def test_names_the_tasks_of_a_cycle_in_order() -> None:
    with pytest.raises(InvalidGraph, match=r"cycle: (b -> c -> d -> b|c -> d -> b -> c|d -> b -> c -> d)$"):
        check(dag("abcde", (0, 1), (1, 2), (2, 3), (3, 1), (3, 4)))


def test_a_task_that_follows_itself_is_a_cycle() -> None:
    with pytest.raises(InvalidGraph, match=r"cycle: a -> a$"):
        check(dag("a", (0, 0)))


def test_a_long_cycle_is_named_in_part() -> None:
    count = 12
    with pytest.raises(InvalidGraph, match=r"\(2 more\) -> "):
        check(dag("abcdefghijkl", *((index, (index + 1) % count) for index in range(count))))


def test_a_cycle_of_ten_thousand_tasks_is_found_in_linear_time() -> None:
    count = 10_000
    assert len(find_cycle(count, [(index, (index + 1) % count) for index in range(count)])) == count


def test_what_hangs_below_a_cycle_is_not_taken_for_part_of_it() -> None:
    assert sorted(find_cycle(4, [(0, 1), (1, 0), (1, 2), (2, 3)])) == [0, 1]


@pytest.mark.parametrize("seed", range(50))
def test_a_cycle_is_found_exactly_where_there_is_one(seed: int) -> None:
    """Random graphs: edges along a hidden order have no cycle; one edge against a path of it makes one."""
    rng = random.Random(seed)
    count = rng.randrange(2, 20)
    order = rng.sample(range(count), count)
    edges = [(order[a], order[b]) for a in range(count) for b in range(a + 1, count) if rng.random() < 0.3]
    rng.shuffle(edges)
    assert find_cycle(count, edges) == []
    if edges:
        parent, child = rng.choice(edges)
        cycle = find_cycle(count, [*edges, (child, parent)])
        steps = list(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
        assert len(cycle) >= 2
        assert all(step in [*edges, (child, parent)] for step in steps)
