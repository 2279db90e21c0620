"""What must hold after any amount of trouble, checked from the outside: the store, the logs and what was executed.

1. Nothing accepted is lost: every run has a final state, the one in its log, with a reason where it is not completed.
2. One end per log, no gaps, and epochs rise.
3. Never two owners of one epoch.
4. One recorded end per task and per attempt; no task was started before its parents' ends were recorded, nor an
   instance of a mapped task before the split was.
5. A recorded result is what the task makes of its inputs, and some execution has made it.
6. `at_most_once` tasks were executed at most once.
7. A run that nothing stopped is completed, and then each task has the end that the rules give it (`expected.py`).
8. A run failed, or was aborted or stopped, only because a task or the user made it so, or because a task was lost that
   may not be tried again.
9. A sub-dag was started once per request, and `join_dags` returned after the end of what it waited for.
10. After healing, all views are equal.
11. What a retry has taken over of another run is not executed again, and all that it checks of the rest is as above.
12. When all is done the mesh is quiet: nobody drives, holds or sends anything that is about runs.
"""

import math
from collections import Counter
from collections.abc import Sequence

from meshflow import wire
from meshflow.core.events import RunClaimed
from meshflow.core.graph import DagDefinition
from meshflow.core.member import Status
from meshflow.core.messages import MembershipMessage
from meshflow.core.records import Batch, Claimed, DagStarted, RunEnded, State, Stop, TaskEnded
from meshflow.core.requests import GetBlob, ListRuns, ReadLog
from meshflow.ids import NodeId, RunId, dag_run_id, workflow_of
from meshflow.sim.cluster import WALL_OFFSET_S, Cluster
from meshflow.sim.dagchecks import DagHistory, check_dag
from meshflow.sim.expected import program_of
from meshflow.sim.mapped import expand
from meshflow.sim.violation import require
from meshflow.sim.world import Execution

_MEMBERSHIP = tuple(kind.__name__ for kind in MembershipMessage.__args__)
_CLOCK_ERROR_S = 1e-6
"""Wall-clock stamps are rounded more than virtual time is."""
_CAUSE_OF = {Stop.STOP: State.STOPPED, Stop.CANCEL: State.CANCELLED}


def check_all(cluster: Cluster) -> None:
    """Check 1 to 9, and 11, for every accepted run.

    Raises:
        Violation: one does not hold.
    """
    executions: dict[RunId, list[Execution]] = {}
    for execution in cluster.world.executions:
        executions.setdefault(execution.attempt.run, []).append(execution)
    for run in cluster.accepted:
        _check_workflow(cluster, run, executions)
    _check_claims(cluster)


def check_views(cluster: Cluster) -> None:
    """Check 10: every living node believes exactly the living nodes to be alive.

    Raises:
        Violation: some node believes otherwise.
    """
    alive = sorted(cluster.alive())
    for node in alive:
        seen = members_seen(cluster, node)
        require(seen == alive, f"node {node} sees {seen}, but alive are {alive}")


def are_views_equal(cluster: Cluster) -> bool:
    """Whether `check_views` would pass."""
    alive = sorted(cluster.alive())
    return all(members_seen(cluster, node) == alive for node in alive)


def members_seen(cluster: Cluster, node: NodeId) -> list[NodeId]:
    """Whom a node believes to be alive, itself included, sorted."""
    members = cluster.nodes[node].core.membership.members.values()
    return sorted(member.id for member in members if member.status in (Status.ALIVE, Status.SUSPECT))


def check_quiet(cluster: Cluster, within_s: float = 30.0) -> None:
    """Check 12: let time pass until nobody has anything to do with runs, and has sent nothing about any for two
    seconds.

    Raises:
        Violation: somebody is still busy after `within_s`.
    """
    quiet_s, end, sent = 0, cluster.now + within_s, _sent_about_runs(cluster)
    while quiet_s < 2:
        cluster.run(1.0)
        before, sent = sent, _sent_about_runs(cluster)
        busy = _busy(cluster)
        quiet_s = 0 if busy or sent != before else quiet_s + 1
        text = f"{within_s} s after all runs have ended the nodes send {dict(sent - before)}, and "
        require(cluster.now < end, text + (busy or "are idle"))


def _sent_about_runs(cluster: Cluster) -> Counter[str]:
    """How many messages of each kind were sent that are not about membership."""
    return Counter({kind: count for kind, count in cluster.world.sent.items() if not is_about_membership(kind)})


def is_about_membership(kind: str) -> bool:
    """Whether messages of this class only keep the mesh together."""
    return kind in _MEMBERSHIP


def _busy(cluster: Cluster) -> str:
    """Who has something to do with runs, and what; empty: nobody."""
    (records,) = cluster.world.store.perform([ListRuns(is_open=True)])
    if records:
        return f"runs are open: {records}"
    for node in cluster.alive():
        status, process_count = cluster.nodes[node].core.status, cluster.nodes[node].running_count
        if status.owned or status.waiting or status.running or process_count:
            held = [attempt for attempt, _, _ in status.running]
            return f"node {node} drives {status.owned}, holds {held}, has {process_count} processes, {status.waiting}"
    return ""


