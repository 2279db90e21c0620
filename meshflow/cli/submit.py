"""`meshflow submit`: hand a workflow to the mesh, and watch it if asked."""

import click

from meshflow.core.records import RunRecord

from .arguments import parse_pairs, workflow_arguments
from .base import command, hint, load_config, mesh_options, open_client, output_option
from .exit_codes import of_state
from .output import print_json, run_document


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

    Prints the id of the run. Once it is printed, the run will finish or say why not, whichever node dies. With --follow or
    --wait the exit code tells how the run ended.
    """
    from meshflow.submitting import load

    config = load_config()
    submission = load(config, workflow, parse_pairs([*pairs, *more]), queue=queue, keep_data=keep_data)
    with open_client(config) as client:
        run = client.submit_packed(submission)
        is_json = output == "json"
        if not (follow or wait):
            _print_run(run.record, is_json=is_json)
            if not is_json:
                hint(f"submitted {run.name}      follow: meshflow logs -f {run.id}      state: meshflow status {run.id}")
            return
        if not is_json:
            _print_run(run.record, is_json=False)
        if follow:
            from .follow import follow_run

            state = follow_run(run, is_json=is_json, timeout_s=timeout)
        else:
            state = run.wait(timeout)
            if is_json:
                _print_run(run.record, is_json=True)
            else:
                hint(f"{run.name} {state.value}" + (f": {run.reason}" if run.reason else ""))
        ctx.exit(of_state(state))


def _print_run(record: RunRecord, *, is_json: bool) -> None:
    if is_json:
        print_json(run_document(record))
    else:
        click.echo(record.run)
