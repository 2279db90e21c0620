"""`meshflow retry`: run again what did not complete of a run."""

import click

from .accepted import show_accepted, waiting_options
from .base import command, mesh_options, open_client, output_option


@command("retry")
@click.argument("reference", metavar="RUN")
@waiting_options
@click.option("--rerun-at-most-once", is_flag=True, help="Run again also tasks that may run at most once and may have.")
@output_option
@mesh_options
def retry(
    reference: str, follow: bool, wait: bool, timeout: float | None, rerun_at_most_once: bool, output: str
) -> None:
    """Run again what did not complete of RUN, and what hangs on it, as a new run.

    RUN is the id of a run that failed or was ended early, the beginning of one, @last, or the name of a workflow (its
    newest run). Prints the id of the new run. Tasks and sub-dags that completed keep their results, and what they put
    into the data store. Code and arguments are those of RUN and cannot be changed: to change them, submit anew.
    """
    with open_client() as client:
        run = client.retry(reference, rerun_at_most_once=rerun_at_most_once)
        record = run.record
        said = f"retries {record.retry_of}; tasks reused: {record.reused}"
        show_accepted(client, run, said, output, follow=follow, wait=wait, timeout=timeout)
