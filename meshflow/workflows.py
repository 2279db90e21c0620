"""Workflows and their runs from Python, under Lightflow's names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshflow import wire
from meshflow.config import Config
from meshflow.core.client_messages import NodeStatus
from meshflow.core.graph import DagDefinition
from meshflow.core.member import Member
from meshflow.core.records import RunRecord, State
from meshflow.core.requests import GetBlob
from meshflow.errors import WorkflowDefinitionError
from meshflow.ids import NodeId, RunId, dag_run_name, workflow_of
from meshflow.queue.const import JobExecPath, JobStatus, JobType
from meshflow.queue.models import JobEvent, JobStats

if TYPE_CHECKING:
    from meshflow.client import Client
    from meshflow.models.workflow import Workflow


def start_workflow(
    name: str,
    config: Config,
    *,
    queue: str = "workflow",
    clear_data_store: bool = True,
    store_args: Mapping[str, Any] | None = None,
) -> str:
    """Hand a workflow to the mesh; the id of its run, which is also the id of its job and of its document.

    Raises:
        WorkflowArgumentError: an argument is missing or of the wrong type.
        WorkflowImportError: there is no such workflow, or it cannot be imported.
        WorkflowDefinitionError: a dag has a cycle, or two tasks of one name.
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    with Client(config) as client:
        return client.submit(name, store_args, queue=queue, keep_data=not clear_data_store).id


def stop_workflow(config: Config, *, names: str | Sequence[str] | None = None) -> tuple[list[JobStats], list[JobStats]]:
    """Stop open runs: those of the named workflows or ids, or all. Returns `(stopped, failed)`; those that failed had
    ended in the meantime. A name that fits no run is passed over, as in Lightflow.

    Raises:
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    given = [names] if isinstance(names, str) else names
    stopped: list[JobStats] = []
    failed: list[JobStats] = []
    with Client(config) as client:
        for record in client.runs(is_open=True):
            if given is None or record.run in given or record.name in given:
                accepted = client.handle(record).stop("stop_workflow was called")
                (stopped if accepted else failed).append(run_stats(record, client.mesh.node_name))
    return stopped, failed


def list_workflows(config: Config) -> "list[Workflow]":
    """The workflows that can be started by name, in order of name. Files that cannot be imported are passed over.

    Raises:
        WorkflowDefinitionError: a dag has a cycle, or two tasks of one name.
    """
    from meshflow.submitting import find_workflows

    found, problems = find_workflows(config)
    for problem in problems:
        if isinstance(problem, WorkflowDefinitionError):
            raise problem
    return [workflow for workflow, _ in found]


def list_jobs(
    config: Config,
    *,
    status: JobStatus = JobStatus.Active,
    filter_by_type: str | Sequence[str] | None = None,
    filter_by_worker: str | Sequence[str] | None = None,
) -> list[JobStats]:
    """Jobs that run (`Active`), or workflow and dag runs that wait to be claimed (`Reserved`); other kinds are empty.

    The filters take a job type or worker name, or a list of them.

    Raises:
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    types = [filter_by_type] if isinstance(filter_by_type, str) else filter_by_type
    workers = [filter_by_worker] if isinstance(filter_by_worker, str) else filter_by_worker
    with Client(config) as client:
        jobs = list(_jobs(client, status))
    return [
        job for job in jobs if (types is None or job.type in types) and (workers is None or job.worker_name in workers)
    ]


def events(config: Config) -> Iterator[JobEvent]:
    """What happens to all jobs from now on, without end; closing the generator leaves the mesh.

    Raises:
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    with Client(config) as client:
        yield from client.events()


def _jobs(client: "Client", status: JobStatus) -> Iterator[JobStats]:
    if status in (JobStatus.Registered, JobStatus.Scheduled):
        return
    records = {record.run: record for record in client.open_jobs()}
    if status is JobStatus.Reserved:
        for record in records.values():
            if record.state is State.QUEUED:
                yield run_stats(record, client.mesh.node_name)
        return
    for report in client.nodes():
        if report.status is not None:
            yield from _jobs_of(client, report.member, report.status, records)


def _jobs_of(
    client: "Client", member: Member, status: NodeStatus, records: Mapping[RunId, RunRecord]
) -> Iterator[JobStats]:
    """What one node drives, and what it runs."""
    for run in status.owned:
        if run in records:
            stats = run_stats(records[run], client.mesh.node_name)
            yield replace(stats, hostname=member.host, worker_name=member.name, worker_pid=member.pid)
    queues = {attempt.run: _task_queues(client, attempt.run) for attempt, _, _ in status.running}
    for attempt, name, _ in status.running:
        of_dag = queues[attempt.run]
        queue = of_dag.get(name) or of_dag.get(name.rpartition("[")[0], "")  # an instance of a mapped task
        yield JobStats(
            name=name,
            id=f"{attempt.run}/{name}#{attempt.attempt}",
            type=JobType.Task,
            workflow_id=workflow_of(attempt.run),
            queue=queue,
            func_name=JobExecPath.Task,
            hostname=member.host,
            worker_name=member.name,
            worker_pid=member.pid,
            routing_key=queue,
        )


def _task_queues(client: "Client", dag_run: RunId) -> dict[str, str]:
    """`{task: queue}` of a dag run; empty if the run was removed."""
    dag = dag_run_name(dag_run).rpartition(":")[0]
    blob = client.ask(GetBlob(workflow_of(dag_run), f"dag/{dag}"))
    if not isinstance(blob, bytes):
        return {}
    return {task.name: task.queue for task in wire.decode(DagDefinition, blob).spec.tasks}


def run_stats(record: RunRecord, node_name: Callable[[NodeId], str]) -> JobStats:
    """A workflow run or dag run in Lightflow's form."""
    is_workflow = record.parent is None
    return JobStats(
        name=record.name if is_workflow else dag_run_name(record.run),
        id=record.run,
        type=JobType.Workflow if is_workflow else JobType.Dag,
        workflow_id=workflow_of(record.run),
        queue=record.queue,
        start_time=_utc(record.started_at) if is_workflow else None,
        arguments=dict(record.arguments) if is_workflow else {},
        acknowledged=record.state is not State.QUEUED,
        func_name=JobExecPath.Workflow if is_workflow else JobExecPath.Dag,
        worker_name=node_name(record.owner) if record.owner else "",
        routing_key=record.queue,
    )


def _utc(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
