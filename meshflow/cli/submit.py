"""`meshflow submit`: hand a workflow to the mesh, and watch it if asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from meshflow.ids import NodeId

from .arguments import load_submission, workflow_arguments
from .base import command, hint, load_config, mesh_options, open_client, output_option
from .exit_codes import of_state
from .output import print_json, run_document

if TYPE_CHECKING:
    from meshflow.run_handle import RunHandle


@command("submit")
@workflow_arguments
@click.option("-f", "--follow", is_flag=True, help="Wait for the end, show progress and what the tasks print.")
@click.option("-w", "--wait", is_flag=True, help="Wait for the end.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.option("-k", "--keep-data", is_flag=True, help="Keep the data store of the run when it ends.")
@output_option
@mesh_options
@click.pass_context
def submit(
    ctx: click.Context,
    workflow: str,
    pairs: tuple[str, ...],
    more: tuple[str, ...],
    queue: str,
    follow: bool,
    wait: bool,
    timeout: float | None,
    keep_data: bool,
    output: str,
) -> None:
    """Hand WORKFLOW (a name, see `meshflow workflows`, or a Python file) to the mesh.

    Prints the id of the run. Once it is printed, the run will finish or say why not, whichever node dies. With --follow
    or --wait the exit code tells how the run ended.
    """
    from .follow import follow_run

    config = load_config()
    submission = load_submission(config, workflow, [*pairs, *more], queue=queue, keep_data=keep_data)
    with open_client(config) as client:
        run = client.submit_packed(submission)
        if output == "text":
            click.echo(run.id)
        if follow or wait:
            try:
                state = follow_run(run, output, timeout) if follow else run.wait(timeout)
            except KeyboardInterrupt:
                hint(f"the run goes on      follow: meshflow logs -f {run.id}      end it: meshflow cancel {run.id}")
                raise
            if wait and not follow:
                _show_end(run, output, client.mesh.node_name)
            ctx.exit(of_state(state))
        elif output == "json":
            print_json(run_document(run.record, client.mesh.node_name))
        else:
            hint(f"submitted {run.name}      follow: meshflow logs -f {run.id}      state: meshflow status {run.id}")


def _show_end(run: "RunHandle", output: str, node_name: Callable[[NodeId], str]) -> None:
    if output == "json":
        print_json(run_document(run.record, node_name))
    else:
        hint(f"{run.name} {run.state.value}" + (f": {run.reason}" if run.reason else ""))
