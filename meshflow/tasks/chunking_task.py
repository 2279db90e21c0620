"""A task that sorts a list into groups and starts a dag for each of them.

An item belongs to the group that its match names: the named group `match` of the pattern, else the first group, else
all that matched. Items that do not match belong to no group.

Invariants:
1. Groups start in the order of their first items, and keep the order of the list. No group is empty.
2. The data of the task itself stays as it is: each dag gets a copy.
3. A group that may go on with the next list (`flush_on_end=False`) waits in the store under `chunking_list`, and comes
   first the next time.
"""

import re
from copy import deepcopy
from typing import Unpack

from meshflow.errors import WorkflowError
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.signal import TaskSignal
from meshflow.models.task import BaseTask
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData
from meshflow.models.task_parameters import TaskParameters
from meshflow.tasks.options import Given, TaskOptions

_KEPT_KEY = "chunking_list"


class ChunkingTask(BaseTask):
    """Starts `dag_name` once for each group of items in the list `data[in_key]`.

    Each option may be given as a function of `(data, store)`.

    Args:
        name: Unique within its dag.
        dag_name: The dag to start.
        match_pattern: A regular expression, looked for anywhere in an item; what it finds names the item's group.
        in_key: Where the list of strings is in the data.
        out_key: Where the started dag finds its group; None: under `in_key`.
        flush_string: An item that ends the group before it, even if the next item would belong to it, and belongs to no
            group itself. Only with `force_consecutive`.
        flush_on_end: Whether the end of the list ends the last group too. If not, it is kept for the next list, unless
            a flush string ended it. Without `force_consecutive` it always does.
        force_consecutive: Whether an item of another group ends a group. If not, all equal matches make one group.
        decimate: Keep every n-th item of a group only, beginning with the first; at least 1.
        **options: Those of `BaseTask`.
    """

    def __init__(
        self,
        name: str,
        dag_name: Given[str],
        match_pattern: Given[str],
        in_key: Given[str],
        out_key: Given[str | None] = None,
        flush_string: Given[str] = "|",
        flush_on_end: Given[bool] = True,
        force_consecutive: Given[bool] = True,
        decimate: Given[int] = 1,
        **options: Unpack[TaskOptions],
    ) -> None:
        super().__init__(name, **options)
        self.params = TaskParameters(
            dag_name=dag_name,
            match_pattern=match_pattern,
            in_key=in_key,
            out_key=out_key,
            flush_string=flush_string,
            flush_on_end=flush_on_end,
            force_consecutive=force_consecutive,
            decimate=decimate,
        )

    def run(
        self,
        data: MultiTaskData,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        **kwargs: object,
    ) -> None:
        """Start the dags; they are not waited for.

        Raises:
            WorkflowError: there is no list under `in_key`, or `decimate` is less than 1.
            DagNameUnknown: the workflow has no dag of that name.
        """
        params = self.params.eval(data, store)
        if params.decimate < 1:
            raise WorkflowError(f"decimate of task {self.name!r} is {params.decimate!r}, expected at least 1")
        pattern = re.compile(params.match_pattern)
        kept: list[str] = store.get(_KEPT_KEY, [])
        items = kept + self._items(data, params.in_key)
        unfinished: list[str] = []
        if params.force_consecutive:
            groups, is_last_open = _consecutive(items, pattern, params.flush_string)
            if is_last_open and not params.flush_on_end:
                unfinished = groups.pop()
        else:
            groups = _all_equal(items, pattern)
        for group in groups:
            chunk = deepcopy(data)
            chunk[params.in_key if params.out_key is None else params.out_key] = group[:: params.decimate]
            signal.start_dag(params.dag_name, data=chunk)
        # Last, so that an attempt which was lost while it started dags is repeated with the same groups.
        if unfinished != kept:
            store.set(_KEPT_KEY, unfinished)

    def _items(self, data: MultiTaskData, key: str) -> list[str]:
        items = data.default_dataset.get(key)
        if not isinstance(items, (list, tuple)):
            raise WorkflowError(f"task {self.name!r} expects a list in data[{key!r}], and there is {items!r:.80}")
        return list(items)


def _consecutive(items: list[str], pattern: re.Pattern[str], flush_string: str) -> tuple[list[list[str]], bool]:
    """Groups of neighbours, and whether the last one could still grow."""
    groups: list[list[str]] = []
    current: str | None = None
    for item in items:
        if item == flush_string:
            current = None
            continue
        name = _group_name(item, pattern)
        if name is None:
            continue
        if name != current:
            groups.append([])
            current = name
        groups[-1].append(item)
    return groups, current is not None


def _all_equal(items: list[str], pattern: re.Pattern[str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for item in items:
        name = _group_name(item, pattern)
        if name is not None:
            groups.setdefault(name, []).append(item)
    return list(groups.values())


def _group_name(item: str, pattern: re.Pattern[str]) -> str | None:
    """The group that `item` belongs to, or None if it belongs to none."""
    found = pattern.search(item)
    if found is None:
        return None
    if "match" in pattern.groupindex:
        return found["match"]
    return found[1] if pattern.groups else found[0]
