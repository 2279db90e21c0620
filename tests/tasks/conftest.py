"""Fixtures for tasks that run without a mesh; see `task_fakes`."""

from collections.abc import Callable, Iterator

import pytest

from meshflow.models.action import Action
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData, TaskData
from tests.tasks.task_fakes import FakeDocument, FakeRun, Watched


@pytest.fixture
def data() -> MultiTaskData:
    return MultiTaskData(dataset=TaskData({"value": 5}), aliases=["parent"])


@pytest.fixture
def store() -> FakeDocument:
    return FakeDocument()


@pytest.fixture
def owner() -> Iterator[FakeRun]:
    run = FakeRun()
    yield run
    run.close()


@pytest.fixture
def signal(owner: FakeRun) -> TaskSignal:
    return TaskSignal(owner, "main_dag:1")


@pytest.fixture
def context() -> TaskContext:
    return TaskContext("task", "main_dag:1", "workflow", "0" * 24, "node")


@pytest.fixture
def run(
    data: MultiTaskData, store: FakeDocument, signal: TaskSignal, context: TaskContext
) -> Callable[[BaseTask], Action | None]:
    """Run a task in the fake surroundings."""
    return lambda task: task.run(data, store, signal, context)


@pytest.fixture
def watch() -> Iterator[Callable[[int], Watched]]:
    """Start to watch a process."""
    watched: list[Watched] = []

    def start(pid: int) -> Watched:
        watched.append(Watched(pid))
        return watched[-1]

    yield start
    for each in watched:
        each.close()
