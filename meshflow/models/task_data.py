"""What travels between tasks: datasets with aliases.

Invariants:
1. Only flattened data leaves a task: one dataset, to which every alias points.
2. Where values clash, the default dataset wins; among the others, the one with the higher index.
3. A composed input has at least one dataset, so that `data[key]` always means something.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

from meshflow.errors import DataInvalidAlias, DataInvalidIndex, DataMergeConflict

RETURNED = "meshflow.returned"
"""The key under which a decorated task hands on what it returned: in a tuple of one, which no merge looks into."""


class TaskData:
    """One dataset: a dictionary, and the names of the tasks that contributed to it."""

    def __init__(self, data: dict[Any, Any] | None = None, *, task_history: list[str] | None = None) -> None:
        self._data = data if data is not None else {}
        self._task_history = task_history if task_history is not None else []

    @property
    def data(self) -> dict[Any, Any]:
        """The dictionary itself, not a copy."""
        return self._data

    @property
    def task_history(self) -> list[str]:
        """Names of the tasks that contributed, oldest first."""
        return self._task_history

    def add_task_history(self, task_name: str) -> None:
        """Note that `task_name` contributed."""
        self._task_history.append(task_name)

    def get(self, key: Any, default: Any = None) -> Any:
        """The value under `key`, or `default` if there is none."""
        return self._data.get(key, default)

    def set(self, key: Any, value: Any) -> None:
        """Put `value` under `key`."""
        self._data[key] = value

    def merge(self, dataset: "TaskData") -> None:
        """Put `dataset` on top of this one: its values win, nested dictionaries are merged, lists are replaced.

        Raises:
            DataMergeConflict: a dictionary meets a value that is none; what came before it has been merged.
        """
        _merge(dataset.data, self._data, "")
        for name in dataset.task_history:
            if name not in self._task_history:
                self._task_history.append(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(deepcopy(self._data, memo), task_history=list(self._task_history))

    def __getitem__(self, key: Any) -> Any:
        return self._data[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._data[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._data[key]

    def __contains__(self, key: object) -> bool:
        return key in self._data

    # Without this, Python would try the integers 0, 1, ... as keys.
    __iter__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data})"

    def __str__(self) -> str:
        return str(self._data)


class MultiTaskData:
    """The input and output of a task: one or more datasets, each with an index and any number of aliases.

    `data[key]` means the default dataset, `data("alias")` names one, and iterating yields all.
    """

    def __init__(self, *, dataset: TaskData | None = None, aliases: Sequence[str] | None = None) -> None:
        self._datasets = [] if dataset is None else [dataset]
        self._aliases: dict[str, int] = dict.fromkeys(aliases or (), 0)
        self._default_index = 0

    @property
    def default_index(self) -> int:
        """The index of the dataset that `data[key]` refers to; 0 unless it was set."""
        return self._default_index

    @property
    def default_dataset(self) -> TaskData:
        """The dataset that `data[key]` refers to.

        Raises:
            DataInvalidIndex: there is no dataset at all.
        """
        return self.get_by_index(self._default_index)

    def add_dataset(
        self, task_name: str, dataset: TaskData | None = None, *, aliases: Sequence[str] | None = None
    ) -> None:
        """Append a dataset (an empty one if None) under the name of the task it came from, and under `aliases`."""
        self._datasets.append(dataset if dataset is not None else TaskData())
        for alias in (task_name, *(aliases or ())):
            self._aliases[alias] = len(self._datasets) - 1

    def add_alias(self, alias: str, index: int) -> None:
        """Make `alias` a further name of the dataset at `index`.

        Raises:
            DataInvalidIndex: there is no such dataset.
        """
        self._aliases[alias] = self._checked(index)

    def get_by_index(self, index: int) -> TaskData:
        """The dataset at `index`; negative ones count from the end.

        Raises:
            DataInvalidIndex: there is no such dataset.
        """
        return self._datasets[self._checked(index)]

    def get_by_alias(self, alias: str) -> TaskData:
        """The dataset known as `alias`: the name of the task it came from, or of the slot it was put into.

        Raises:
            DataInvalidAlias: there is no such dataset.
        """
        return self.get_by_index(self._index_of(alias))

    def has_alias(self, alias: str) -> bool:
        """Whether there is a dataset known as `alias`."""
        return alias in self._aliases

    def set_default_by_index(self, index: int) -> None:
        """Let `data[key]` refer to the dataset at `index` from now on.

        Raises:
            DataInvalidIndex: there is no such dataset.
        """
        self._default_index = self._checked(index)

    def set_default_by_alias(self, alias: str) -> None:
        """Let `data[key]` refer to the dataset known as `alias` from now on.

        Raises:
            DataInvalidAlias: there is no such dataset.
        """
        self._default_index = self._index_of(alias)

    def add_task_history(self, task_name: str) -> None:
        """Note in every dataset that `task_name` contributed."""
        for dataset in self._datasets:
            dataset.add_task_history(task_name)

    def flatten(self, in_place: bool = True) -> "MultiTaskData | None":
        """Merge all datasets into one, the default dataset last so that it wins; every alias then means that one.

        Returns the merged data if `in_place` is False and leaves this object alone; else changes it and returns None.

        Raises:
            DataInvalidIndex: there is no dataset at all.
            DataMergeConflict: a dictionary meets a value that is none.
        """
        default = self.default_dataset
        merged = TaskData()
        for dataset in [*(other for other in self._datasets if other is not default), default]:
            merged.merge(dataset)
        if not in_place:
            return MultiTaskData(dataset=merged, aliases=list(self._aliases))
        self._datasets = [merged]
        self._aliases = dict.fromkeys(self._aliases, 0)
        self._default_index = 0
        return None

    def _checked(self, index: int) -> int:
        """`index`, counted from the start."""
        count = len(self._datasets)
        if not -count <= index < count:
            raise DataInvalidIndex(f"there is no dataset with index {index}; this task data has {count}")
        return index % count

    def _index_of(self, alias: str) -> int:
        if alias not in self._aliases:
            known = ", ".join(map(repr, self._aliases)) or "none"
            raise DataInvalidAlias(f"there is no dataset with the alias {alias!r}; the aliases are: {known}")
        return self._aliases[alias]

    def __call__(self, alias: str) -> TaskData:
        return self.get_by_alias(alias)

    def __iter__(self) -> Iterator[TaskData]:
        return iter(self._datasets)

    def __getitem__(self, key: Any) -> Any:
        return self.default_dataset[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.default_dataset[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.default_dataset[key]

    def __contains__(self, key: object) -> bool:
        return key in self.default_dataset

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._datasets}, aliases={self._aliases}, default={self._default_index})"


Parts = tuple[list[tuple[dict[Any, Any], list[str]]], dict[str, int], int]
"""Datasets with their histories, aliases, and the default index."""


def taken_apart(data: MultiTaskData) -> Parts | MultiTaskData:
    """The same in built-in containers, which are pickled ten times as fast; data of classes of the user as it is."""
    datasets = data._datasets
    if type(data) is not MultiTaskData or any(type(each) is not TaskData for each in datasets):
        return data
    return [(each._data, each._task_history) for each in datasets], data._aliases, data._default_index


def put_together(parts: Parts | MultiTaskData) -> MultiTaskData:
    """The data that was taken apart."""
    if isinstance(parts, MultiTaskData):
        return parts
    data = MultiTaskData()
    datasets, data._aliases, data._default_index = parts
    data._datasets = [TaskData(content, task_history=history) for content, history in datasets]
    return data


def compose(inputs: Sequence[tuple[str, str | None, MultiTaskData]], *, task_name: str) -> MultiTaskData:
    """The input of the task `task_name`, from what its parents returned.

    `inputs` are `(parent task, slot or None, its result)` of the parents that were not skipped, in edge order: the
    first one becomes the default. Of each the default dataset is taken, not copied. Without any there is one empty
    dataset under the task's own name.
    """
    data = MultiTaskData()
    for parent, slot, result in inputs:
        data.add_dataset(parent, result.default_dataset, aliases=[slot] if slot else None)
    if not inputs:
        data.add_dataset(task_name)
    return data


def no_items() -> MultiTaskData:
    """What a mapped task hands on: a list that waits for the results of its instances."""
    return MultiTaskData(dataset=TaskData({RETURNED: ([],)}))


def add_item(items: MultiTaskData, result: MultiTaskData) -> None:
    """Append what the next instance has returned, or None if it was stopped, to a list that `no_items` has made."""
    items.default_dataset[RETURNED][0].append(result.default_dataset.get(RETURNED, (None,))[0])


def value_of(data: MultiTaskData) -> Any:
    """What a task returned, if it is a decorated one; else the data itself."""
    dataset = data.default_dataset
    return dataset[RETURNED][0] if RETURNED in dataset else data


def _merge(source: Mapping[Any, Any], target: dict[Any, Any], path: str) -> None:
    for key, value in source.items():
        if not isinstance(value, dict):
            target[key] = value
            continue
        here = f"{path}[{key!r}]"
        below = target.setdefault(key, {})
        if not isinstance(below, dict):
            raise DataMergeConflict(
                f"datasets cannot be merged: {here} is a dictionary in one and {type(below).__name__} in another; "
                "use different keys, or delete one of the two"
            )
        _merge(value, below, here)
