"""A mesh on this machine for as long as a block of code runs."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from meshflow.client import Client
from meshflow.config import Config
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
