"""Nodes from Python, under Lightflow's names: start one here, stop and list those of the mesh."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from meshflow.config import Config, store_url
from meshflow.durations import seconds_of
from meshflow.errors import UsageError
from meshflow.queue.models import BrokerStats, QueueStats, WorkerStats

if TYPE_CHECKING:
    from meshflow.mesh import NodeReport
    from meshflow.runtime.serve import NodeOptions


def start_worker(
    queues: Sequence[str],
    config: Config,
    *,
    name: str | None = None,
    celery_args: Sequence[str] | None = None,
    check_datastore: bool = True,
) -> None:
    """Run a node in this process until it is stopped.

    `celery_args` is accepted and has no effect; `check_datastore` too: a node always opens its store first.

    Raises:
        MeshflowError: it cannot start: the store cannot be reached, the key is wrong, the port is in use.
        UsageError: the node ended with an error.
    """
    if celery_args:
        import warnings

        warnings.warn("celery_args has no effect: there is no Celery", stacklevel=2)
    from meshflow.runtime.serve import serve

    code = serve(node_options(config, queues=tuple(queues), name=name or ""))
    if code:
        raise UsageError(f"the node ended with exit code {code}; its log says why")


def stop_worker(config: Config, *, worker_ids: str | Sequence[str] | None = None) -> None:
    """Drain the named nodes (None: all): they finish or give back what they have, and leave. Does not wait for that.

    Raises:
        NotFound: there is no node of a given name.
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    with Client(config) as client:
        given = [worker_ids] if isinstance(worker_ids, str) else worker_ids
        wanted = [member.id for member in client.mesh.living()] if given is None else given
        for worker in wanted:
            client.stop_node(worker)


def list_workers(config: Config, *, filter_by_queues: str | Sequence[str] | None = None) -> list[WorkerStats]:
    """The nodes that are up; with a filter, those that serve at least one of the queues.

    Raises:
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    queues = [filter_by_queues] if isinstance(filter_by_queues, str) else filter_by_queues
    with Client(config) as client:
        reports = [report for report in client.nodes() if report.status is not None]
    return [
        worker_stats(report, config.settings.mesh.name)
        for report in reports
        if queues is None or any(queue in report.member.queues for queue in queues)
    ]


def worker_stats(report: "NodeReport", mesh: str) -> WorkerStats:
    """A node in Lightflow's form; what it did not answer is 0 or empty."""
    member, status = report.member, report.status
    address = urlsplit(member.address)
    return WorkerStats(
        name=member.name or member.id,
        broker=BrokerStats(address.hostname or "", address.port or 0, address.scheme, mesh),
        pid=member.pid,
        process_pids=list(status.children) if status else [],
        concurrency=member.slots,
        job_count=status.done_count if status else 0,
        queues=[QueueStats(queue, queue) for queue in member.queues],
    )


def node_options(config: Config, **given: Any) -> "NodeOptions":
    """What a node started here is to be: `given` goes before the configuration, unless it is None or empty."""
    from meshflow.core.retention import RetentionSettings
    from meshflow.runtime.fleet import ExecutorSettings
    from meshflow.runtime.serve import NodeOptions
    from meshflow.runtime.transport.settings import TransportSettings

    node, mesh, kept = config.settings.node, config.settings.mesh, config.settings.retention
    limits = config.settings.limits
    options: dict[str, Any] = {
        "queues": node.queues,
        "slots": node.slots,
        "name": node.name,
        "bind": mesh.bind,
        "advertise": mesh.advertise or None,
        "join": mesh.join,
        "key_file": mesh.key_file or None,
        "store_url": store_url(config.settings.store),
        "mesh": mesh.name,
        "preset": mesh.preset,
        "retention": RetentionSettings(seconds_of(kept.runs), seconds_of(kept.output), kept.keep or None),
        "transport": TransportSettings(
            max_message_bytes=limits.max_message_bytes,
            max_queued_messages=limits.max_queued_messages,
            max_connections=limits.max_connections,
        ),
        "executor": ExecutorSettings(max_value_bytes=limits.max_value_bytes, max_output_bytes=limits.max_output_bytes),
        "on_ready": None,
        "quiet": False,
        "sys_path": (*config.settings.libraries, *config.settings.workflows),
    }
    options.update({key: value for key, value in given.items() if value not in (None, "", ())})
    return NodeOptions(**options)
