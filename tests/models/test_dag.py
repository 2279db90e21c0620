"""Schemas: which graph each form makes, in which order, and what is refused."""

import pickle
import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest

from meshflow.core.graph import Edge, TaskSpec
from meshflow.errors import DirectedAcyclicGraphUndefined, InvalidGraph, UsageError
from meshflow.models.dag import Dag
from meshflow.models.task import BaseTask

a, b, c, d = (BaseTask(name) for name in "abcd")


def defined(schema: Any) -> Dag:
    dag = Dag("x")
    dag.define(schema)
    return dag


def drawn(dag: Dag) -> tuple[str, list[str]]:
    """Task names in order, and edges as `parent>child` or `parent>child:slot`."""
    spec = dag.spec()
    names = [task.name for task in spec.tasks]
    edges = [f"{names[e.parent]}>{names[e.child]}{f':{e.slot}' if e.slot is not None else ''}" for e in spec.edges]
    return "".join(names), edges


def test_a_dag_has_lightflows_defaults() -> None:
    dag = Dag("x")
    assert (dag.name, dag.autostart, dag.queue, dag.workflow_name) == ("x", True, "dag", None)
    dag = Dag("x", autostart=False, queue="q", schema={a: b})
    assert (dag.autostart, dag.queue, dag.tasks) == (False, "q", (a, b))
    dag.workflow_name = "w"
    assert dag.workflow_name == "w"
    assert repr(dag) == "Dag('x')"


@pytest.mark.parametrize(
    ("schema", "tasks", "edges"),
    [
        ({}, "", []),
        ({a: b}, "ab", ["a>b"]),
        ({a: [b, c]}, "abc", ["a>b", "a>c"]),
        ({a: (c, b)}, "acb", ["a>c", "a>b"]),
        ({a: {b: "slot", c: None, d: ""}}, "abcd", ["a>b:slot", "a>c", "a>d"]),
        ({a: None}, "a", []),
        ({a: []}, "a", []),
        ({a: {}}, "a", []),
        ({a: (), b: None}, "ab", []),
        ({a: b, b: c}, "abc", ["a>b", "b>c"]),
        ({a: [b, b]}, "ab", ["a>b"]),
        ({b: d, a: d, c: [d]}, "bdac", ["b>d", "a>d", "c>d"]),
    ],
)
def test_each_schema_form_makes_its_graph(schema: Any, tasks: str, edges: list[str]) -> None:
    assert drawn(defined(schema)) == (tasks, edges)


def test_tasks_come_in_order_of_first_appearance_and_edges_in_order_of_the_schema() -> None:
    dag = defined({c: [a, b], b: d, a: d})
    assert drawn(dag) == ("cabd", ["c>a", "c>b", "b>d", "a>d"])
    assert dag.tasks == (c, a, b, d)


def test_changing_the_schema_afterwards_changes_nothing() -> None:
    schema: dict[BaseTask, Any] = {a: [b]}
    dag = defined(schema)
    schema[a].append(c)
    schema[d] = None
    assert drawn(dag) == ("ab", ["a>b"])


def test_the_spec_carries_what_the_mesh_must_know_of_a_task() -> None:
    task = BaseTask(
        "t",
        queue="q",
        force_run=True,
        propagate_skip=False,
        retries=2,
        retry_delay=3.0,
        backoff=4.0,
        timeout=5.0,
        priority=6,
    )
    once = BaseTask("once", at_most_once=True)
    spec = defined({task: {once: "s"}}).spec(["digest-1", "digest-2"])
    assert spec.tasks == (
        TaskSpec(
            "t",
            "q",
            "digest-1",
            force_run=True,
            propagate_skip=False,
            retries=2,
            retry_delay_s=3.0,
            backoff=4.0,
            timeout_s=5.0,
            priority=6,
        ),
        TaskSpec("once", "task", "digest-2", at_most_once=True),
    )
    assert spec.edges == (Edge(0, 1, "s"),)
    assert (spec.name, spec.autostart, spec.queue) == ("x", True, "dag")


def test_a_cycle_is_refused_by_define() -> None:
    dag = defined({a: b})
    with pytest.raises(InvalidGraph, match=r"dag 'x' cannot be run: its tasks form a cycle: .*a -> b") as raised:
        dag.define({a: b, b: c, c: a})
    assert raised.value.graph_name == "x"
    assert drawn(dag) == ("ab", ["a>b"])


def test_two_tasks_of_one_name_are_refused_by_define() -> None:
    with pytest.raises(InvalidGraph, match="two tasks are named 'b'"):
        defined({a: [b, BaseTask("b")]})


