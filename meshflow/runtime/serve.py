"""A node as a process: put together, run in the foreground, and ended well.

The first SIGTERM or SIGINT drains: running tasks end, the rest goes elsewhere. The second stops at once.
"""

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from meshflow import wire
from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.member import Member
from meshflow.core.membership_settings import MembershipSettings
from meshflow.core.node import Node, NodeSettings
from meshflow.core.requests import ListNodes, RegisterNode
from meshflow.core.worker import WorkerSettings
from meshflow.errors import StoreError, UsageError
from meshflow.ids import new_node_id
from meshflow.runtime.executor import ExecutorSettings
from meshflow.runtime.folder import NodeEntry, RuntimeFolder, state_folder
from meshflow.runtime.keys import MeshKey, read_key
from meshflow.runtime.loop import NodeLoop
from meshflow.runtime.storage import Storage
from meshflow.runtime.transport.calls import StoreCalls
from meshflow.runtime.transport.node import Transport
from meshflow.store.base import Store
from meshflow.store.open import open_store, store_name
from meshflow.store.remote import RemoteStore
from meshflow.version import __version__

_LOG = logging.getLogger("meshflow.node")

_CLOSE_GRACE_S = 3.0
"""For running tasks to clean up when a node stops at once, and for its last words to reach store and peers."""

_SEEN_WITHIN_S = 60.0
"""Nodes in the store's list are tried as seeds if they were seen this lately."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is to be. Empty fields mean what `meshflow node` without the option means."""

    queues: tuple[str, ...] = ("workflow", "dag", "task")
    slots: int = 0
    """Tasks at a time; 0: one per processor core."""
    name: str = ""
    bind: str = ""
    """`host` or `host:port`; empty: loopback, which no other host can reach."""
    advertise: str | None = None
    join: tuple[str, ...] = ()
    key_file: str | None = None
    store_url: str = ""
    mesh: str = "default"
    sys_path: tuple[str, ...] = ()
    """Folders with modules that tasks import."""
    preset: str = "local"
    on_ready: Callable[[Member], None] | None = None
    """Called when the node listens and has begun to join."""
    quiet: bool = False


class _Definitions:
    """Reads what `submit` stored."""

    def workflow(self, data: bytes) -> WorkflowSpec:
        return wire.decode(WorkflowSpec, data)

    def dag(self, data: bytes) -> DagDefinition:
        return wire.decode(DagDefinition, data)


def serve(options: NodeOptions) -> int:
    """Run a node until it is told to stop; gives the exit code of the process.

    Raises:
        UsageError: the node cannot be started like this; the text says what to do. Nothing was left behind.
        StoreError: the store cannot be used.
    """
    return asyncio.run(_serve(options))


async def _serve(options: NodeOptions) -> int:
    sys.path[:0] = [path for path in options.sys_path if path not in sys.path]
    folder = RuntimeFolder(options.mesh)
    key = _key(options, folder)
    me = new_node_id(random.SystemRandom())
    seeds = tuple(dict.fromkeys([*options.join, *(peer.address for peer in folder.peers())]))
    is_borrowing = bool(options.join) and not options.store_url
    if not is_borrowing:
        _check_store(options.store_url)
    transport = Transport(
        me,
        key,
        f"tcp://{options.bind or '127.0.0.1'}" + ("" if ":" in options.bind else ":0"),
        advertise=options.advertise or "",
        toward=seeds,
    )
    member = _member(options, me, transport.address, has_store=not is_borrowing)
    rng = random.SystemRandom()
    settings = NodeSettings(_preset(options.preset), WorkerSettings(slots=member.slots))
    loop = asyncio.get_running_loop()
    node = Node(member, settings, _Definitions(), rng, loop.time(), __version__)

    def open_own() -> Store:
        if not is_borrowing:
            return open_store(options.store_url or _default_store())
        return RemoteStore(StoreCalls(key), lambda: _holders(node, options.join))

    shell = NodeLoop(node, transport, lambda on_state: Storage(open_own, loop, on_state), ExecutorSettings(), loop)
    entry = NodeEntry(me, member.name, member.address, os.getpid(), time.time())
    try:
        if not is_borrowing:
            seeds = tuple(dict.fromkeys([*seeds, *await _stored_seeds(shell, loop, options.store_url)]))
        shell.start([seed for seed in seeds if seed != member.address], member.slots)
        folder.register(entry)
        if options.on_ready is not None:
            options.on_ready(member)
        return await _until_stopped(shell, loop, options.quiet)
    finally:
        folder.unregister(me)
        await shell.close(_CLOSE_GRACE_S)


def _key(options: NodeOptions, folder: RuntimeFolder) -> MeshKey:
    return read_key(options.key_file) if options.key_file else folder.key()


def _member(options: NodeOptions, me: str, address: str, *, has_store: bool) -> Member:
    host = socket.gethostname()
    return Member(
        id=new_node_id(random.Random()) if not me else me,  # type: ignore[arg-type]
        address=address,
        name=options.name or f"{host}-{me[:4]}",
        host=host,
        pid=os.getpid(),
        queues=options.queues,
        slots=options.slots or os.cpu_count() or 1,
        store=store_name(options.store_url) if options.store_url else f"sqlite on {host}" if has_store else "",
        has_store=has_store,
    )
