"""`meshflow stop` and `meshflow cancel`: end runs early; and drain nodes."""

from typing import TYPE_CHECKING

import click

from meshflow.core.records import Stop
from meshflow.references import NotFound, find_node, open_runs

from .base import command, mesh_options, open_client, output_option
from .output import Document, document, listing, print_json

if TYPE_CHECKING:
    from meshflow.client import Client


@command("stop")
@click.argument("references", nargs=-1, required=True, metavar="REF...")
@click.option("--reason", default="", help="Why; shown with the run.")
@output_option
@mesh_options
def stop(references: tuple[str, ...], reason: str, output: str) -> None:
    """End runs gently: nothing new starts, running tasks end by themselves.

    REF is a run (an id, the beginning of one, @last, or the name of a workflow: all its open runs), or a node (name or
    id), which then finishes or gives back what it has, and leaves.
    """
    with open_client() as client:
        _show([each for reference in references for each in _stop(client, reference, reason)], output)


@command("cancel")
@click.argument("references", nargs=-1, required=True, metavar="RUN...")
@click.option("--reason", default="", help="Why; shown with the run.")
@output_option
@mesh_options
def cancel(references: tuple[str, ...], reason: str, output: str) -> None:
    """End runs at once: running tasks are killed.

    RUN is an id, the beginning of one, @last, or the name of a workflow (all its open runs).
    """
    with open_client() as client:
        _show([each for reference in references for each in _end_runs(client, reference, Stop.CANCEL, reason)], output)


def _stop(client: "Client", reference: str, reason: str) -> list[Document]:
    try:
        return _end_runs(client, reference, Stop.STOP, reason)
    except NotFound as no_run:
        try:
            member = find_node(reference, client.mesh.living())
        except NotFound as no_node:
            hint = no_node.hint if "did you mean" in no_node.hint else no_run.hint
            raise NotFound(f"{no_run}; nor is there a node of that name", hint) from None
        return [document("ending", member.id, target="node", name=member.name, accepted=client.mesh.drain(member))]


def _end_runs(client: "Client", reference: str, stop: Stop, reason: str) -> list[Document]:
    ended = []
    for record in open_runs(reference, client.runs()):
        handle = client.handle(record)
        accepted = handle.stop(reason) if stop is Stop.STOP else handle.cancel(reason)
        ended.append(document("ending", record.run, target="run", name=record.name, accepted=accepted))
    return ended


def _show(ended: list[Document], output: str) -> None:
    if output == "json":
        print_json(listing("endings", ended))
        return
    for each in ended:
        if each["target"] == "node":
            outcome = "finishes what it has and leaves" if each["accepted"] else "did not answer"
        else:
            outcome = "is asked to end" if each["accepted"] else "has ended already"
        click.echo(f"{each['id']}  {each['name']}  {outcome}")
