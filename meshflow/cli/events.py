"""`meshflow events`: what happened to jobs."""

from collections.abc import Iterable

import click

from meshflow.queue.models import JobEvent

from .base import command, hint, mesh_options, open_client, output_option
from .output import colored, event_document, listing, print_json, seconds


@command("events")
@click.argument("run", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as things happen.")
@click.option("-t", "--type", "job_type", type=click.Choice(["workflow", "dag", "task"]), help="Only of these jobs.")
@output_option
@mesh_options
def events(run: str | None, follow: bool, job_type: str | None, output: str) -> None:
    """What happened to RUN and its jobs, from its beginning.

    Without RUN: what happens to all runs from now on (Ctrl-C ends it).
    """
    with open_client() as client:
        if run is None:
            hint("events of all runs from now on; Ctrl-C ends this")
            happened = client.events()
        else:
            happened = client.run(run).events(follow=follow)
        wanted = (event for event in happened if job_type in (None, event.type))
        show_events(wanted, is_json=output == "json", is_stream=run is None or follow)


def show_events(events: Iterable[JobEvent], *, is_json: bool, is_stream: bool) -> None:
    """Print events as they come."""
    if is_json and not is_stream:
        print_json(listing("events", map(event_document, events)))
        return
    for event in events:
        if is_json:
            print_json(event_document(event), is_stream=True)
        else:
            click.echo(_line(event))


def _line(event: JobEvent) -> str:
    clock = event.event_time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    name = event.name if event.type != "task" else f"{event.dag}/{event.name}"
    attempt = f" (attempt {event.attempt})" if event.attempt > 1 else ""
    node = f" on {event.hostname}" if event.hostname else ""
    took = f" in {seconds(event.duration)}" if event.duration is not None else ""
    reason = f": {event.reason}" if event.reason else ""
    word = colored(event.word) + " " * (9 - len(event.word))
    return f"{clock}  {event.workflow_id[:8]}  {word}  {event.type:8}  {name}{attempt}{node}{took}{reason}"
