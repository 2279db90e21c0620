"""What a task hands on: its data, and which of its successors may run."""

from collections.abc import Iterable
from typing import Protocol, Self

from meshflow.errors import UsageError
from meshflow.models.task_data import RETURNED, MultiTaskData, TaskData


class Named(Protocol):
    """Anything that stands for its name: a task in `limit`, a dag in `start_dag`."""

    @property
    def name(self) -> str:
        """The name."""


class Action:
    """The return value of a task that wants to say more than "done"."""

    def __init__(self, data: MultiTaskData, limit: Iterable[str | Named] | None = None) -> None:
        """`limit` selects successors by name or task object; None selects all, an empty list none.

        Raises:
            UsageError: `data` is not a MultiTaskData, or `limit` is not a list of names and tasks.
        """
        if not isinstance(data, MultiTaskData):
            raise UsageError(f"an Action needs the MultiTaskData to pass on, not {type(data).__name__} {data!r:.80}")
        self._data = data
        self._limit = None if limit is None else _listed(limit)

    @classmethod
    def of(cls, value: object, limit: Iterable[str | Named] | None = None) -> Self:
        """What a decorated task returns to choose its successors: they are given `value` if `limit` selects them.

        Raises:
            UsageError: `limit` is not a list of names and tasks.
        """
        return cls(MultiTaskData(dataset=TaskData({RETURNED: (value,)})), limit)

    @property
    def data(self) -> MultiTaskData:
        """The data for the successors."""
        return self._data

    @property
    def limit(self) -> list[str | Named] | None:
        """The selected successors as they were given; None is no restriction."""
        return self._limit

    @property
    def limit_names(self) -> tuple[str, ...] | None:
        """The names of the selected successors; None is no restriction."""
        return None if self._limit is None else tuple(map(name_of, self._limit))

    def copy(self) -> "Action":
        """Another action with the same data object and the same selection."""
        return Action(self._data, self._limit)


def name_of(item: str | Named) -> str:
    """The name that `item` is or has."""
    return item if isinstance(item, str) else item.name


def _listed(limit: Iterable[str | Named]) -> list[str | Named]:
    # A string is iterable too: `limit="fit"` would select the tasks 'f', 'i' and 't'.
    if isinstance(limit, str) or not isinstance(limit, Iterable):
        raise UsageError(f"the limit of an Action must be a list of task names or tasks, not {limit!r:.80}")
    items = list(limit)
    for item in items:
        if not isinstance(getattr(item, "name", item), str):
            raise UsageError(f"the limit of an Action must be a list of task names or tasks; {item!r:.80} is neither")
    return items
