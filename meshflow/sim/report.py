"""What came of a story, as lines to read."""

from collections.abc import Iterator, Sequence

from meshflow.core.events import JobRequeued, ResultDiscarded, RunClaimed
from meshflow.core.records import DagStarted, State
from meshflow.ids import RunId, workflow_of
from meshflow.sim.checks import is_about_membership, log_of
from meshflow.sim.cluster import WALL_OFFSET_S, Cluster
from meshflow.sim.scenario import Story


def tell(story: Story, *, is_verbose: bool = False) -> Iterator[str]:
    """The faults, the outcome of each run, and the counts of what happened; with `is_verbose` also every execution and
    every event."""
    cluster, scenario = story.cluster, story.scenario
    yield f"seed {scenario.seed}, {len(cluster.nodes)} nodes in all, trouble {scenario.trouble!r}"
    yield from ("", "faults", *(f"{at:9.3f} s  {what}" for at, what in story.faults.applied))
    if is_verbose:
        yield from ("", "events", *_events(cluster))
        yield from ("", "executions", *_executions(cluster))
    yield from ("", *table(_HEAD, [_outcome(cluster, run) for run in cluster.accepted]))
    yield from ("", *(f"{count:9}  {what}" for what, count in _counts(cluster)))
    yield f"{story.final_s:9.3f}  seconds after the faults until the last run ended"
    yield f"{story.views_s:9.3f}  seconds after the faults until all views were equal"
    yield f"digest {cluster.world.digest()}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Rows in columns of equal width."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


_HEAD = ("run", "state", "dag runs", "tasks", "executions", "take-overs", "ended at", "reason")


def _outcome(cluster: Cluster, run: RunId) -> tuple[object, ...]:
    record = cluster.record(run)
    dag_count = sum(isinstance(entry, DagStarted) for batch in log_of(cluster, run) for entry in batch.entries)
    executed = sum(workflow_of(execution.attempt.run) == run for execution in cluster.world.executions)
    claims = [event for _, _, event in cluster.world.events if isinstance(event, RunClaimed)]
    takeovers = sum(event.is_takeover for event in claims if workflow_of(event.run) == run)
    ended_at = "" if record.ended_at is None else f"{record.ended_at - WALL_OFFSET_S:.3f} s"
    return (record.name, record.state.value, dag_count, record.total, executed, takeovers, ended_at, record.reason)


def _counts(cluster: Cluster) -> Iterator[tuple[str, int]]:
    world = cluster.world
    events = [event for _, _, event in world.events]
    yield "task executions", len(world.executions)
    yield "of these were killed with their node", sum(execution.state is None for execution in world.executions)
    yield "attempts were lost and their jobs queued again", sum(isinstance(event, JobRequeued) for event in events)
    yield "stale results were discarded", sum(isinstance(event, ResultDiscarded) for event in events)
    yield "runs were taken over", sum(isinstance(event, RunClaimed) and event.is_takeover for event in events)
    yield "appends of stale owners were refused", cluster.refused_append_count()
    about_runs = sum(count for kind, count in world.sent.items() if not is_about_membership(kind))
    yield "messages about runs", about_runs
    yield "messages about membership", sum(world.sent.values()) - about_runs
    yield "messages were lost", world.network.lost_count


def _executions(cluster: Cluster) -> Iterator[str]:
    for each in cluster.world.executions:
        attempt = each.attempt
        how = State.LOST if each.state is None else each.state
        ended = "" if each.ended_at is None else f" until {each.ended_at:.3f} s"
        which = f"{each.name} of {attempt.run}, attempt {attempt.attempt} of epoch {attempt.epoch}"
        yield f"{each.started_at:9.3f} s  {_name(cluster, each.node)} ran {which}{ended}: {how.value}"


def _events(cluster: Cluster) -> Iterator[str]:
    for at, node, event in cluster.world.events:
        yield f"{at:9.3f} s  {_name(cluster, node)} {event}"


def _name(cluster: Cluster, node: str) -> str:
    return next(shell.core.membership.me.name for id_, shell in cluster.nodes.items() if id_ == node)
