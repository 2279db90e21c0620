"""Lightflow's spellings: `workflow list|start|stop|status`, `worker start|stop|status`, `monitor`."""

from typing import TYPE_CHECKING

import click

from .base import SETTINGS, Command, is_terminal, load_config, mesh_options, open_client
from .output import colored, local_time
from .submit import submit
from .workflows import workflows

if TYPE_CHECKING:
    from meshflow.queue.models import JobStats, WorkerStats

_MONITOR_COLUMNS = ("Status", "Type", "Name", "Duration (sec)")
_MONITOR_DETAILS = ("Queue", "Workflow ID", "Worker")
_MONITOR_WIDTHS = (-10, -12, 25, 18, 16, 28, 20)
_STATUS_WIDTHS = (-12, 20, 25, 25, 38)
"""Columns as wide as Lightflow's; negative: set to the right."""


@click.group("workflow", context_settings=SETTINGS)
def workflow() -> None:
    """List, start, stop and watch workflows (Lightflow's spelling)."""


workflow.add_command(workflows, "list")
workflow.add_command(submit, "start")


@workflow.command("stop", cls=Command)
@click.argument("names", nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@mesh_options
def stop_(names: tuple[str, ...], yes: bool) -> None:
    """Stop the runs of workflows of these NAMES or ids; without any, all."""
    from meshflow.workflows import stop_workflow

    _confirm(f"Stop {', '.join(names) if names else 'all workflows'}?", yes=yes)
    stopped, failed = stop_workflow(load_config(), names=names or None)
    for job in stopped:
        click.echo(f"{job.id}  {job.name}  is asked to end")
    for job in failed:
        click.echo(f"{job.id}  {job.name}  has ended already")


@workflow.command("status", cls=Command)
@click.option("-d", "--details", is_flag=True, help="Show ids too.")
@mesh_options
def status(details: bool) -> None:
    """The runs that are open."""
    config = load_config()
    with open_client(config) as client:
        records = client.runs(is_open=True)
    click.echo(_row(("Status", "Name", "Start Time", *(("ID", "Job") if details else ()), "Arguments"), _STATUS_WIDTHS))
    click.echo("-" * (138 if details else 75))
    for record in records:
        started = local_time(record.started_at or record.created_at, config.settings.cli.time_format)
        ids = (record.run, record.run) if details else ()  # a run is its own job
        arguments = ",".join(f"{name}={value}" for name, value in record.arguments.items())
        click.echo(_colored_row((record.state.value, record.name, started, *ids, arguments), _STATUS_WIDTHS))


@click.group("worker", context_settings=SETTINGS)
def worker() -> None:
    """Start, stop and list workers (Lightflow's spelling of nodes)."""


@worker.command(
    "start", cls=Command, context_settings={**SETTINGS, "ignore_unknown_options": True, "allow_extra_args": True}
)
@click.option("-q", "--queues", default="workflow,dag,task", show_default=True, help="Queues to serve.")
@click.option("-n", "--name", help="What to call the worker.")
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help="Tasks at once.")
@click.option("--config", metavar="FILE", help="Settings file to use.")
@click.pass_context
def start(ctx: click.Context, queues: str, name: str | None, concurrency: int | None, config: str | None) -> None:
    """Run a worker until it is stopped. Options of Celery other than -c are ignored."""
    from .node import node

    if ctx.args:
        click.echo(f"note: {' '.join(ctx.args)} has no effect: there is no Celery", err=True)
    if config is not None:
        ctx.ensure_object(dict)["config"] = config
    ctx.invoke(node, queues=queues, name=name, slots=concurrency)


@worker.command("stop", cls=Command)
@click.argument("ids", nargs=-1)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@mesh_options
def stop_worker_(ids: tuple[str, ...], yes: bool) -> None:
    """Drain the workers of these names or IDS; without any, all."""
    from meshflow.workers import stop_worker

    _confirm(f"Stop {', '.join(ids) if ids else 'all workers'}?", yes=yes)
    stop_worker(load_config(), worker_ids=ids or None)


@worker.command("status", cls=Command)
@click.option("-f", "--filter-queues", metavar="A,B", help="Only workers that serve one of these queues.")
@click.option("-d", "--details", is_flag=True, help="Show processes and jobs too.")
@mesh_options
def worker_status(filter_queues: str | None, details: bool) -> None:
    """The workers that are up."""
    from meshflow.workers import list_workers
    from meshflow.workflows import list_jobs

    config = load_config()
    workers = list_workers(config, filter_by_queues=filter_queues.split(",") if filter_queues else None)
    if not workers:
        click.echo("No workers are running at the moment.")
    jobs = list_jobs(config) if details and workers else []
    for each in workers:
        _show_worker(each, [job for job in jobs if job.worker_name == each.name] if details else None)


def _show_worker(each: "WorkerStats", jobs: "list[JobStats] | None") -> None:
    click.echo(f"Worker: {each.name}")
    click.echo(f"> pid: {each.pid}")
    click.echo(f"> queues: {', '.join(queue.name for queue in each.queues)}")
    if jobs is None:
        return
    broker = each.broker
    click.echo(f"> concurrency: {each.concurrency}")
    click.echo(f"> processes: {', '.join(map(str, each.process_pids))}")
    click.echo(f"> broker: {broker.transport}://{broker.hostname}:{broker.port}/{broker.virtual_host}")
    click.echo(f"> job count: {each.job_count}")
    click.echo(f"> jobs: [{len(jobs)}]" if jobs else "> jobs: [No tasks]")
    for job in jobs:
        click.echo(f"  {job.name} ({job.type}) [{job.workflow_id}] {job.id} on {job.worker_pid}")


@click.command("monitor", cls=Command, context_settings=SETTINGS)
@click.option("-d", "--details", is_flag=True, help="Show queue, run and worker too.")
@mesh_options
def monitor(details: bool) -> None:
    """What happens to all jobs from now on, without end."""
    from meshflow.workflows import events

    columns = (*_MONITOR_COLUMNS, *(_MONITOR_DETAILS if details else ()))
    click.echo(_row(columns, _MONITOR_WIDTHS))
    click.echo("-" * (136 if details else 65))
    for event in events(load_config()):
        duration = "" if event.duration is None else f"{event.duration:.3f}"
        more = (event.queue, event.workflow_id, event.hostname) if details else ()
        click.echo(_colored_row((event.word, event.type, event.name, duration, *more), _MONITOR_WIDTHS))


def _row(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    padded = [
        cell.rjust(-width) if width < 0 else cell.ljust(width)
        for cell, width in zip(cells, (*widths, *[0] * len(cells)), strict=False)
    ]
    return "  ".join(padded).rstrip()


def _colored_row(cells: tuple[str, ...], widths: tuple[int, ...]) -> str:
    """The same with the first cell, a state, in its colour."""
    return _row(cells, widths).replace(cells[0], colored(cells[0]), 1)


def _confirm(question: str, *, yes: bool) -> None:
    """Ask, if there is somebody to ask; a script that calls this means it."""
    if not yes and is_terminal():
        click.confirm(question, default=True, abort=True, err=True)
