"""Runs as logs: a workflow of two tasks, told batch by batch, for those that fold, follow or show logs."""

from meshflow import wire
from meshflow.core.graph import DagDefinition, DagSpec, Edge, TaskSpec, WorkflowSpec
from meshflow.core.records import (
    Batch,
    Claimed,
    DagEnded,
    DagStarted,
    Entry,
    RunEnded,
    RunRecord,
    State,
    TaskEnded,
    TasksQueued,
    TaskStarted,
)
from meshflow.core.requests import Append, CreateRun, Request, WriteOutput
from meshflow.ids import NodeId, RunId, dag_run_id

RUN = RunId("5f0c1e8a9b3d4c2e1f0a7b6d")
DAG = dag_run_id(RUN, "main_dag:1")
OWNER = NodeId("00000000000000aa")
WORKER = NodeId("00000000000000bb")
NAMES = {OWNER: "alice", WORKER: "bob"}

WORKFLOW = WorkflowSpec("simple", "workflow", ("main_dag",), ("main_dag",), ("dag",))
DEFINITION = DagDefinition(
    DagSpec("main_dag", True, "dag", (TaskSpec("put", "task", "d1"), TaskSpec("print", "gpu", "d2")), (Edge(0, 1),)),
    {"d1": b"", "d2": b""},
)
RECORD = RunRecord(run=RUN, name="simple", workflow="simple", queue="workflow", created_at=100.0)


def node_name(node: NodeId) -> str:
    """What users call the nodes of these stories."""
    return NAMES.get(node, node)


def batch(run: RunId, seq: int, *entries: Entry, at: float = 100.0) -> Batch:
    """One append."""
    return Batch(run, seq, f"{run}/{seq}", entries, at)


def workflow_log(state: State = State.COMPLETED, reason: str = "") -> list[Batch]:
    """The log of the workflow run, from claim to end."""
    return [
        batch(RUN, 0, Claimed(OWNER, 1), DagStarted("main_dag:1", "main_dag", "autostart/main_dag"), at=101.0),
        batch(RUN, 1, DagEnded("main_dag:1", state, reason, 2, 2), RunEnded(state, reason), at=106.0),
    ]


def dag_log() -> list[Batch]:
    """The log of the dag run, from claim to end."""
    return [
        batch(DAG, 0, Claimed(OWNER, 1), TasksQueued((0,)), at=102.0),
        batch(DAG, 1, TaskStarted(0, 1, 1, WORKER), at=103.0),
        batch(
            DAG,
            2,
            TaskEnded(0, 1, State.COMPLETED, started_at=103.0, ended_at=103.5, node="bob"),
            TasksQueued((1,)),
            TaskStarted(1, 1, 1, WORKER),
            at=104.0,
        ),
        batch(
            DAG,
            3,
            TaskEnded(1, 1, State.COMPLETED, started_at=104.0, ended_at=104.25, node="bob"),
            RunEnded(State.COMPLETED),
            at=105.0,
        ),
    ]


def printed(task: str, text: str, offset: int = 0, attempt: int = 1) -> WriteOutput:
    """A chunk that a task of the dag run printed."""
    return WriteOutput(DAG, task, attempt, "stdout", offset, text.encode(), 104.0)


def creation(record: RunRecord = RECORD) -> CreateRun:
    """The run as `submit` stores it."""
    blobs = {"workflow": wire.encode(WORKFLOW), "dag/main_dag": wire.encode(DEFINITION)}
    return CreateRun(record, blobs, {"meta": {}, "data": {}})


def whole_run() -> list[Request]:
    """The requests that leave a finished run in a store, output included."""
    batches = [*workflow_log(), *dag_log()]
    return [creation(), *map(Append, batches), printed("print", "The value is: 5\n")]
