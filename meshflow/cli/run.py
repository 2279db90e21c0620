"""`meshflow run`: a workflow now, on a mesh that lives as long as the run."""

import click

from .arguments import load_submission, workflow_arguments
from .base import command, load_config
from .exit_codes import of_state


@command("run")
@workflow_arguments
@click.option("-s", "--slots", type=click.IntRange(min=1), metavar="N", help="Tasks at once.  [default: one per core]")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer than this.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
@click.option("-c", "--config", metavar="FILE", help="Settings file to use.")
@click.pass_context
def run(
    ctx: click.Context,
    workflow: str,
    pairs: tuple[str, ...],
    more: tuple[str, ...],
    queue: str,
    slots: int | None,
    timeout: float | None,
    output: str,
    config: str | None,
) -> None:
    """Run WORKFLOW (a name, see `meshflow workflows`, or a Python file) and show it until it ends.

    A mesh of one node is started for it, on this machine, and ended with it; it leaves nothing behind. The exit code
    tells how the run ended.
    """
    from meshflow.client import Client
    from meshflow.private_mesh import NodePlan, PrivateMesh
    from meshflow.references import WaitTimeout
    from meshflow.submitting import queues_of

    from .follow import follow_run

    if config is not None:
        ctx.ensure_object(dict)["config"] = config
    loaded = load_config()
    submission = load_submission(loaded, workflow, [*pairs, *more], queue=queue)
    plan = NodePlan("local", queues_of(submission), slots or 0)
    with PrivateMesh(loaded, [plan]) as mesh, Client(loaded, mesh=mesh.connect()) as client:
        try:
            state = follow_run(client.submit_packed(submission), output, timeout)
        except WaitTimeout:
            raise WaitTimeout(
                f"{submission.spec.name} did not end within {timeout:g} s and was ended, since this mesh lives as long "
                "as the command; where nodes run by themselves it would go on: meshflow node, meshflow submit"
            ) from None
    ctx.exit(of_state(state))
