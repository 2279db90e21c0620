"""Which attempts of a dag run count: for each task at most one, with the node that has it.

Invariants:
1. A report or listing is about the current attempt only if number, epoch and node all match.
2. An attempt is lost if its node died, or lists what it holds without it, long enough after it was handed out that the
   job cannot still be on its way.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from meshflow.core.attempts import Attempt
from meshflow.ids import NodeId


class _Handout(NamedTuple):
    attempt: Attempt
    node: NodeId
    at: float


class Handouts:
    """The current attempts of one dag run. `lost_s`: seconds a job may be on its way unlisted."""

    def __init__(self, lost_s: float) -> None:
        self._lost_s = lost_s
        self._current: dict[int, _Handout] = {}
        self._by_node: dict[NodeId, dict[int, None]] = {}
        self._heard_at: dict[NodeId, float] = {}
        """Only of nodes that have attempts."""

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, task: int) -> bool:
        return task in self._current

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts that count, one per task."""
        return tuple(handout.attempt for handout in self._current.values())

    def has(self, node: NodeId) -> bool:
        """Whether the node has any."""
        return node in self._by_node

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes that have any, each once."""
        return tuple(self._by_node)

    def put(self, attempt: Attempt, node: NodeId, now: float, *, has_left: bool = True) -> None:
        """`attempt` is the one that counts for its task from here on. The task must have none. `has_left`: whether the
        job is on its way now; if not, `left` says when it is."""
        assert attempt.task not in self._current, attempt
        self._current[attempt.task] = _Handout(attempt, node, now if has_left else math.inf)
        self._by_node.setdefault(node, {})[attempt.task] = None
        self._heard_at.setdefault(node, now)

    @property
    def under_way(self) -> list[tuple[int, NodeId, float]]:
        """(task, node, when the job left) of the current attempts whose job has left."""
        return [(task, item.node, item.at) for task, item in self._current.items() if item.at < math.inf]

    def left(self, attempt: Attempt, now: float) -> None:
        """The job of the attempt is on its way from now on, if the attempt still counts."""
        handout = self._current.get(attempt.task)
        if handout is not None and handout.attempt == attempt:
            self._current[attempt.task] = handout._replace(at=now)

    def get(self, task: int) -> tuple[Attempt, NodeId]:
        """The task's current attempt, and its node."""
        handout = self._current[task]
        return handout.attempt, handout.node

    def take(self, task: int) -> tuple[Attempt, NodeId]:
        """Remove the task's current attempt; gives it and its node."""
        handout = self._current.pop(task)
        left = self._by_node[handout.node]
        del left[task]
        if not left:
            del self._by_node[handout.node]
            del self._heard_at[handout.node]
        return handout.attempt, handout.node

    def is_current(self, attempt: Attempt, node: NodeId) -> bool:
        """Invariant 1."""
        handout = self._current.get(attempt.task)
        return handout is not None and handout.attempt == attempt and handout.node == node

    def at(self, node: NodeId) -> tuple[tuple[int, Attempt], ...]:
        """(task, attempt) of all that `node` has."""
        return tuple((task, self._current[task].attempt) for task in self._by_node.get(node, ()))

    def heard(self, node: NodeId, now: float) -> None:
        """The node has said something about this run."""
        if node in self._heard_at:
            self._heard_at[node] = now

    def missing(self, node: NodeId, listed: Sequence[Attempt], epoch: int, now: float) -> list[int]:
        """Tasks whose attempt `node` should have but does not list (invariant 2). An attempt of an epoch before `epoch`
        was handed out before the take-over, so it is not on its way any more."""
        held = dict.fromkeys(listed)
        return [
            task
            for task in self._by_node.get(node, ())
            if (item := self._current[task]).attempt not in held
            and (item.attempt.epoch < epoch or now - item.at > self._lost_s)
        ]

    def silent(self, since: float) -> tuple[NodeId, ...]:
        """Nodes that have attempts and were not heard of after `since`."""
        return tuple(node for node, at in self._heard_at.items() if at <= since)

    @property
    def earliest_heard_at(self) -> float:
        """The oldest last word of a node that has attempts; `math.inf` if there are none."""
        return min(self._heard_at.values(), default=math.inf)
