"""A dag with the instances that its log says its mapped tasks have, for the checks: a second reading of that rule.

Instances are tasks that come after the one that was split, whose result they do not get, and have its children.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from meshflow.core.graph import DagDefinition, Edge
from meshflow.core.records import Entry, TaskEnded


@dataclass(frozen=True, slots=True)
class Expanded:
    """A dag in which instances are tasks like all others."""

    definition: DagDefinition
    rows: dict[int, bytes]
    """What each instance is given before all else."""
    mapped: dict[int, int]
    """The task of which it is one."""


def expand(definition: DagDefinition, entries: Iterable[Entry]) -> Expanded:
    """The dag with all instances that `entries` add, numbered in the order of their entries."""
    spec = definition.spec
    tasks, edges = list(spec.tasks), list(spec.edges)
    rows: dict[int, bytes] = {}
    mapped: dict[int, int] = {}
    for entry in entries:
        if not isinstance(entry, TaskEnded) or entry.rows is None:
            continue
        task, children = tasks[entry.task], [edge.child for edge in edges if edge.parent == entry.task]
        parents = [edge.parent for edge in edges if edge.child == entry.task]
        for index, row in enumerate(entry.rows):
            instance = len(tasks)
            tasks.append(replace(task, name=f"{task.name}[{index}]", splits=None))
            rows[instance], mapped[instance] = row.inline, entry.task
            shared = [each for each in parents if tasks[mapped.get(each, each)].name not in (task.splits or ())]
            edges += [Edge(parent, instance) for parent in shared] + [Edge(instance, child) for child in children]
    edges.sort(key=lambda edge: mapped.get(edge.parent, edge.parent))
    split = [each if each.splits is None else replace(each, at_most_once=False, retries=0) for each in tasks]
    return Expanded(replace(definition, spec=replace(spec, tasks=tuple(split), edges=tuple(edges))), rows, mapped)
