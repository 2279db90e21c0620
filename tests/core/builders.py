"""Small blueprints, records and log entries for the tests of the run machines.

Keyword arguments replace fields of what is built.
"""

from dataclasses import replace
from typing import Any

from meshflow.core.attempts import Attempt
from meshflow.core.graph import DagDefinition, DagSpec, Edge, TaskSpec, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.messages import Finished
from meshflow.core.records import RunRecord, State, TaskEnded, TaskStarted, Value
from meshflow.ids import NodeId, RunId, dag_run_id

WF = RunId("5f" * 12)
"""A workflow run."""
RUN = dag_run_id(WF, "d:1")
"""Its dag run of the dag `d`."""
ME, ANN, BOB = NodeId("me"), NodeId("ann"), NodeId("bob")
"""Nodes: the one that is tested, and two others."""


def task(name: str, **fields: Any) -> TaskSpec:
    """A task blueprint on queue `task`; its code has the digest `code of <name>`."""
    return replace(TaskSpec(name, "task", f"code of {name}"), **fields)


def dag(names: str, edges: str = "", *special: TaskSpec, name: str = "d") -> DagSpec:
    """A dag of the tasks in `names`, with edges such as `a>b a>c:slot`; `special` replaces tasks of their names."""
    named = {each.name: each for each in special}
    tasks = tuple(named.get(each) or task(each) for each in names.split())
    index = {each.name: number for number, each in enumerate(tasks)}
    joined = []
    for edge in edges.split():
        parent, _, rest = edge.partition(">")
        child, _, slot = rest.partition(":")
        joined.append(Edge(index[parent], index[child], slot or None))
    return DagSpec(name, True, "dag", tasks, tuple(joined))


def definition(spec: DagSpec) -> DagDefinition:
    """`spec` with made up code for each of its tasks."""
    return DagDefinition(spec, {each.payload: each.payload.encode() for each in spec.tasks})


def workflow(autostart: str = "d", others: str = "", **fields: Any) -> WorkflowSpec:
    """A workflow of these dags, each on the queue `dag`."""
    dags = (*autostart.split(), *others.split())
    return replace(WorkflowSpec("w", "workflow", dags, tuple(autostart.split()), ("dag",) * len(dags)), **fields)


def member(node: NodeId, **fields: Any) -> Member:
    """A living member that serves all default queues."""
    queues = ("workflow", "dag", "task")
    return replace(Member(node, f"sim://{node}", name=f"{node}'s", queues=queues, slots=2), **fields)


def dag_record(**fields: Any) -> RunRecord:
    """The record of `RUN` as its workflow run created it."""
    return replace(RunRecord(RUN, "d:1", "w", "dag", parent=WF, created_at=1000.0), **fields)


def workflow_record(**fields: Any) -> RunRecord:
    """The record of `WF` as it was submitted."""
    return replace(RunRecord(WF, "w", "w", "workflow", created_at=1000.0), **fields)


def attempt(index: int, number: int = 1, epoch: int = 1, run: RunId = RUN) -> Attempt:
    """Try `number` at the task of that index."""
    return Attempt(run, index, number, epoch)


def started(index: int, number: int = 1, epoch: int = 1, node: NodeId = ANN) -> TaskStarted:
    """The log entry for an attempt that was handed out."""
    return TaskStarted(index, number, epoch, node)


def ended(index: int, state: State = State.COMPLETED, **fields: Any) -> TaskEnded:
    """The log entry for an attempt that ended; its value is the index as text."""
    return replace(TaskEnded(index, 1, state, Value(str(index).encode())), **fields)


def finished(of: Attempt, state: State = State.COMPLETED, **fields: Any) -> Finished:
    """The report of a node that an attempt ended."""
    return replace(Finished(of, state, Value(b"result"), None, "", 1001.0, 1003.0), **fields)
