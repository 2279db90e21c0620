"""What a person should know about a mesh before it hurts: jobs that nobody will take, and hosts that must not fail."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshflow.core.member import Member, Status
from meshflow.core.records import RunRecord, State
from meshflow.mesh import NodeReport


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing to know, and what can be done about it (empty: nothing)."""

    code: str
    """Stable, for scripts."""
    text: str
    fix: str = ""


def find_troubles(reports: Sequence[NodeReport], open_jobs: Sequence[RunRecord]) -> list[Trouble]:
    """Everything to be said about the mesh; `open_jobs` are the workflow and dag runs that go on."""
    living = [report.member for report in reports if report.member.status in (Status.ALIVE, Status.SUSPECT)]
    return [
        *_unserved_queues(living, waiting_by_queue(reports, open_jobs)),
        *_store_hosts(living),
        *_store_errors(reports),
        *_silent_nodes(reports),
    ]


def waiting_by_queue(reports: Sequence[NodeReport], open_jobs: Sequence[RunRecord]) -> dict[str, int]:
    """How many jobs wait on each queue: runs that nobody drives yet, and tasks at their owners."""
    waiting: dict[str, int] = {}
    for record in open_jobs:
        if record.state is State.QUEUED:
            waiting[record.queue] = waiting.get(record.queue, 0) + 1
    for report in reports:
        for queue, count in (report.status.waiting if report.status else {}).items():
            waiting[queue] = waiting.get(queue, 0) + count
    return {queue: count for queue, count in sorted(waiting.items()) if count}


def _unserved_queues(living: Sequence[Member], waiting: dict[str, int]) -> list[Trouble]:
    served = {queue for member in living if not member.is_draining for queue in member.queues}
    return [
        Trouble(
            "no_node_for_queue",
            f"{count} {'job waits' if count == 1 else 'jobs wait'} on queue {queue!r}, which no node serves",
            f"meshflow node --queues {queue}",
        )
        for queue, count in waiting.items()
        if queue not in served
    ]


def _store_hosts(living: Sequence[Member]) -> list[Trouble]:
    stores = sorted({member.store for member in living if member.has_store and member.store})
    if len(stores) > 1:
        return [
            Trouble(
                "several_stores",
                f"the nodes write to {len(stores)} stores ({', '.join(stores)}), so each sees only part of the runs",
                "give all of them the same store.url",
            )
        ]
    keepers = sorted({member.host for member in living if member.has_store})
    others = sorted({member.host for member in living if not member.has_store} - set(keepers))
    if not others:
        return []
    kept = f"host {', '.join(keepers)} keeps" if keepers else "no host that is up keeps"
    return [
        Trouble(
            "one_store_host",
            f"{kept} the embedded store of this mesh for {', '.join(others)} too; runs pause while it is down",
            "a MongoDB replica set has no such host: store.url",
        )
    ]


def _store_errors(reports: Sequence[NodeReport]) -> list[Trouble]:
    return [
        Trouble("store_error", f"node {report.member.name} cannot use its store: {report.status.store_error}")
        for report in reports
        if report.status is not None and report.status.store_error
    ]


def _silent_nodes(reports: Sequence[NodeReport]) -> list[Trouble]:
    return [
        Trouble("silent_node", f"node {report.member.name} at {report.member.address} does not answer this client")
        for report in reports
        if report.state == "silent"
    ]
