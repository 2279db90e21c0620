"""Which attempts of a dag run count: for each task at most one, with the node that has it.

Invariants:
1. A report or listing is about the current attempt only if number, epoch and node all match.
2. An attempt is lost if its node died, or lists what it holds without it, long enough after it was handed out that the
   job cannot still be on its way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.messages import Attempt
from meshflow.ids import NodeId


@dataclass(slots=True)
class _Handout:
    attempt: Attempt
    node: NodeId
    at: float
    heard_at: float


class Handouts:
    """The current attempts of one dag run. `lost_s`: seconds a job may be on its way unlisted."""

    def __init__(self, lost_s: float) -> None:
        self._lost_s = lost_s
        self._current: dict[int, _Handout] = {}

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, task: int) -> bool:
        return task in self._current

    @property
    def tasks(self) -> tuple[int, ...]:
        """Tasks that have a current attempt."""
        return tuple(self._current)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes that have any, each once."""
        return tuple(dict.fromkeys(handout.node for handout in self._current.values()))

    def put(self, attempt: Attempt, node: NodeId, now: float) -> None:
        """`attempt` is the one that counts for its task from here on."""
        self._current[attempt.task] = _Handout(attempt, node, now, now)

    def take(self, task: int) -> tuple[Attempt, NodeId]:
        """Remove the task's current attempt; gives it and its node."""
        handout = self._current.pop(task)
        return handout.attempt, handout.node

    def is_current(self, attempt: Attempt, node: NodeId) -> bool:
        """Invariant 1."""
        handout = self._current.get(attempt.task)
        return handout is not None and handout.attempt == attempt and handout.node == node

    def at(self, node: NodeId) -> tuple[tuple[int, Attempt], ...]:
        """(task, attempt) of all that `node` has."""
        return tuple((task, item.attempt) for task, item in self._current.items() if item.node == node)

    def heard(self, node: NodeId, now: float) -> None:
        """The node has said something about this run."""
        for handout in self._current.values():
            if handout.node == node:
                handout.heard_at = now

    def missing(self, node: NodeId, listed: Sequence[Attempt], epoch: int, now: float) -> list[int]:
        """Tasks whose attempt `node` should have but does not list (invariant 2). An attempt of an epoch before `epoch`
        was handed out before the take-over, so it is not on its way any more."""
        held = dict.fromkeys(listed)
        return [
            task
            for task, item in self._current.items()
            if item.node == node
            and item.attempt not in held
            and (item.attempt.epoch < epoch or now - item.at > self._lost_s)
        ]

    def silent(self, since: float) -> tuple[NodeId, ...]:
        """Nodes that have attempts and were not heard of since `since`."""
        return tuple(dict.fromkeys(item.node for item in self._current.values() if item.heard_at < since))

    def earliest_heard_at(self) -> float | None:
        """The oldest word about any attempt; None if there are none."""
        return min((item.heard_at for item in self._current.values()), default=None)
