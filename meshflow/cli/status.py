"""`meshflow status`: the mesh at a glance, or one run in detail."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from meshflow.core.records import RunRecord
from meshflow.ids import NodeId

from .base import command, load_config, mesh_options, open_client, output_option
from .nodes import node_table
from .output import (
    colored,
    document,
    elapsed,
    listing,
    local_time,
    node_document,
    print_json,
    run_document,
    seconds,
    table,
    view_document,
)

if TYPE_CHECKING:
    from meshflow.client import Client
from meshflow.run_handle import RunHandle


@command("status")
@click.argument("run", required=False)
@click.option("-l", "--limit", type=click.IntRange(min=1), default=10, show_default=True, help="Ended runs to show.")
@output_option
@mesh_options
def status(run: str | None, limit: int, output: str) -> None:
    """The mesh at a glance: its nodes, its runs, and what needs a person.

    With RUN (an id, the beginning of one, a workflow's name, or @last): its dags and tasks.
    """
    config = load_config()
    with open_client(config) as client:
        if run is not None:
            show_run(client.run(run), output)
        else:
            _show_mesh(client, limit, output, config.settings.cli.time_format)


def _show_mesh(client: "Client", limit: int, output: str, time_format: str) -> None:
    from meshflow.troubles import find_troubles, waiting_by_queue

    reports = client.nodes()
    open_jobs = client.open_jobs()
    open_runs = client.runs(is_open=True)
    ended = client.runs(is_open=False, limit=limit)
    troubles = find_troubles(reports, open_jobs)
    if output == "json":
        print_json(
            document(
                "status",
                client.config.settings.mesh.name,
                mesh=client.config.settings.mesh.name,
                nodes=listing("nodes", map(node_document, reports)),
                runs=listing("runs", [run_document(record, client.mesh.node_name) for record in open_runs + ended]),
                waiting=waiting_by_queue(reports, open_jobs),
                warnings=[{"code": each.code, "text": each.text, "fix": each.fix or None} for each in troubles],
            )
        )
        return
    up = [report for report in reports if report.state in ("alive", "draining", "suspect", "silent")]
    slots = sum(report.member.slots for report in up)
    busy = sum(len(report.status.running) for report in up if report.status)
    click.echo(
        f"mesh {client.config.settings.mesh.name}: {len(up)} nodes up, {busy} of {slots} slots busy, "
        f"{len(open_runs)} runs open\n"
    )
    node_table(reports)
    if open_runs or ended:
        click.echo()
        run_table([*open_runs, *ended], client.mesh.node_name, time_format)
    for each in troubles:
        click.echo(click.style("! ", fg="yellow") + each.text + (f"      {each.fix}" if each.fix else ""))


def run_table(records: Sequence[RunRecord], node_name: Callable[[NodeId], str], time_format: str) -> None:
    """Print workflow runs."""
    rows = [
        [
            record.run,
            record.name,
            record.state.value,
            local_time(record.started_at or record.created_at, time_format),
            seconds(record.ended_at - record.started_at) if record.ended_at and record.started_at else "",
            f"{record.done}/{record.total}",
            node_name(record.owner) if record.owner else "",
            record.reason or record.stop_reason or (f"a retry of {record.retry_of}" if record.retry_of else ""),
        ]
        for record in records
    ]
    table(["RUN", "WORKFLOW", "STATE", "STARTED", "TOOK", "DONE", "OWNER", "REASON"], rows)


def show_run(run: "RunHandle", output: str) -> None:
    """Print one run with its dags and tasks."""
    view = run.view()
    if output == "json":
        print_json(view_document(view))
        return
    reason = f": {view.reason}" if view.reason else ""
    click.echo(f"{view.run}  {view.name}  {colored(view.state.value)}{reason}")
    if view.retry_of is not None:
        click.echo(f"a retry of {view.retry_of}; tasks reused: {view.reused} of {view.task_count}")
    rows = []
    for dag in view.dags.values():
        took = None if dag.started_at is None or dag.ended_at is None else dag.ended_at - dag.started_at
        rows.append([dag.name, dag.state.value, dag.owner, "", dag.queue, seconds(took), dag.reason])
        for task in dag.tasks:
            attempt = str(task.attempt or "")
            took = elapsed(task)
            reason = task.reason or ("reused" if task.is_reused else "")
            rows.append([f"  {task.name}", task.state.value, task.node, attempt, task.queue, seconds(took), reason])
    if rows:
        click.echo()
        table(["DAG / TASK", "STATE", "NODE", "ATTEMPT", "QUEUE", "TOOK", "REASON"], rows)