def log_of(cluster: Cluster, run: RunId) -> list[Batch]:
    """The whole log of a run."""
    batches: list[Batch] = []
    while True:
        (part,) = cluster.world.store.perform([ReadLog(run, since=len(batches))])
        assert isinstance(part, tuple)
        if not part:
            return batches
        batches += part


def _check_workflow(cluster: Cluster, run: RunId, executions: dict[RunId, list[Execution]]) -> None:
    batches = log_of(cluster, run)
    state = _check_end(cluster, run, batches)
    entries = [entry for batch in batches for entry in batch.entries]
    started = [entry for entry in entries if isinstance(entry, DagStarted)]
    keys = [entry.key for entry in started]
    require(len(set(keys)) == len(keys), f"run {run}: a request started two dag runs: {keys}")
    causes = {state: None for stop, state in _CAUSE_OF.items() if cluster.stops.get(run) is stop}
    histories = {entry.name: _history(cluster, run, entry, executions) for entry in started}
    ended_at = {name: history.batches[-1].at - WALL_OFFSET_S for name, history in histories.items()}
    for history in histories.values():
        ends = check_dag(history)
        causes |= dict.fromkeys(end.state for end in ends.values() if end.state in (State.FAILED, State.ABORTED))
        if state is State.COMPLETED:
            _check_requests(history, ends, started)
        _check_joins(history, ends, ended_at)
        is_cut_short = history.state in (State.STOPPED, State.CANCELLED)
        require(not is_cut_short or state is not State.COMPLETED, f"{history.run} was stopped in a run that was not")
        if any(("stop_workflow", "") in program_of(history.definition, task).signals for task in ends):
            causes[State.ABORTED] = None
    require(state is State.COMPLETED or state in causes, f"run {run} is {state.value} without a cause")


def _history(cluster: Cluster, run: RunId, started: DagStarted, executions: dict[RunId, list[Execution]]) -> DagHistory:
    dag_run = dag_run_id(run, started.name)
    (blob,) = cluster.world.store.perform([GetBlob(run, f"dag/{started.dag}")])
    assert isinstance(blob, bytes)
    batches = log_of(cluster, dag_run)
    state = _check_end(cluster, dag_run, batches)
    definition = wire.decode(DagDefinition, blob)
    dag = expand(definition, (entry for batch in batches for entry in batch.entries))
    past: list[Execution] = []
    retried = cluster.retries.get(run)
    while retried is not None:
        past += executions.get(dag_run_id(retried, started.name), [])
        retried = cluster.retries.get(retried)
    mine = executions.get(dag_run, [])
    return DagHistory(dag_run, dag.definition, state, batches, mine, dag.rows, dag.mapped, past)


def _check_end(cluster: Cluster, run: RunId, batches: Sequence[Batch]) -> State:
    """Check 1 and 2 for one run, and give its final state."""
    record = cluster.record(run)
    require(record.state.is_final, f"run {run} is {record.state.value}: it was accepted and never ended")
    has_reason = record.state is State.COMPLETED or bool(record.reason)
    require(has_reason, f"run {run} is {record.state.value} without a reason")
    require([batch.seq for batch in batches] == list(range(len(batches))), f"run {run}: the log has gaps")
    epochs = [entry.epoch for batch in batches for entry in batch.entries if isinstance(entry, Claimed)]
    require(epochs == list(range(1, len(epochs) + 1)), f"run {run}: epochs do not rise by one: {epochs}")
    ends = [entry for batch in batches for entry in batch.entries if isinstance(entry, RunEnded)]
    require(len(ends) == 1, f"run {run}: {len(ends)} ends in its log")
    same = ends[0].state is record.state
    require(same, f"run {run} is {record.state.value} in its record and {ends[0].state.value} in its log")
    return record.state


def _check_requests(history: DagHistory, ends: dict[int, TaskEnded], started: Sequence[DagStarted]) -> None:
    for task, end in ends.items():
        if end.state is State.COMPLETED:
            wanted = sum(action == "start_dag" for action, _ in program_of(history.definition, task).signals)
            found = [entry.name for entry in started if entry.key.startswith(f"{history.run}/{task}/")]
            text = f"{history.run}: {history.name(task)!r} asked for {wanted} dag runs, and got {found}"
            require(len(found) == wanted, text)


def _check_joins(history: DagHistory, ends: dict[int, TaskEnded], ended_at: dict[str, float]) -> None:
    for execution in history.executions:
        if execution.ended_at != ends[execution.attempt.task].ended_at:
            continue  # it does not count, and waits no longer than the run that it is of
        for joined_at, names in execution.joined:
            early = [name for name in names if ended_at.get(name, math.inf) > joined_at + _CLOCK_ERROR_S]
            require(not early, f"{history.run}: {execution.name!r} has joined {early} before their end")


def _check_claims(cluster: Cluster) -> None:
    owners: dict[tuple[RunId, int], str] = {}
    for _, node, event in cluster.world.events:
        if isinstance(event, RunClaimed):
            other = owners.setdefault((event.run, event.epoch), node)
            require(other == node, f"run {event.run} has two owners in epoch {event.epoch}: {other} and {node}")
            require(workflow_of(event.run) in cluster.accepted, f"run {event.run} was claimed, but never submitted")
