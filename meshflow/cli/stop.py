"""`meshflow stop` and `meshflow cancel`: end runs early; and drain nodes."""

from typing import TYPE_CHECKING

import click

from meshflow.core.records import RunRecord
from meshflow.references import NotFound, find_node, open_runs

from .base import command, mesh_options, open_client, output_option
from .output import document, listing, print_json

if TYPE_CHECKING:
    from meshflow.client import Client

_REFERENCES = """an id, the beginning of one, @last, or the name of a workflow (all its open runs)"""


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
        ended = [outcome for reference in references for outcome in _end(client, reference, reason, is_cancel=False)]
    _show(ended, output)


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
        ended = [outcome for reference in references for outcome in _end(client, reference, reason, is_cancel=True)]
    _show(ended, output)


class Outcome(tuple[str, str, str, bool]):
    """`(kind, id, name, accepted)` of what was asked to end."""

    __slots__ = ()


def _end(client: "Client", reference: str, reason: str, *, is_cancel: bool) -> list[Outcome]:
    try:
        records = open_runs(reference, client.runs())
    except NotFound as problem:
        if is_cancel:
            raise
        return [_drain(client, reference, problem)]
    return [_end_run(client, record, reason, is_cancel=is_cancel) for record in records]


def _end_run(client: "Client", record: RunRecord, reason: str, *, is_cancel: bool) -> Outcome:
    handle = client.run(record.run)
    accepted = handle.cancel(reason) if is_cancel else handle.stop(reason)
    return Outcome(("run", record.run, record.name, accepted))


def _drain(client: "Client", reference: str, no_run: NotFound) -> Outcome:
    try:
        member = find_node(reference, client.mesh.living())
    except NotFound as no_node:
        raise NotFound(f"{no_run}; nor is there such a node", no_run.hint or no_node.hint) from None
    return Outcome(("node", member.id, member.name, client.mesh.drain(member)))


def _show(ended: list[Outcome], output: str) -> None:
    if output == "json":
        items = [
            document("ending", id_, target=kind, name=name, accepted=accepted) for kind, id_, name, accepted in ended
        ]
        print_json(listing("endings", items))
        return
    for kind, id_, name, accepted in ended:
        if kind == "node":
            click.echo(f"node {name} " + ("finishes what it has and leaves" if accepted else "did not answer"))
        else:
            click.echo(f"{id_}  {name}  " + ("is asked to end" if accepted else "has ended already"))
