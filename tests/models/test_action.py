"""What a task may return beside None."""

from typing import Any

import pytest

from meshflow.errors import UsageError
from meshflow.models.action import Action
from meshflow.models.task import BaseTask
from meshflow.models.task_data import MultiTaskData, value_of


def test_no_limit_is_not_the_same_as_an_empty_one() -> None:
    data = MultiTaskData()
    assert (Action(data).limit, Action(data).limit_names) == (None, None)
    assert (Action(data, limit=[]).limit, Action(data, []).limit_names) == ([], ())
    assert Action(data).data is data


def test_names_and_tasks_may_be_mixed_in_a_limit() -> None:
    task = BaseTask("t")
    action = Action(MultiTaskData(), limit=["x", task])
    assert (action.limit, action.limit_names) == (["x", task], ("x", "t"))


@pytest.mark.parametrize("limit", [("x", "y"), {"x": 1, "y": 2}, iter(["x", "y"])])
def test_a_limit_may_be_any_collection(limit: Any) -> None:
    assert Action(MultiTaskData(), limit=limit).limit_names == ("x", "y")


@pytest.mark.parametrize("limit", ["fit", 5, BaseTask("t")])
def test_a_limit_that_is_no_list_is_refused(limit: Any) -> None:
    with pytest.raises(UsageError, match="must be a list of task names or tasks, not "):
        Action(MultiTaskData(), limit=limit)


@pytest.mark.parametrize("item", [5, None, b"fit"])
def test_a_limit_with_something_else_in_it_is_refused(item: Any) -> None:
    with pytest.raises(UsageError, match="is neither"):
        Action(MultiTaskData(), limit=["x", item])


def test_the_data_must_be_multi_task_data() -> None:
    with pytest.raises(UsageError, match=r"not dict {'x': 1}"):
        Action({"x": 1})  # type: ignore[arg-type]


def test_a_copy_shares_the_data_but_not_the_limit() -> None:
    action = Action(MultiTaskData(), limit=["x"])
    copy = action.copy()
    assert copy.data is action.data
    assert copy.limit == ["x"]
    assert copy.limit is not action.limit
    assert Action(MultiTaskData()).copy().limit is None


def test_a_value_with_a_choice_is_that_of_a_decorated_task() -> None:
    action = Action.of({"a": 1}, limit=["x"])
    assert (value_of(action.data), action.limit_names) == ({"a": 1}, ("x",))
    assert Action.of(None).limit is None
    with pytest.raises(UsageError, match="must be a list of task names"):
        Action.of(1, limit="fit")
