"""Retries, timeout and priority of a task: their ranges, and that a task class may use their names."""

from typing import Any

import pytest

from meshflow.errors import UsageError
from meshflow.models.job_options import JobOption, JobOptions
from meshflow.models.task import BaseTask


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retries", -1),
        ("retries", 1.5),
        ("retries", True),
        ("retry_delay", -0.1),
        ("retry_delay", "1"),
        ("retry_delay", float("inf")),
        ("timeout", float("nan")),
        ("backoff", 0.5),
        ("backoff", float("nan")),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "5"),
        ("timeout", False),
        ("priority", 1.5),
        ("priority", None),
        ("priority", [1]),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"task 't': {option} is .*, but must be "):
        BaseTask("t", **{option: value})


def test_at_most_once_and_retries_exclude_each_other() -> None:
    with pytest.raises(UsageError, match=r"at_most_once.*retries=2"):
        BaseTask("t", at_most_once=True, retries=2)
    assert BaseTask("t", at_most_once=True).job_options.at_most_once


def test_options_at_the_edge_of_their_range_are_taken() -> None:
    task = BaseTask("t", retries=5, retry_delay=0, backoff=1, timeout=0.001, priority=-3)
    assert task.job_options == JobOptions(5, 0, 1, 0.001, -3)


def test_a_task_class_may_use_the_names_of_job_options_for_itself() -> None:
    """A class written for Lightflow does not know of ours."""

    class Waiting(BaseTask):
        def __init__(self, name: str, timeout: str) -> None:
            super().__init__(name)
            self.timeout, self.priority, self.retries = timeout, "high", None

    task = Waiting("t", "5 minutes")
    assert (task.timeout, task.priority, task.retries) == ("5 minutes", "high", None)
    assert task.job_options == JobOptions()


def test_the_job_options_can_be_read_one_by_one() -> None:
    task = BaseTask("t", retries=5, retry_delay=4, backoff=3, timeout=2, priority=1)
    assert (task.retries, task.retry_delay, task.backoff, task.timeout, task.priority) == (5, 4, 3, 2, 1)
    assert BaseTask("t", at_most_once=True).at_most_once is True
    assert isinstance(BaseTask.retries, JobOption)
