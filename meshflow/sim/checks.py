"""What must hold after any amount of trouble, checked from the outside: the store, the logs and what was executed.

1. Nothing accepted is lost: every run has a final state, with a reason where it is not completed.
2. One recorded end per job, one end per log.
3. Never two owners of one epoch, and epochs rise.
4. A task was executed only after its parents' recorded ends, and its recorded result is what its inputs make it.
5. `at_most_once` tasks were executed at most once.
6. A sub-dag was started once per request.
7. After healing, all views are equal.
"""

from collections.abc import Sequence

from meshflow import wire
from meshflow.core.events import RunClaimed
from meshflow.core.graph import DagDefinition
from meshflow.core.member import Status
from meshflow.core.records import Batch, Claimed, DagStarted, RunEnded, State, TaskEnded, TaskStarted
from meshflow.core.requests import GetBlob, ReadLog
from meshflow.ids import RunId, dag_run_id
from meshflow.sim.cluster import Cluster, Execution
from meshflow.sim.programs import result_of


class Violation(AssertionError):
    """An invariant does not hold; the text says which, and where."""


def check_all(cluster: Cluster) -> None:
    """Check 1 to 6 for every accepted run.

    Raises:
        Violation: one does not hold.
    """
    for run in cluster.accepted:
        _check_workflow(cluster, run)
    _check_claims(cluster)


def check_views(cluster: Cluster) -> None:
    """Check 7: every living node believes exactly the living nodes to be alive.

    Raises:
        Violation: some node believes otherwise.
    """
    alive = sorted(cluster.alive())
    for node in alive:
        members = cluster.nodes[node].node.membership.members.values()
        seen = sorted(member.id for member in members if member.status in (Status.ALIVE, Status.SUSPECT))
        _require(seen == alive, f"node {node} sees {seen}, but alive are {alive}")


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise Violation(text)


def log_of(cluster: Cluster, run: RunId) -> list[Batch]:
    """The whole log of a run."""
    batches: list[Batch] = []
    while True:
        (part,) = cluster.store.perform([ReadLog(run, since=len(batches))])
        assert isinstance(part, tuple)
        if not part:
            return batches
        batches += part


def _check_workflow(cluster: Cluster, run: RunId) -> None:
    record = cluster.record(run)
    _require(record.state.is_final, f"run {run} is {record.state.value}: it was accepted and never ended")
    _require(
        record.state is State.COMPLETED or bool(record.reason), f"run {run} is {record.state.value} without a reason"
    )
    batches = log_of(cluster, run)
    _check_log(run, batches)
    started = [entry for batch in batches for entry in batch.entries if isinstance(entry, DagStarted)]
    keys = [entry.key for entry in started]
    _require(len(set(keys)) == len(keys), f"run {run}: a request started two dag runs: {keys}")
    for entry in started:
        _check_dag(cluster, run, entry)


def _check_log(run: RunId, batches: Sequence[Batch]) -> None:
    _require([batch.seq for batch in batches] == list(range(len(batches))), f"run {run}: the log has gaps")
    epochs = [entry.epoch for batch in batches for entry in batch.entries if isinstance(entry, Claimed)]
    _require(epochs == sorted(set(epochs)), f"run {run}: epochs do not rise: {epochs}")
    ends = [entry for batch in batches for entry in batch.entries if isinstance(entry, RunEnded)]
    _require(len(ends) == 1, f"run {run}: {len(ends)} ends in its log")


def _check_dag(cluster: Cluster, workflow: RunId, started: DagStarted) -> None:
    run = dag_run_id(workflow, started.name)
    batches = log_of(cluster, run)
    _check_log(run, batches)
    (blob,) = cluster.store.perform([GetBlob(workflow, f"dag/{started.dag}")])
    assert isinstance(blob, bytes)
    definition = wire.decode(DagDefinition, blob)
    ends = _recorded_ends(run, batches, definition)
    executions = [execution for execution in cluster.executions if execution.attempt.run == run]
    _check_results(run, definition, ends)
    _check_executions(run, definition, ends, executions)


def _recorded_ends(run: RunId, batches: Sequence[Batch], definition: DagDefinition) -> dict[int, TaskEnded]:
    """The end of each task, which must be one; and every recorded execution must follow the ends of its parents."""
    ends: dict[int, TaskEnded] = {}
    for entry in (entry for batch in batches for entry in batch.entries):
        if isinstance(entry, TaskStarted):
            for edge in definition.spec.edges:
                if edge.child == entry.task:
                    _require(edge.parent in ends, f"{run}: task {entry.task} started before {edge.parent} ended")
        if isinstance(entry, TaskEnded) and not entry.retry:
            name = definition.spec.tasks[entry.task].name
            _require(entry.task not in ends, f"{run}: task {name!r} has two recorded ends")
            ends[entry.task] = entry
    _require(len(ends) == len(definition.spec.tasks), f"{run}: {len(ends)} of {len(definition.spec.tasks)} tasks ended")
    return ends


def _check_results(run: RunId, definition: DagDefinition, ends: dict[int, TaskEnded]) -> None:
    for task, end in ends.items():
        if end.state is not State.COMPLETED:
            continue
        inputs = [
            ends[edge.parent].value.inline
            for edge in definition.spec.edges
            if edge.child == task and ends[edge.parent].state is not State.SKIPPED
        ]
        name = definition.spec.tasks[task].name
        _require(end.value.inline == result_of(name, inputs), f"{run}: the result of {name!r} is not that of its inputs")


def _check_executions(
    run: RunId, definition: DagDefinition, ends: dict[int, TaskEnded], executions: Sequence[Execution]
) -> None:
    for task, spec in enumerate(definition.spec.tasks):
        mine = [execution for execution in executions if execution.attempt.task == task]
        if spec.at_most_once:
            _require(len(mine) <= 1, f"{run}: {spec.name!r} may run at most once and ran {len(mine)} times")
        if ends[task].state is State.COMPLETED:
            done = [execution for execution in mine if execution.ended_at is not None]
            _require(bool(done), f"{run}: {spec.name!r} is completed, but was never executed to its end")


def _check_claims(cluster: Cluster) -> None:
    owners: dict[tuple[RunId, int], str] = {}
    for _, node, event in cluster.events:
        if isinstance(event, RunClaimed):
            other = owners.setdefault((event.run, event.epoch), node)
            _require(other == node, f"run {event.run} has two owners in epoch {event.epoch}: {other} and {node}")
