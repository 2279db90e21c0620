"""What `meshflow.models` offers."""

import pytest

import meshflow.models
from meshflow.errors import StopTask

LIGHTFLOW_NAMES = """
    Workflow Parameters Option Dag DagSignal BaseTask TaskStatus TaskParameters TaskSignal Action TaskData MultiTaskData
    DataStoreDocumentSection DataStoreDocument AbortWorkflow StopTask
"""


@pytest.mark.parametrize("name", LIGHTFLOW_NAMES.split())
def test_lightflows_names_are_there(name: str) -> None:
    assert getattr(meshflow.models, name).__name__ == name
    assert name in meshflow.models.__all__
    assert name in dir(meshflow.models)


def test_a_name_is_the_same_thing_wherever_it_is_imported_from() -> None:
    assert meshflow.models.StopTask is StopTask


@pytest.mark.parametrize("name", ["Server", "Client", "SignalConnection"])
def test_what_is_gone_says_where_it_went(name: str) -> None:
    with pytest.raises(ImportError, match=f"no '{name}': signals no longer go through a server.*docs/migration.md"):
        exec(f"from meshflow.models import {name}")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'meshflow.models' has no attribute 'Nonsense'"):
        _ = meshflow.models.Nonsense
