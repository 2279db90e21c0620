"""Datasets: merging, aliases, and how a task's input is composed."""

import pickle
from collections import Counter
from copy import deepcopy

import pytest

from meshflow.errors import DataInvalidAlias, DataInvalidIndex, DataMergeConflict
from meshflow.models.task_data import RETURNED, MultiTaskData, TaskData, compose, value_of


def data_of(*datasets: TaskData) -> MultiTaskData:
    """The datasets under the names 'a', 'b', 'c', ..."""
    data = MultiTaskData()
    for name, dataset in zip("abcdef", datasets, strict=False):
        data.add_dataset(name, dataset)
    return data


# --- one dataset ---


def test_a_dataset_is_used_like_a_dictionary() -> None:
    data = TaskData({"x": 1})
    data["y"] = 2
    data.set("z", 3)
    del data["x"]
    assert (data["y"], data.get("z"), data.get("x"), data.get("x", 7)) == (2, 3, None, 7)
    assert "y" in data
    assert "x" not in data
    with pytest.raises(KeyError):
        data["x"]
    with pytest.raises(KeyError):
        del data["x"]


def test_a_dataset_keeps_the_dictionary_it_is_given() -> None:
    given = {"x": 1}
    data = TaskData(given)
    data["y"] = 2
    assert data.data is given
    assert TaskData().data == {}


def test_a_dataset_cannot_be_iterated() -> None:
    with pytest.raises(TypeError):
        iter(TaskData({0: "zero"}))


def test_repr_and_str_of_a_dataset() -> None:
    data = TaskData({"x": 1})
    assert (repr(data), str(data)) == ("TaskData({'x': 1})", "{'x': 1}")


def test_history_names_are_appended() -> None:
    data = TaskData(task_history=["a"])
    data.add_task_history("b")
    data.add_task_history("b")
    assert data.task_history == ["a", "b", "b"]
    assert TaskData().task_history == []


def test_merge_lets_the_other_win_and_goes_into_dictionaries() -> None:
    data = TaskData({"keep": 1, "x": 1, "list": [1], "deep": {"keep": 1, "x": 1}, "gone": {"a": 1}})
    data.merge(TaskData({"x": 2, "list": [2], "deep": {"x": 2, "new": {"y": 2}}, "gone": 5}))
    assert data.data == {
        "keep": 1,
        "x": 2,
        "list": [2],
        "deep": {"keep": 1, "x": 2, "new": {"y": 2}},
        "gone": 5,
    }


def test_merge_copies_dictionaries_so_that_the_source_stays_as_it_is() -> None:
    source = TaskData({"deep": {"x": 1}})
    data = TaskData()
    data.merge(source)
    data["deep"]["x"] = 2
    assert source["deep"]["x"] == 1


def test_merge_appends_to_the_history_without_doubling_names() -> None:
    data = TaskData(task_history=["a", "b"])
    data.merge(TaskData(task_history=["b", "c"]))
    assert data.task_history == ["a", "b", "c"]


def test_merging_a_dictionary_onto_something_else_is_refused_with_the_path() -> None:
    data = TaskData({"a": {"b": 5}})
    with pytest.raises(DataMergeConflict, match=r"\['a'\]\['b'\] is a dictionary in one and int in another"):
        data.merge(TaskData({"a": {"b": {"c": 1}}}))
    with pytest.raises(TypeError):
        data.merge(TaskData({"a": {"b": {"c": 1}}}))


def test_a_deep_copy_of_a_dataset_shares_nothing() -> None:
    data = TaskData({"deep": [1]}, task_history=["a"])
    copy = deepcopy(data)
    copy["deep"].append(2)
    copy.add_task_history("b")
    assert (data["deep"], data.task_history) == ([1], ["a"])
    assert (copy["deep"], copy.task_history) == ([1, 2], ["a", "b"])


# --- several datasets ---


def test_the_first_dataset_is_the_default() -> None:
    data = data_of(TaskData({"x": 1}), TaskData({"x": 2}))
    assert (data.default_index, data["x"], data("b")["x"]) == (0, 1, 2)


def test_item_access_goes_to_the_default_dataset() -> None:
    data = data_of(TaskData({"x": 1}), TaskData({"x": 2}))
    data.set_default_by_alias("b")
    data["y"] = 3
    del data["x"]
    assert data("b").data == {"y": 3}
    assert data("a").data == {"x": 1}
    assert "y" in data
    assert "x" not in data


def test_a_dataset_is_found_by_task_name_by_alias_and_by_index() -> None:
    data = MultiTaskData()
    dataset = TaskData()
    data.add_dataset("first")
    data.add_dataset("task", dataset, aliases=["slot", "other"])
    data.add_alias("late", 1)
    for alias in ("task", "slot", "other", "late"):
        assert data.get_by_alias(alias) is dataset
        assert data(alias) is dataset
    assert data.get_by_index(1) is dataset
    assert data.get_by_index(-1) is dataset
    assert list(data) == [data("first"), dataset]


def test_the_constructor_takes_one_dataset_with_aliases() -> None:
    dataset = TaskData()
    data = MultiTaskData(dataset=dataset, aliases=["x", "y"])
    assert data("x") is data("y") is data.default_dataset is dataset


def test_a_later_dataset_takes_over_a_name() -> None:
    data = data_of(TaskData({"x": 1}))
    data.add_dataset("a", TaskData({"x": 2}))
    assert (data("a")["x"], data["x"]) == (2, 1)


