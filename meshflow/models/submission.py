"""A workflow made ready to be sent: plain descriptions, opaque payloads, native arguments.

After `pack`, nothing of the user's code or objects is needed any more, and all that can be wrong with them has been
found: cycles, doubled names, dags without a schema, what cannot be pickled, arguments that are missing or of the wrong
type.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.errors import InvalidGraph, WorkflowArgumentError, WorkflowDefinitionError
from meshflow.models.bundles import pack_tasks
from meshflow.models.dag import Dag
from meshflow.models.datastore import encode, is_field_name
from meshflow.models.workflow import Workflow, require_arguments

MAX_TASK_BYTES = 32 * 1024 * 1024
"""The largest pickle of one task with its code. It travels to the nodes in a message together with what the task gets
from its parents, see `OwnerSettings.max_inputs_bytes` and `TransportSettings.max_message_bytes`."""


@dataclass(frozen=True, slots=True)
class Submission:
    """All that a run of a workflow needs."""

    spec: WorkflowSpec
    dags: dict[str, DagDefinition]
    """By name, in the order of `spec.dags`."""
    arguments: dict[str, object]
    """Native values, for the data section of the run's document: each argument is a field of its own there."""


def pack(
    workflow: Workflow, arguments: Mapping[str, Any] | None = None, *, max_bytes: int = MAX_TASK_BYTES
) -> Submission:
    """Make `workflow` ready to be sent, to be run with `arguments` (None: those it was loaded with).

    `max_bytes` limits the payload of each task.

    Raises:
        WorkflowArgumentError: an argument is missing or cannot be converted.
        WorkflowDefinitionError: a dag has a cycle, or two tasks of one name.
        DirectedAcyclicGraphUndefined: a dag has no schema.
        PickleFailed: a task cannot be pickled or is too large.
        WorkflowError: a decorated workflow function has failed.
        DataStoreValueError: an argument cannot be pickled.
    """
    given = workflow.provided_arguments if arguments is None else arguments
    require_arguments(workflow.name, workflow.parameters, given)
    for name in given:
        if not is_field_name(name):
            raise WorkflowArgumentError(f"{name!r} is no name for an argument: it becomes a field of the data store")
    native = {name: encode(value, name) for name, value in workflow.parameters.consolidate(given).items()}
    dags = {name: _definition(workflow.name, dag, max_bytes) for name, dag in workflow.make_dags(given).items()}
    spec = WorkflowSpec(
        name=workflow.name,
        queue=workflow.queue,
        dags=tuple(dags),
        autostart=tuple(name for name, dag in dags.items() if dag.spec.autostart),
        dag_queues=tuple(dag.spec.queue for dag in dags.values()),
        clear_data_store=workflow.clear_data_store,
    )
    return Submission(spec, dags, native)


def pack_dag(name: str, dag: Dag, *, queue: str = "workflow", max_bytes: int = MAX_TASK_BYTES) -> Submission:
    """Make a workflow of that name ready to be sent that has this dag only, and keeps its data when it has ended.

    Raises: as `pack`.
    """
    spec = WorkflowSpec(name, queue, (dag.name,), (dag.name,), (dag.queue,), clear_data_store=False)
    return Submission(spec, {dag.name: _definition(name, dag, max_bytes)}, {})


def _definition(workflow_name: str, dag: Dag, max_bytes: int) -> DagDefinition:
    try:
        dag.check()
    except InvalidGraph as exc:
        raise WorkflowDefinitionError(workflow_name, exc.graph_name, exc.reason) from exc
    digests, payloads = pack_tasks(dag.tasks, max_bytes=max_bytes)
    return DagDefinition(dag.spec(digests), payloads)
