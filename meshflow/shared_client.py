"""The client that adapters for other libraries use, when the program gives them none: one for each mesh and process.

It is made when it is first asked for and closed when the program ends. Without a mesh on this host it starts one, which
ends with the program. What else such adapters have in common is here, too.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from meshflow.client import Client
from meshflow.local_mesh import open_client

_lock = threading.RLock()
_clients: dict[tuple[int, str | None], Client] = {}
"""By the process, since the threads of a client do not survive a fork, and by what was asked for."""

_CHILD = "meshflow.runtime.child"
"""What runs in task processes. Elsewhere it need not be imported to know that this is none."""


class Kind:
    """What is called for some kind of work: by its name the mesh learns how long that takes, and lets short calls of
    one kind travel together. Under one name for all, long calls would now and then wait behind each other."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self.__name__ = name

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


def is_task_process() -> bool:
    """Whether this is a process of a node that runs tasks and calls. Whoever waits there for other calls holds a slot
    that these may need: adapters do the work on the spot."""
    return bool(getattr(sys.modules.get(_CHILD), "is_task_process", False))


def shared_client(connect: str | None = None) -> Client:
    """The client for the node at `connect` (`host:port`). None: for the mesh that the configuration names, or that runs
    on this host; else for one that is started.

    Raises:
        NoMesh: no node answers at `connect`, or where the configuration says.
        WrongKey: one is there and refuses the key of this client.
        NodeDidNotStart: the mesh of this program could not be started.
    """
    key = (os.getpid(), connect)
    with _lock:
        if key not in _clients:
            opened = ExitStack()
            _clients[key], _ = open_client(opened, connect)
            atexit.register(_close, key[0], opened.close)
        return _clients[key]


def slot_count(client: Client, queue: str) -> int:
    """How many calls of this queue the mesh makes at a time; 0 as long as no node serves it.

    Raises:
        NoMesh: no node answers.
    """
    with _lock:  # Clients ask from one thread at a time.
        reports = client.nodes()
    return sum(each.member.slots for each in reports if each.state == "alive" and queue in each.member.queues)


def _close(process_id: int, close: Callable[[], object]) -> None:
    if process_id == os.getpid():  # A fork inherits what was registered, not what is to be closed.
        close()