@pytest.mark.parametrize("index", [2, -3, 100])
def test_an_index_that_is_not_there_is_refused(index: int) -> None:
    data = data_of(TaskData(), TaskData())
    message = f"no dataset with index {index}; this task data has 2"
    with pytest.raises(DataInvalidIndex, match=message):
        data.get_by_index(index)
    with pytest.raises(DataInvalidIndex, match=message):
        data.set_default_by_index(index)
    with pytest.raises(DataInvalidIndex, match=message):
        data.add_alias("x", index)
    assert data.default_index == 0


def test_a_negative_default_counts_from_the_end() -> None:
    data = data_of(TaskData({"x": 1}), TaskData({"x": 2}))
    data.set_default_by_index(-1)
    assert (data.default_index, data["x"]) == (1, 2)


def test_an_alias_that_is_not_there_is_refused_with_those_that_are() -> None:
    data = data_of(TaskData(), TaskData())
    for ask in (data.get_by_alias, data.set_default_by_alias, data):
        with pytest.raises(DataInvalidAlias, match="no dataset with the alias 'z'; the aliases are: 'a', 'b'"):
            ask("z")
    with pytest.raises(DataInvalidAlias, match="the aliases are: none"):
        MultiTaskData()("z")


def test_an_empty_object_has_no_default_dataset() -> None:
    data = MultiTaskData(aliases=["x"])
    with pytest.raises(DataInvalidIndex):
        _ = data.default_dataset
    with pytest.raises(DataInvalidIndex):
        data("x")
    with pytest.raises(DataInvalidIndex):
        data.flatten()
    assert list(data) == []


def test_history_is_added_to_every_dataset() -> None:
    data = data_of(TaskData(), TaskData(task_history=["x"]))
    data.add_task_history("t")
    assert [dataset.task_history for dataset in data] == [["t"], ["x", "t"]]


def test_flatten_merges_in_order_of_index_with_the_default_on_top() -> None:
    data = data_of(TaskData({"k": "a", "n": "a"}), TaskData({"k": "b", "m": "b"}), TaskData({"k": "c", "m": "c"}))
    data.set_default_by_index(1)
    assert data.flatten() is None
    assert [dataset.data for dataset in data] == [{"k": "b", "n": "a", "m": "b"}]
    assert data.default_index == 0
    assert data("a") is data("b") is data("c") is data.default_dataset


def test_flatten_without_default_chosen_lets_the_first_win_and_then_the_last() -> None:
    data = data_of(TaskData({"k": "a"}), TaskData({"k": "b", "m": "b"}), TaskData({"k": "c", "m": "c"}))
    data.flatten()
    assert data.default_dataset.data == {"k": "a", "m": "c"}


def test_flatten_puts_the_history_of_the_default_last() -> None:
    """Lightflow's example of a join: inputs a (default) and b make `b, a`, to which the task adds its own name."""
    data = data_of(TaskData(task_history=["r", "a"]), TaskData(task_history=["r", "b"]))
    data.flatten()
    assert data.default_dataset.task_history == ["r", "b", "a"]


def test_flatten_on_the_side_leaves_the_object_alone() -> None:
    data = data_of(TaskData({"x": 1}), TaskData({"y": 2}))
    flat = data.flatten(in_place=False)
    assert flat is not None
    assert flat.default_dataset.data == {"x": 1, "y": 2}
    assert flat("a") is flat("b")
    assert [dataset.data for dataset in data] == [{"x": 1}, {"y": 2}]


def test_data_can_be_pickled_and_copied() -> None:
    data = data_of(TaskData({"x": 1}), TaskData({"y": 2}, task_history=["b"]))
    data.set_default_by_index(1)
    for copy in (pickle.loads(pickle.dumps(data)), deepcopy(data)):
        assert repr(copy) == repr(data)
        assert copy["y"] == 2
    assert repr(data) == "MultiTaskData([TaskData({'x': 1}), TaskData({'y': 2})], aliases={'a': 0, 'b': 1}, default=1)"


# --- the input of a task ---


def test_the_first_parent_brings_the_default_dataset() -> None:
    one = MultiTaskData(dataset=TaskData({"x": 1}), aliases=["old"])
    two = MultiTaskData(dataset=TaskData({"x": 2}))
    data = compose([("first", None, one), ("second", "slot", two)], task_name="t")
    assert data["x"] == 1
    assert data("second")["x"] == data("slot")["x"] == 2
    assert data("first") is one.default_dataset
    with pytest.raises(DataInvalidAlias):
        data("old")


def test_an_empty_slot_name_is_no_slot() -> None:
    data = compose([("p", "", MultiTaskData(dataset=TaskData()))], task_name="t")
    with pytest.raises(DataInvalidAlias, match=r"the aliases are: 'p'$"):
        data("")


def test_without_inputs_there_is_one_empty_dataset_named_after_the_task() -> None:
    data = compose([], task_name="t")
    assert [dataset.data for dataset in data] == [{}]
    assert data("t") is data.default_dataset


# --- what decorated tasks returned ---


def test_the_value_of_a_decorated_task_survives_merging_as_it_is() -> None:
    value = Counter("ab")
    data = MultiTaskData(dataset=TaskData({RETURNED: (value,)}))
    data.flatten()
    assert value_of(data) is value


def test_data_of_other_tasks_is_its_own_value() -> None:
    data = data_of(TaskData({"x": 1}))
    assert value_of(data) is data


def test_whether_there_is_an_alias_can_be_asked() -> None:
    data = data_of(TaskData())
    assert data.has_alias("a")
    assert not data.has_alias("b")
