"""PythonTask: a task that calls a function."""

from collections.abc import Callable
from typing import Any

from meshflow.models.action import Action
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks import PythonTask

Run = Callable[[BaseTask], Action | None]


def test_the_callback_gets_the_four_arguments_and_may_change_the_data(
    run: Run, data: MultiTaskData, store: object, signal: object, context: object
) -> None:
    seen: list[tuple[Any, ...]] = []

    def callback(*arguments: Any) -> None:
        seen.append(arguments)
        arguments[0]["value"] += 1

    assert run(PythonTask("task", callback)) is None
    assert seen == [(data, store, signal, context)]
    assert data["value"] == 6


def test_what_the_callback_returns_is_what_the_task_returns(run: Run, data: MultiTaskData) -> None:
    action = Action(data, limit=["next"])
    assert run(PythonTask("task", lambda *_: action)) is action


def test_a_task_without_a_callback_does_nothing(run: Run, data: MultiTaskData) -> None:
    assert run(PythonTask("task")) is None
    assert data["value"] == 5


def test_the_options_of_a_task_are_accepted() -> None:
    task = PythonTask(
        name="task",
        callback=None,
        queue="gpu",
        force_run=True,
        propagate_skip=False,
        retries=2,
        retry_delay=0.5,
        backoff=2.0,
        timeout=10.0,
        priority=7,
    )
    assert (task.queue, task.has_to_run, task.propagate_skip) == ("gpu", True, False)
    assert (task.retries, task.retry_delay, task.backoff, task.timeout, task.priority) == (2, 0.5, 2.0, 10.0, 7)
    assert PythonTask("task", at_most_once=True).at_most_once
