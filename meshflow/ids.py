"""Identities and their text forms.

An id is never reused and never an address: a node that restarts is a new node, so a message from an earlier life can
be told from a message of this one by its sender alone.
"""

import random
from typing import NewType

NodeId = NewType("NodeId", str)
"""A node of the mesh, or a client of it: 16 hex digits, random, new at every start."""

RunId = NewType("RunId", str)
"""A workflow run is 24 hex digits (the form of a MongoDB ObjectId); a dag run is `<workflow run>/<dag run name>`."""

_CALLS = "calls:"

_NODE_BYTES = 8
_RUN_BYTES = 12


def new_node_id(rng: random.Random) -> NodeId:
    """A fresh node id drawn from `rng`."""
    return NodeId(rng.randbytes(_NODE_BYTES).hex())


def new_run_id(rng: random.Random) -> RunId:
    """A fresh workflow run id drawn from `rng`."""
    return RunId(rng.randbytes(_RUN_BYTES).hex())


def dag_run_id(workflow_run: RunId, dag_run_name: str) -> RunId:
    """The id of the dag run `dag_run_name` (for example `main_dag:1`) of a workflow run."""
    return RunId(f"{workflow_run}/{dag_run_name}")


def workflow_of(run: RunId) -> RunId:
    """The workflow run that `run` belongs to; a workflow run belongs to itself."""
    return RunId(run.partition("/")[0])


def calls_of(client: NodeId) -> RunId:
    """What stands for a run where the calls of a client are meant; no store has a record of it."""
    return RunId(f"{_CALLS}{client}")


def is_calls(run: RunId) -> bool:
    """Whether `run` stands for the calls of a client."""
    return run.startswith(_CALLS)


def dag_run_name(run: RunId) -> str:
    """The name part of a dag run id, for example `main_dag:1`; empty for a workflow run."""
    return run.partition("/")[2]
