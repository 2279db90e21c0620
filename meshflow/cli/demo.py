"""`meshflow demo`: three nodes, one workflow, and what each did; what `make run` shows."""

import sys
import time

import click

from .base import command, load_config
from .exit_codes import of_state
from .output import seconds, table

_WORKFLOW = "simple"


@command("demo")
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Start a mesh of three node processes on this machine, run the workflow `simple` on it, and stop it.

    One node drives runs (queues workflow and dag), two run tasks. Nothing is left behind.
    """
    from meshflow.client import Client
    from meshflow.config import EXAMPLES
    from meshflow.private_mesh import NodePlan, PrivateMesh

    from .follow import follow_run

    config = load_config()
    plans = [
        NodePlan("alice", ("workflow", "dag")),
        NodePlan("bob", ("task",), slots=1),
        NodePlan("carol", ("task",), slots=1),
    ]
    click.echo("starting three nodes on this machine")
    started_at = time.monotonic()
    with PrivateMesh(config, plans) as mesh, Client(config, mesh=mesh.connect()) as client:
        rows = [[plan.name, ",".join(plan.queues), str(mesh.pid(plan.name))] for plan in plans]
        table(["NODE", "QUEUES", "PROCESS"], rows)
        click.echo(f"ready after {seconds(time.monotonic() - started_at)}\n")
        run = client.submit(EXAMPLES / f"{_WORKFLOW}.py")
        click.echo(f"submitted {run.name} as {run.id}")
        state = follow_run(run, err=sys.stdout)
        click.echo("stopping the nodes")
    click.echo(
        "\nThe same by hand: `meshflow node` in one terminal, `meshflow node --queues task` in others,\n"
        f"then `meshflow submit {_WORKFLOW} --follow`. More workflows: meshflow workflows"
    )
    ctx.exit(of_state(state))
