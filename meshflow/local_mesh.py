"""A mesh on this machine for as long as a block of code runs."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from meshflow.client import Client
from meshflow.config import Config
from meshflow.mesh import NoMesh
from meshflow.private_mesh import NodePlan, PrivateMesh

DEFAULT_QUEUES = ("workflow", "dag", "task")


@contextmanager
def local(
    slots: int | None = None, *, queues: Sequence[str] = DEFAULT_QUEUES, config: Config | None = None
) -> Iterator[Client]:
    """Start a node on this machine, and end it with the block; nothing is left behind. What this program can import,
    calls can import.

        with meshflow.local() as client:
            print(client.gather(client.map(len, ["a", "bc"])))

    `slots`: calls and tasks at a time; None: one for each core. `queues`: those that the node serves. `config` says
    where workflows and libraries lie; None: as for the command line.

    Raises:
        NodeDidNotStart: the node ended at once, or was not ready in time; the text has what it said.
    """
    config = Config.from_file(None, strict=False) if config is None else config
    plan = NodePlan("local", tuple(queues), slots or 0)
    libraries = [os.path.abspath(folder) for folder in sys.path if os.path.isdir(folder or os.curdir)]
    with PrivateMesh(config, [plan], libraries) as mesh, Client(config, mesh=mesh.connect()) as client:
        yield client


def open_client(
    opened: ExitStack, connect: str | None, *, slots: int | None = None, queues: Sequence[str] = DEFAULT_QUEUES
) -> tuple[Client, bool]:
    """A client of the mesh that is meant, which is that of the node at `connect` or else the one that the configuration
    names or that runs on this host; only if there is none, of a local one. And whether it is that. `opened` closes it.

    Raises:
        NoMesh: a mesh was named, and does not answer: work that was meant for it must not begin here.
        WrongKey: one is there and refuses the key of this client.
        NodeDidNotStart: as `local`.
    """
    config = Config.from_file(None, strict=False)
    try:
        return opened.enter_context(Client(config, connect)), False
    except NoMesh:
        if connect or config.settings.mesh.connect or config.settings.mesh.join:
            raise
    return opened.enter_context(local(slots, queues=queues, config=config)), True
