"""A dag as the user writes it: tasks, and which follows which.

Invariants:
1. Tasks have the order in which they first appear in the schema: a parent, then its children, then the next parent.
2. Edges have the order in which they appear in the schema; the first edge into a task brings its default dataset.
3. The graph is built once, in `define`; changing the schema's dictionary afterwards changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshflow.core.graph import DagSpec, Edge, TaskSpec, check
from meshflow.errors import DirectedAcyclicGraphUndefined, UsageError
from meshflow.models.task import BaseTask

if TYPE_CHECKING:
    import networkx

Children = BaseTask | Sequence[BaseTask] | Mapping[BaseTask, str | None] | None
Schema = Mapping[BaseTask, Children]


@dataclass(frozen=True, slots=True)
class _Graph:
    tasks: tuple[BaseTask, ...] = ()
    edges: tuple[Edge, ...] = ()


class Dag:
    """A directed acyclic graph of tasks; a blueprint of which any number of runs can be started."""

    def __init__(self, name: str, *, autostart: bool = True, queue: str = "dag", schema: Schema | None = None) -> None:
        """`autostart` False waits for a task to start it; only nodes that serve `queue` drive its runs. A `schema`
        given here is checked at the submission, not at once.

        Raises:
            UsageError: the schema is not one (see `define`), or the name or queue is not a text.
        """
        for option, value in (("name", name), ("queue", queue)):
            if not isinstance(value, str) or not value:
                raise UsageError(f"dag {name!r}: {option} is {value!r:.80}, but must be a text that is not empty")
        self._name = name
        self._autostart = autostart
        self._queue = queue
        self._graph: _Graph | None = None if schema is None else self._build(schema)
        self._is_checked = False
        self._copy_count = 0
        self.workflow_name: str | None = None

    @property
    def name(self) -> str:
        """The name, unique within the workflow."""
        return self._name

    @property
    def autostart(self) -> bool:
        """Whether a run of it starts with the workflow."""
        return self._autostart

    @property
    def queue(self) -> str:
        """The queue on which its runs wait for a node."""
        return self._queue

    @property
    def tasks(self) -> tuple[BaseTask, ...]:
        """The tasks in the order of their first appearance in the schema.

        Raises:
            DirectedAcyclicGraphUndefined: `define` was not called.
        """
        return self._defined().tasks

    def define(self, schema: Schema | None, *, validate: bool = True) -> None:
        """Set the graph: `{parent: children}`, where children are

        - a task, or a list or tuple of tasks;
        - `{task: slot}`: the task sees the parent's data under the name `slot` too; None or '' is no slot;
        - None, `[]` or `{}`: none.

        An empty schema is a dag that ends at once. Without `validate`, cycles and duplicate names are found at the
        submission instead.

        Raises:
            DirectedAcyclicGraphUndefined: the schema is None.
            InvalidGraph: it has a cycle, or two tasks of one name.
            UsageError: something in it is not a task, or children are of another form.
        """
        if schema is None:
            raise DirectedAcyclicGraphUndefined(f"dag {self._name!r}: the schema is None; give it {{}} for no tasks")
        graph = self._build(schema)
        if validate:
            check(self._spec(graph, ()))
        self._graph, self._is_checked = graph, validate

    def check(self) -> None:
        """Refuse a graph that `define` has not validated.

        Raises:
            DirectedAcyclicGraphUndefined: `define` was not called.
            InvalidGraph: it has a cycle, or two tasks of one name.
        """
        graph = self._defined()
        if not self._is_checked:
            check(self._spec(graph, ()))
            self._is_checked = True

    def spec(self, payloads: Sequence[str] = ()) -> DagSpec:
        """The dag as the mesh sees it; `payloads` are the digests of the tasks' payloads, in the order of `tasks`.

        Raises:
            DirectedAcyclicGraphUndefined: `define` was not called.
        """
        return self._spec(self._defined(), payloads)

    @staticmethod
    def make_graph(schema: Schema) -> "networkx.DiGraph[Any]":
        """The graph of a schema as a networkx graph of task objects, each edge with the attribute `slot`.

        Raises:
            UsageError: the schema is not one (see `define`).
        """
        import networkx  # Half a second that only those pay who ask for it.

        graph = networkx.DiGraph()
        for parent, children in schema.items():
            graph.add_node(parent)
            graph.add_edges_from((parent, child, {"slot": slot}) for child, slot in _children(parent, children))
        return graph

    def reduce_in_payload(self) -> tuple[object, ...]:
        """What is pickled of a dag that a task's function mentions: all but the graph, since a task may start a dag
        but has no use for its tasks (see `payload.py`)."""
        state = {"_autostart": self._autostart, "_queue": self._queue, "workflow_name": self.workflow_name}
        return (Dag, (self._name,), state)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Dag":
        self._copy_count += 1
        copy = Dag(f"{self._name}:{self._copy_count}", autostart=self._autostart, queue=self._queue)
        copy.workflow_name = self.workflow_name
        if self._graph is not None:
            copy._graph = _Graph(deepcopy(self._graph.tasks, memo), self._graph.edges)
        return copy

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _defined(self) -> _Graph:
        if self._graph is None:
            raise DirectedAcyclicGraphUndefined(f"dag {self._name!r} has no schema; call its define()")
        return self._graph

    def _build(self, schema: Schema) -> _Graph:
        if not isinstance(schema, Mapping):
            raise UsageError(f"dag {self._name!r}: the schema is {schema!r:.80}, but must be {{parent: children}}")
        indices: dict[BaseTask, int] = {}
        edges: dict[tuple[int, int], Edge] = {}
        for parent, children in schema.items():
            above = indices.setdefault(parent, len(indices))
            for child, slot in _children(parent, children):
                below = indices.setdefault(child, len(indices))
                # Naming a child twice is one edge: its data would arrive twice otherwise.
                edges.setdefault((above, below), Edge(above, below, slot))
        return _Graph(tuple(indices), tuple(edges.values()))

    def _spec(self, graph: _Graph, payloads: Sequence[str]) -> DagSpec:
        digests = payloads or [""] * len(graph.tasks)
        tasks = tuple(
            TaskSpec(
                name=task.name,
                queue=task.queue,
                payload=digest,
                force_run=bool(task.has_to_run),
                propagate_skip=bool(task.propagate_skip),
                retries=options.retries,
                retry_delay_s=options.retry_delay,
                backoff=options.backoff,
                timeout_s=options.timeout,
                priority=options.priority,
                at_most_once=bool(options.at_most_once),
                splits=task.splits,
            )
            for task, digest in zip(graph.tasks, digests, strict=True)
            for options in (task.job_options,)
        )
        return DagSpec(self._name, self._autostart, self._queue, tasks, graph.edges)


def _children(parent: BaseTask, children: object) -> Iterator[tuple[BaseTask, str | None]]:
    """The children of `parent` with their slots (None: no slot), in the order in which they are given."""
    given: Mapping[object, object]
    match children:
        case None:
            given = {}
        case BaseTask():
            given = {children: None}
        case Mapping():
            given = children
        case list() | tuple():
            given = dict.fromkeys(children)
        case _:
            raise UsageError(
                f"the children of {parent!r:.80} are {children!r:.80}; expected a task, a list of tasks (not a set: "
                "the order counts), {task: slot} or None"
            )
    for task in (parent, *given):
        if not isinstance(task, BaseTask):
            raise UsageError(f"{task!r:.80} in the schema of a dag is not a task")
    for child, slot in given.items():
        if not (slot is None or isinstance(slot, str)):
            raise UsageError(f"the slot between {parent!r} and {child!r} is {slot!r:.80}, but must be a text or None")
        assert isinstance(child, BaseTask)
        yield child, slot or None
