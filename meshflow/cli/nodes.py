"""`meshflow nodes`: the nodes of the mesh."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .base import command, mesh_options, open_client, output_option
from .output import listing, node_document, print_json, seconds, table

if TYPE_CHECKING:
    from meshflow.mesh import NodeReport


@command("nodes")
@output_option
@mesh_options
def nodes(output: str) -> None:
    """The nodes of the mesh: which queues each serves, and what it is doing."""
    with open_client() as client:
        reports = client.nodes()
    if output == "json":
        print_json(listing("nodes", map(node_document, reports)))
    else:
        node_table(reports)


def node_table(reports: Sequence["NodeReport"]) -> None:
    """Print the nodes."""
    rows = [
        [
            report.member.name or report.member.id,
            report.state,
            ",".join(report.member.queues),
            _slots(report),
            _count(report, "done"),
            _count(report, "owned"),
            seconds(report.status.uptime_s) if report.status else "",
            report.member.address,
        ]
        for report in reports
    ]
    table(["NODE", "STATE", "QUEUES", "SLOTS", "DONE", "RUNS", "UP", "ADDRESS"], rows)
    for report in reports:
        if report.status is not None and report.status.store_error:
            click.echo(f"! {report.member.name}: {report.status.store_error}", err=True)


def _slots(report: "NodeReport") -> str:
    busy = len(report.status.running) if report.status else "-"
    return f"{busy}/{report.member.slots}"


def _count(report: "NodeReport", what: str) -> str:
    if report.status is None:
        return "-"
    return str(report.status.done_count if what == "done" else len(report.status.owned))