def test_without_validation_a_cycle_is_taken() -> None:
    dag = Dag("x")
    dag.define({a: a}, validate=False)
    assert drawn(dag) == ("a", ["a>a"])
    assert drawn(Dag("x", schema={a: b, b: a})) == ("ab", ["a>b", "b>a"])


@pytest.mark.parametrize("schema", [None, {a: b}])
def test_what_was_taken_without_validation_is_refused_by_check(schema: Any) -> None:
    dag = Dag("x", schema={a: b, b: a}) if schema is None else defined(schema)
    dag.define({a: b, b: a}, validate=False)
    with pytest.raises(InvalidGraph, match="cycle"):
        dag.check()
    dag.define({a: b})
    dag.check()


def test_a_copy_of_a_dag_is_checked_like_any_other() -> None:
    copy = deepcopy(Dag("x", schema={a: b, b: a}))
    with pytest.raises(InvalidGraph, match="cycle"):
        copy.check()


def test_a_dag_without_schema_is_undefined() -> None:
    with pytest.raises(DirectedAcyclicGraphUndefined, match="dag 'x': the schema is None"):
        Dag("x").define(None)
    with pytest.raises(DirectedAcyclicGraphUndefined, match=r"dag 'x' has no schema; call its define\(\)"):
        Dag("x").spec()
    with pytest.raises(DirectedAcyclicGraphUndefined):
        _ = Dag("x").tasks


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ([a, b], r"dag 'x': the schema is \[BaseTask\('a'\), BaseTask\('b'\)\], but must be {parent: children}"),
        ({a: {b, c}}, r"children of BaseTask\('a'\) are .*not a set"),
        ({a: "b"}, "children of .* are 'b'; expected a task"),
        ({"a": b}, "'a' in the schema of a dag is not a task"),
        ({"a": None}, "'a' in the schema of a dag is not a task"),
        ({a: [b, "c"]}, "'c' in the schema of a dag is not a task"),
        ({a: [None]}, "None in the schema of a dag is not a task"),
        ({a: {"b": "slot"}}, "'b' in the schema of a dag is not a task"),
        ({a: {b: 5}}, r"slot between BaseTask\('a'\) and BaseTask\('b'\) is 5, but must be a text or None"),
    ],
)
def test_what_is_no_schema_is_refused_with_the_culprit(schema: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        defined(schema)
    with pytest.raises(UsageError, match=message):
        Dag("x", schema=schema)


@pytest.mark.parametrize(("name", "queue"), [("", "dag"), (None, "dag"), ("x", ""), ("x", None)])
def test_name_and_queue_must_be_texts(name: Any, queue: Any) -> None:
    with pytest.raises(UsageError, match="must be a text that is not empty"):
        Dag(name, queue=queue)


def test_a_deep_copy_is_counted_on_what_was_copied_and_shares_no_tasks() -> None:
    dag = defined({a: {b: "s"}})
    dag.workflow_name = "w"
    first, second = deepcopy(dag), deepcopy(dag)
    assert (first.name, second.name, deepcopy(first).name) == ("x:1", "x:2", "x:1:1")
    assert drawn(first) == drawn(dag)
    assert all(copied is not task for copied, task in zip(first.tasks, dag.tasks, strict=True))
    assert (first.autostart, first.queue, first.workflow_name) == (True, "dag", "w")
    with pytest.raises(DirectedAcyclicGraphUndefined):
        _ = deepcopy(Dag("y")).tasks


def test_a_dag_survives_a_pickle() -> None:
    assert drawn(pickle.loads(pickle.dumps(defined({a: {b: "s"}})))) == ("ab", ["a>b:s"])


def test_make_graph_gives_a_networkx_graph_with_slots() -> None:
    graph = Dag.make_graph({a: {b: "slot", c: None}, b: d, d: {}})
    assert list(graph.nodes) == [a, b, c, d]
    assert list(graph.edges(data="slot")) == [(a, b, "slot"), (a, c, None), (b, d, None)]
    with pytest.raises(UsageError):
        Dag.make_graph({a: {b, c}})  # type: ignore[dict-item]


def test_neither_importing_nor_defining_imports_what_is_slow() -> None:
    code = """
import sys
import meshflow.models
assert "cloudpickle" not in sys.modules
from meshflow.models import *
from meshflow.models import Dag, BaseTask
Dag("x").define({BaseTask("a"): BaseTask("b")})
print([name for name in ("networkx", "numpy", "pymongo", "zmq", "click", "yaml") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
