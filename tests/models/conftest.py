"""Stand-ins for what a task is given, with the signatures of the real things."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, PropertyMock, create_autospec

import pytest

from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData

WriteScript = Callable[[str, str], Path]


@pytest.fixture
def data_mock() -> Mock:
    mock: Mock = create_autospec(MultiTaskData, instance=True)
    return mock


@pytest.fixture
def store_mock() -> Mock:
    mock: Mock = create_autospec(DataStoreDocument, instance=True)
    return mock


@pytest.fixture
def signal_mock() -> Mock:
    mock: Mock = create_autospec(TaskSignal, instance=True)
    type(mock).is_stopped = PropertyMock(return_value=False)
    return mock


@pytest.fixture
def context_mock() -> Mock:
    mock: Mock = create_autospec(TaskContext, instance=True)
    return mock


@pytest.fixture
def write_script(tmp_path: Path) -> WriteScript:
    """Write a file below `tmp_path`, which is the folder to load workflows from; returns its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
