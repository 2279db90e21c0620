"""`meshflow logs`: what the tasks of a run printed."""

import click

from meshflow.core.records import RunRecord, State
from meshflow.printed import Line
from meshflow.references import LAST

from .base import command, hint, mesh_options, open_client, output_option
from .exit_codes import of_state
from .output import line_document, listing, print_json


@command("logs")
@click.argument("run", default=LAST)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends; the exit code tells how it ended.")
@click.option("-t", "--task", metavar="NAME", help="Only of this task.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only of this attempt.")
@output_option
@mesh_options
@click.pass_context
def logs(ctx: click.Context, run: str, follow: bool, task: str | None, attempt: int | None, output: str) -> None:
    """What the tasks of RUN printed: an id, the beginning of one, a workflow's name, or @last (the default)."""
    with open_client() as client:
        handle = client.run(run)
        lines = handle.logs(follow=follow, task=task, attempt=attempt)
        if output == "json" and not follow:
            print_json(listing("lines", [line_document(handle.id, line) for line in lines]))
            return
        has_printed = False
        for line in lines:
            has_printed = True
            if output == "json":
                print_json(line_document(handle.id, line), is_stream=True)
            else:
                click.echo(_labelled(line, has_one_task=task is not None))
        if not has_printed and output != "json":
            hint(_silence(handle.record, task, attempt))
        if follow:
            ctx.exit(of_state(handle.state))


def _labelled(line: Line, *, has_one_task: bool) -> str:
    return line.text if has_one_task else f"{line.dag}/{line.task} | {line.text}"


def _silence(record: RunRecord, task: str | None, attempt: int | None) -> str:
    """What is said where there is nothing to show."""
    so_far = "" if record.state.is_final else " so far"
    by = f"task {task!r} in " if task is not None else ""
    if attempt is not None:
        by = f"attempt {attempt} of {by or 'any task in '}"
    text = f"nothing was printed{so_far} by {by}run {record.run} of {record.workflow!r}"
    if not record.state.is_final or record.state is State.COMPLETED:
        return text
    ended = "was cancelled" if record.state is State.CANCELLED else record.state.value
    reason = f": {first}" if (first := record.reason.partition("\n")[0]) else ""
    return f"{text}, which {ended}{reason}\n  more: meshflow status {record.run}"
