"""How well a mesh did its work: figures from the history of a simulation, not from what nodes say of themselves.

All are for quiet runs: no kills, no joins, and each task executed once.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from meshflow import wire
from meshflow.core.events import RunClaimed
from meshflow.core.graph import DagDefinition
from meshflow.core.requests import GetBlob
from meshflow.ids import NodeId, RunId, dag_run_name, workflow_of
from meshflow.sim.checks import is_about_membership
from meshflow.sim.cluster import Cluster
from meshflow.sim.world import Execution


@dataclass(frozen=True, slots=True)
class Wait:
    """A job that could have run and did not. Instants are virtual seconds."""

    ready_at: float
    started_at: float
    execution: Execution


def messages_about_runs(cluster: Cluster) -> int:
    """How many messages of all kinds were sent so far that are not about membership."""
    return sum(count for kind, count in cluster.world.sent.items() if not is_about_membership(kind))


def executed_between(cluster: Cluster, start: float, end: float) -> Counter[RunId]:
    """How many tasks of each workflow run were started in that time."""
    return Counter(workflow_of(each.attempt.run) for each in cluster.world.executions if start <= each.started_at < end)


def waits(cluster: Cluster) -> list[Wait]:
    """For each task, from when its dag run was claimed and its parents had ended to when it started: so the way of the
    reports to the owner, and of the job to its node, is part of it."""
    claimed_at = {event.run: at for at, _, event in reversed(cluster.world.events) if isinstance(event, RunClaimed)}
    ended_at = {(each.attempt.run, each.attempt.task): each.ended_at or 0.0 for each in cluster.world.executions}
    parents: dict[RunId, dict[int, list[int]]] = {}
    found = []
    for each in cluster.world.executions:
        run = each.attempt.run
        if run not in parents:
            parents[run] = _parents_in(cluster, run)
        ends = [ended_at[(run, parent)] for parent in parents[run].get(each.attempt.task, ())]
        found.append(Wait(max([claimed_at[run], *ends]), each.started_at, each))
    return found


def longest_idle_wait_s(cluster: Cluster) -> float:
    """The longest time for which a job waited while one slot, that could have run it, stood idle: what a mesh that
    conserves work keeps to a few round trips."""
    return max(idle_waits_s(cluster, [(wait.ready_at, wait.started_at) for wait in waits(cluster)]), default=0.0)


def idle_waits_s(cluster: Cluster, waiting: Sequence[tuple[float, float]], queue: str = "task") -> list[float]:
    """For each time that a job waited, (from, until): for how much of it one slot of a node that serves `queue` stood
    idle, at a stretch."""
    idle = _idle_times(cluster, queue)
    found = []
    for start, end in waiting:
        longest = 0.0
        for gaps in idle:
            longest = max(longest, _longest_overlap(gaps, start, end))
            if longest >= end - start:
                break
        found.append(longest)
    return found


def _parents_in(cluster: Cluster, run: RunId) -> dict[int, list[int]]:
    dag = dag_run_name(run).rpartition(":")[0]
    (blob,) = cluster.world.store.perform([GetBlob(workflow_of(run), f"dag/{dag}")])
    assert isinstance(blob, bytes), f"there is no definition of {run}"
    parents: dict[int, list[int]] = {}
    for edge in wire.decode(DagDefinition, blob).spec.edges:
        parents.setdefault(edge.child, []).append(edge.parent)
    return parents


Gaps = list[tuple[float, float]]
"""When one slot was idle: (from, until), in order."""


def _idle_times(cluster: Cluster, queue: str) -> list[Gaps]:
    """Of each slot for that queue. A node starts a task in the slot that has been idle for longest."""
    members = {node: cluster.nodes[node].core.membership.me for node in cluster.alive()}
    of: dict[NodeId, list[Execution]] = {node: [] for node, me in members.items() if queue in me.queues}
    for execution in cluster.world.executions:
        if execution.node in of:
            of[execution.node].append(execution)
    result: list[Gaps] = []
    for node, executions in of.items():
        slots: list[Gaps] = [[] for _ in range(members[node].slots)]
        free_at = [0.0] * len(slots)
        for execution in executions:
            slot = free_at.index(min(free_at))
            slots[slot].append((free_at[slot], execution.started_at))
            free_at[slot] = execution.ended_at or cluster.now
        for gaps, at in zip(slots, free_at, strict=True):
            gaps.append((at, cluster.now))
        result += slots
    return result


def _longest_overlap(gaps: Gaps, start: float, end: float) -> float:
    longest = 0.0
    first = max(0, bisect_right(gaps, (start,)) - 1)
    for index in range(first, len(gaps)):
        low, high = gaps[index]
        if low >= end:
            break
        longest = max(longest, min(high, end) - max(low, start))
    return longest
