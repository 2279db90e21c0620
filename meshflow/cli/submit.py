"""`meshflow submit`: hand a workflow to the mesh, and watch it if asked."""

import click

from .accepted import show_accepted, waiting_options
from .arguments import load_submission, workflow_arguments
from .base import command, load_config, mesh_options, open_client, output_option


@command("submit")
@workflow_arguments
@waiting_options
@click.option("-k", "--keep-data", is_flag=True, help="Keep the data store of the run when it has completed.")
@output_option
@mesh_options
def submit(
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
    config = load_config()
    submission = load_submission(config, workflow, [*pairs, *more], queue=queue, keep_data=keep_data)
    with open_client(config) as client:
        run = client.submit_packed(submission)
        show_accepted(client, run, f"submitted {run.name}", output, follow=follow, wait=wait, timeout=timeout)
