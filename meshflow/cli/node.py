"""`meshflow node`: run a node in this terminal."""

import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from meshflow.errors import UsageError
from meshflow.version import __version__

from .base import command, hint, load_config, mesh_options

if TYPE_CHECKING:
    from meshflow.core.member import Member

_DRAIN_S = 1.0
"""Nobody is left who would want to wait for running tasks."""


@command("node")
@click.option("-q", "--queues", metavar="A,B", help="Queues to serve.  [default: workflow,dag,task]")
@click.option("-s", "--slots", type=click.IntRange(min=1), metavar="N", help="Tasks at once.  [default: one per core]")
@click.option("--name", metavar="NAME", help="What to call the node.  [default: host and process id]")
@click.option("--join", multiple=True, metavar="HOST:PORT", help="A node of the mesh on another host.")
@click.option("--bind", metavar="HOST[:PORT]", help="Where to listen.  [default: loopback only]")
@click.option("--advertise", metavar="HOST", help="Where others reach this node, if not where it listens.")
@click.option("--key-file", metavar="FILE", help="The key of the mesh.")
@click.option("--store", metavar="URL", help="mongodb://... or the path of a file.  [default: the embedded store]")
@click.option("--mesh", metavar="NAME", help="Nodes of one host find each other under this name.")
@click.option("--preset", type=click.Choice(["local", "lan", "wan"]), help="How soon a silent node is taken for dead.")
@click.option("--quiet", is_flag=True, help="Log warnings only.")
@click.option("--until-eof", is_flag=True, hidden=True, help="Stop when stdin ends; print a line when ready.")
@mesh_options
@click.pass_context
def node(ctx: click.Context, /, queues: str | None, store: str | None, until_eof: bool, **given: Any) -> None:
    """Run a node until Ctrl-C, which drains it; a second Ctrl-C ends it at once.

    The first node on a host starts a mesh, others on that host find it by themselves. A node of another host needs
    --join and the key of the mesh.
    """
    from meshflow.logger import install
    from meshflow.runtime.serve import serve
    from meshflow.workers import node_options

    config = load_config()
    try:
        install(config.logging, logging.WARNING if given["quiet"] else logging.INFO)
    except (ValueError, TypeError, AttributeError, ImportError) as problem:
        raise UsageError(
            f"the section 'logging' of the configuration is not in dictConfig form: {problem}"
        ) from problem
    names = tuple(queue.strip() for queue in queues.split(",") if queue.strip()) if queues else ()
    if queues is not None and not names:
        raise click.UsageError("--queues names no queue")
    options = node_options(
        config,
        queues=names,
        store_url=store,
        on_ready=_announce if until_eof else None if given["quiet"] else _greet,
        **given,
    )
    if until_eof:
        threading.Thread(target=_stop_at_eof, daemon=True).start()
    ctx.exit(serve(options))


def _greet(member: "Member") -> None:
    hint(f"meshflow {__version__}  node {member.name} (process {member.pid})")
    hint(f"queues   {', '.join(member.queues)}      slots {member.slots}")
    hint(f"address  {member.address}      store {member.store or 'that of the mesh'}")
    hint("ready    waiting for work; Ctrl-C drains, twice stops at once")


def _announce(member: "Member") -> None:
    click.echo(f"ready {member.address}")


def _stop_at_eof() -> None:
    """Whoever started this node holds the other end of stdin; when that is gone, however it ended, so is the node."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_DRAIN_S)
    os.kill(os.getpid(), signal.SIGTERM)
