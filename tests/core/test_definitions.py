"""Definitions are checked before a run is claimed."""

from dataclasses import replace

import pytest

from meshflow.core.definitions import definition_of
from meshflow.core.graph import DagDefinition, Edge, WorkflowSpec
from meshflow.errors import PeerError
from tests.core.builders import RUN, WF, dag, definition, workflow

GOOD_DAG = definition(dag("a b", "a>b"))
GOOD_WORKFLOW = workflow("d", "sub")


class Stored:
    """Reads what it was given, whatever the bytes are."""

    def __init__(self, workflow_spec: WorkflowSpec = GOOD_WORKFLOW, dag_definition: DagDefinition = GOOD_DAG) -> None:
        self._workflow, self._dag = workflow_spec, dag_definition

    def workflow(self, data: bytes) -> WorkflowSpec:
        return self._workflow

    def dag(self, data: bytes) -> DagDefinition:
        return self._dag


def test_a_workflow_run_has_a_workflow_and_a_dag_run_a_dag() -> None:
    assert definition_of(WF, b"", Stored()) is GOOD_WORKFLOW
    assert definition_of(RUN, b"", Stored()) is GOOD_DAG


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(PeerError, match=f"^run {RUN} has no definition in the store$"):
        definition_of(RUN, None, Stored())


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (workflow(dag_queues=()), "workflow 'w' has 1 dags, but 0 queues for them"),
        (replace(workflow("d"), autostart=("d", "x")), "workflow 'w' starts the dag 'x', which it does not have"),
    ],
)
def test_a_workflow_that_could_not_be_driven_is_refused(spec: WorkflowSpec, why: str) -> None:
    with pytest.raises(PeerError, match=f"^{why}$"):
        definition_of(WF, b"", Stored(workflow_spec=spec))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (definition(dag("a", "a>a")), "dag 'd' cannot be run: its tasks form a cycle: a -> a"),
        (definition(replace(dag("a"), edges=(Edge(0, 7),))), "edge 0 -> 7 names a task that the dag does not have"),
        (
            replace(GOOD_DAG, payloads={"code of a": b""}),
            "dag 'd' lacks the code 'code of b' of its task 'b'",
        ),
    ],
)
def test_a_dag_that_could_not_be_driven_is_refused(broken: DagDefinition, why: str) -> None:
    with pytest.raises(PeerError, match=f"{why}$"):
        definition_of(RUN, b"", Stored(dag_definition=broken))
