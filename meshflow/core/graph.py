"""The plain description of a workflow: what a node needs to drive it, and nothing that must be unpickled.

Invariants:
1. Task names are unique within a dag, dag names within a workflow; every edge joins two tasks of its dag; no cycles.
2. Tasks keep the order in which the user defined them, and edges the order of the schema: the order of a task's
   incoming edges decides its default dataset (Lightflow's rule).
3. User code is a digest into `payloads`, which are opaque bytes here.
"""

from dataclasses import dataclass

from meshflow.errors import InvalidGraph


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a dag as the mesh sees it."""

    name: str
    queue: str
    payload: str
    """Digest of the pickled task; the bytes are in the payloads of its dag."""
    force_run: bool = False
    propagate_skip: bool = True
    retries: int = 0
    """How often a failed or lost attempt is tried again, beyond the first."""
    retry_delay_s: float = 0.0
    backoff: float = 1.0
    """Each further retry waits this many times longer than the one before; at least 1."""
    timeout_s: float | None = None
    """An attempt that runs longer fails; None means no limit."""
    priority: int = 0
    """Larger goes first; ties go first in, first out."""
    at_most_once: bool = False
    """Never start a second attempt that might follow a started one: a lost attempt fails instead."""
    splits: tuple[str, ...] | None = None
    """Of a mapped task: the parents in whose values there are only lists that it is mapped over. It runs to split these
    into rows. Each of its *instances*, a task for each row, gets that and the values of the other parents. None: it is
    not mapped."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`child` may run after `parent` (indices into the tasks), and sees its data under `slot` too (None: no slot)."""

    parent: int
    child: int
    slot: str | None = None


@dataclass(frozen=True, slots=True)
class DagSpec:
    """A dag blueprint: tasks in definition order, edges in schema order."""

    name: str
    autostart: bool
    queue: str
    tasks: tuple[TaskSpec, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A workflow blueprint. The tasks of each dag travel apart (see `DagDefinition`): the owner of the workflow run
    needs only their names."""

    name: str
    queue: str
    dags: tuple[str, ...]
    autostart: tuple[str, ...]
    dag_queues: tuple[str, ...]
    """The queue of each dag, in the order of `dags`."""
    clear_data_store: bool = True


@dataclass(frozen=True, slots=True)
class DagDefinition:
    """A dag with the pickled tasks it needs, as it is kept in the store: `{digest: bytes}`."""

    spec: DagSpec
    payloads: dict[str, bytes]


_MAX_NAMED = 10
"""A message about a cycle names no more tasks than a person will read."""


def check(spec: DagSpec) -> None:
    """Refuse a dag that breaks invariant 1.

    Raises:
        InvalidGraph: a duplicate task name, an edge out of range, or a cycle (which is named).
    """
    names = [task.name for task in spec.tasks]
    seen: dict[str, None] = {}
    for name in names:
        if name in seen:
            raise InvalidGraph(spec.name, f"two tasks are named {name!r}; task names must be unique within a dag")
        seen[name] = None
    for task in spec.tasks:
        if task.splits is not None:
            _check_instances(spec, task.name, names)
    for edge in spec.edges:
        if not (0 <= edge.parent < len(names) and 0 <= edge.child < len(names)):
            raise InvalidGraph(spec.name, f"edge {edge.parent} -> {edge.child} names a task that the dag does not have")
    cycle = find_cycle(len(names), [(edge.parent, edge.child) for edge in spec.edges])
    if cycle:
        path = [names[index] for index in cycle[:_MAX_NAMED]]
        path += [f"({len(cycle) - _MAX_NAMED} more)"] if len(cycle) > _MAX_NAMED else []
        raise InvalidGraph(spec.name, f"its tasks form a cycle: {' -> '.join([*path, path[0]])}")


def instance_name(name: str, index: int) -> str:
    """The name of an instance of the mapped task `name`."""
    return f"{name}[{index}]"


def _check_instances(spec: DagSpec, mapped: str, names: list[str]) -> None:
    for name in names:
        if name.startswith(f"{mapped}[") and name.endswith("]"):
            raise InvalidGraph(spec.name, f"task {name!r} is named like an instance of the mapped task {mapped!r}")


def find_cycle(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """The nodes of one cycle in order, or an empty list where there is none. Linear in nodes and edges (Kahn 1962)."""
    if not edges:
        return []
    children: list[list[int]] = [[] for _ in range(count)]
    parents: list[list[int]] = [[] for _ in range(count)]
    for parent, child in edges:
        children[parent].append(child)
        parents[child].append(parent)
    waiting = [len(of) for of in parents]
    free = [index for index in range(count) if waiting[index] == 0]
    while free:
        for child in children[free.pop()]:
            waiting[child] -= 1
            if waiting[child] == 0:
                free.append(child)
    tangled = [index for index in range(count) if waiting[index] > 0]
    if not tangled:
        return []
    # Every tangled node has a tangled parent, so walking upwards must meet a node twice.
    steps: dict[int, int] = {}
    node = tangled[0]
    while node not in steps:
        steps[node] = len(steps)
        node = next(parent for parent in parents[node] if waiting[parent] > 0)
    return list(reversed([each for each, step in steps.items() if step >= steps[node]]))
