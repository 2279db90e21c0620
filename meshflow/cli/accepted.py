"""What every command does that hands a run to the mesh: tell its id, and wait for its end if asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .base import hint
from .exit_codes import of_state
from .output import print_json, run_document

if TYPE_CHECKING:
    from meshflow.client import Client
    from meshflow.run_handle import RunHandle

F = TypeVar("F", bound=Callable[..., Any])


def waiting_options(function: F) -> F:
    """`[--follow] [--wait] [--timeout SECONDS]`."""
    for decorate in (
        click.option("-f", "--follow", is_flag=True, help="Wait for the end, show progress and what the tasks print."),
        click.option("-w", "--wait", is_flag=True, help="Wait for the end."),
        click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this."),
    )[::-1]:
        function = decorate(function)
    return function


def show_accepted(
    client: "Client", run: "RunHandle", said: str, output: str, *, follow: bool, wait: bool, timeout: float | None
) -> None:
    """Show a run that was accepted, wait for its end if asked, and leave the command; `said` is what happened."""
    from .follow import follow_run

    context = click.get_current_context()
    if output == "text":
        click.echo(run.id)
    if follow or wait:
        try:
            state = follow_run(run, output, timeout) if follow else run.wait(timeout)
        except KeyboardInterrupt:
            hint(f"the run goes on      follow: meshflow logs -f {run.id}      end it: meshflow cancel {run.id}")
            raise
        if wait and not follow:
            _show_end(client, run, output)
        context.exit(of_state(state))
    elif output == "json":
        print_json(run_document(run.record, client.mesh.node_name))
    else:
        hint(f"{said}      follow: meshflow logs -f {run.id}      state: meshflow status {run.id}")


def _show_end(client: "Client", run: "RunHandle", output: str) -> None:
    if output == "json":
        print_json(run_document(run.record, client.mesh.node_name))
    else:
        hint(f"{run.name} {run.state.value}" + (f": {run.reason}" if run.reason else ""))
