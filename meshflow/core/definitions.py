"""What `submit` stored about a run, read and checked before the run is claimed, so that nothing in it can surprise the
node that drives it."""

from typing import Protocol

from meshflow.core.graph import DagDefinition, WorkflowSpec, check
from meshflow.errors import InvalidGraph, PeerError
from meshflow.ids import RunId, dag_run_name


class Definitions(Protocol):
    """Reads definitions; given by the shell, since the core has no codec."""

    def workflow(self, data: bytes) -> WorkflowSpec:
        """Raises: PeerError if the bytes make no sense."""

    def dag(self, data: bytes) -> DagDefinition:
        """Raises: PeerError if the bytes make no sense."""


def definition_of(run: RunId, data: bytes | None, definitions: Definitions) -> WorkflowSpec | DagDefinition:
    """The blueprint of a workflow run or dag run; `data` is what the store has of it, None if it has nothing.

    Raises:
        PeerError: it is not there, or is not what it should be.
    """
    if data is None:
        raise PeerError(f"run {run} has no definition in the store")
    if dag_run_name(run):
        return _checked_dag(definitions.dag(data))
    return _checked_workflow(definitions.workflow(data))


def _checked_dag(definition: DagDefinition) -> DagDefinition:
    try:
        check(definition.spec)
    except InvalidGraph as problem:
        raise PeerError(str(problem)) from problem
    for task in definition.spec.tasks:
        if task.payload not in definition.payloads:
            raise PeerError(f"dag {definition.spec.name!r} lacks the code {task.payload!r} of its task {task.name!r}")
    return definition


def _checked_workflow(spec: WorkflowSpec) -> WorkflowSpec:
    if len(spec.dag_queues) != len(spec.dags):
        raise PeerError(f"workflow {spec.name!r} has {len(spec.dags)} dags, but {len(spec.dag_queues)} queues for them")
    unknown = [name for name in spec.autostart if name not in spec.dags]
    if unknown:
        raise PeerError(f"workflow {spec.name!r} starts the dag {unknown[0]!r}, which it does not have")
    return spec
