"""Lightflow's exceptions: their names, their signatures, and that they are one tree and survive a pickle."""

import pickle

import pytest

from meshflow import errors
from meshflow.errors import MeshflowError
from meshflow.models import exceptions
from meshflow.models.exceptions import (
    AbortWorkflow,
    DirectedAcyclicGraphInvalid,
    LightflowException,
    StopTask,
    WorkflowDefinitionError,
)

LIGHTFLOW_NAMES = """
    LightflowException AbortWorkflow StopTask ConfigLoadError ConfigFieldError ConfigNotDefinedError
    ConfigOverwriteError
    WorkflowArgumentError WorkflowImportError WorkflowDefinitionError DirectedAcyclicGraphInvalid
    DirectedAcyclicGraphUndefined DataInvalidIndex DataInvalidAlias DataStoreNotConnected DataStoreGridfsIdInvalid
    DataStoreDecodeUnknownType TaskReturnActionInvalid RequestActionUnknown DagNameUnknown EventTypeUnknown
    JobEventTypeUnsupported WorkerEventTypeUnsupported JobStatInvalid DataStoreIDExists DataStoreIDInvalid RequestFailed
"""


@pytest.mark.parametrize("name", LIGHTFLOW_NAMES.split())
def test_each_of_lightflows_names_is_part_of_the_tree(name: str) -> None:
    assert issubclass(getattr(exceptions, name), MeshflowError)
    assert issubclass(getattr(exceptions, name), RuntimeError)
    assert name in exceptions.__all__


def test_the_message_is_in_str_and_repr() -> None:
    error = LightflowException("the message")
    assert (str(error), error.message) == ("the message", "the message")
    assert repr(AbortWorkflow("the message")) == "<AbortWorkflow - the message>"
    assert str(LightflowException()) == ""


def test_stop_task_skips_successors_unless_told_otherwise() -> None:
    assert StopTask().skip_successors is True
    assert StopTask("m", skip_successors=False).skip_successors is False


def test_graph_errors_name_dag_and_workflow() -> None:
    error = WorkflowDefinitionError("flow", "main")
    assert (error.workflow_name, error.graph_name) == ("flow", "main")
    assert str(error) == "dag 'main' of workflow 'flow' cannot be run: it is not a directed acyclic graph"
    assert isinstance(error, DirectedAcyclicGraphInvalid)
    assert str(DirectedAcyclicGraphInvalid("main")) == "dag 'main' cannot be run: it is not a directed acyclic graph"


@pytest.mark.parametrize(
    "error",
    [
        StopTask("m", skip_successors=False),
        AbortWorkflow("m"),
        DirectedAcyclicGraphInvalid("g", "why"),
        WorkflowDefinitionError("w", "g", "why"),
        errors.PickleFailed("what", "why"),
        errors.DataMergeConflict("m"),
    ],
)
def test_errors_survive_a_pickle(error: MeshflowError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))
