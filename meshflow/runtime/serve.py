"""A node as a process: put together, run in the foreground, and ended well.

The first SIGTERM or SIGINT drains: running tasks end, the rest goes elsewhere. The second stops at once.
"""

import asyncio
import gc
import logging
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from meshflow import wire
from meshflow.core.member import Member
from meshflow.core.membership_settings import PRESETS
from meshflow.core.node import Node, NodeSettings
from meshflow.core.requests import ListNodes, RegisterNode, Request
from meshflow.core.retention import RetentionSettings
from meshflow.core.worker_settings import WorkerSettings
from meshflow.errors import MeshflowError
from meshflow.ids import NodeId, new_node_id
from meshflow.runtime.address import parse_address, resolve
from meshflow.runtime.event_log import log_problem
from meshflow.runtime.fleet import ExecutorSettings
from meshflow.runtime.folder import RuntimeFolder, runtime_folder, state_folder, state_path
from meshflow.runtime.key_ring import KeyRing
from meshflow.runtime.loop import NodeLoop
from meshflow.runtime.spool import FileSpool
from meshflow.runtime.storage import Storage
from meshflow.runtime.transport.calls import StoreCalls
from meshflow.runtime.transport.node import Transport
from meshflow.runtime.transport.settings import TransportSettings
from meshflow.store.base import Store
from meshflow.store.open import open_store, store_name
from meshflow.store.remote import RemoteStore
from meshflow.version import __version__

_LOG = logging.getLogger("meshflow.node")

_CLOSE_GRACE_S = 3.0
"""For running tasks to clean up when a node stops at once, and for its last words to reach store and peers."""

_SEEN_WITHIN_S = 60.0
"""Nodes in the store's list are tried as seeds if they were seen this lately."""

_REGISTER_S = 60.0
"""Pause between two looks at whether this node's entry in the runtime folder is still there."""

_GC_THRESHOLDS = 20_000, 20, 100
"""A run of 100,000 tasks is a million objects, of which none is ever garbage of the kind that a collector finds. With
Python's own thresholds the owner would spend a fifth of its time on looking."""

_PRIVATE = 0o077
"""The file mode mask of a node."""

_FORCED = 130
"""Exit code after a second signal: the shell's word for an interrupted process."""


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
    """Host that others are told; None: the one it is bound to."""
    join: tuple[str, ...] = ()
    key_file: str | None = None
    """None: the key of this host's mesh."""
    store_url: str = ""
    mesh: str = "default"
    sys_path: tuple[str, ...] = ()
    """Folders with modules that tasks import."""
    transport: TransportSettings = field(default_factory=TransportSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    preset: str = "local"
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    on_ready: Callable[[Member], None] | None = None
    """Called when the node listens and has begun to join; None: nobody wants to know."""
    quiet: bool = False
    """Whether to say nothing about draining on stderr."""


def serve(options: NodeOptions) -> int:
    """Run a node until it is told to stop; gives the exit code of the process.

    Raises:
        UsageError: the node cannot be started like this; the text says what to do. Nothing was left behind.
        StoreError: the store cannot be used.
    """
    sys.path += [path for path in options.sys_path if path not in sys.path]
    _raise_descriptor_limit()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    # What a node writes is for its user alone. What tasks write is for the user to say.
    umask = os.umask(_PRIVATE)
    try:
        return asyncio.run(_serve(replace(options, executor=replace(options.executor, umask=umask))))
    finally:
        os.umask(umask)


def _raise_descriptor_limit() -> None:
    """A peer costs about five descriptors, and the usual soft limit is 1024; the hard one is there to be used."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _affordable(settings: TransportSettings) -> TransportSettings:
    """No more connections than leave half of the descriptors for tasks, stores and the node's own connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings
    return replace(settings, max_connections=min(settings.max_connections, max(1, soft // 2)))


async def _serve(options: NodeOptions) -> int:
    loop = asyncio.get_running_loop()
    folder = runtime_folder(options.mesh, os.environ)
    ring = KeyRing(folder, state_path(options.mesh, os.environ), options.key_file or "")
    bind = parse_address(options.bind or "127.0.0.1", 0)
    ring.found.check_bind(resolve(bind))
    is_borrowing = bool(options.join) and not options.store_url
    stored = () if is_borrowing else _stored_addresses(options)
    local = [entry.address for entry in folder.peers()]
    # Resolved once, here: ZeroMQ would do it in the thread that serves every connection.
    seeds = [str(resolve(parse_address(seed))) for seed in (*options.join, *local, *stored)]
    me = new_node_id(random.SystemRandom())
    key, *others = ring.keys
    limits = _affordable(options.transport)
    transport = Transport(me, key, str(bind), limits, advertise=options.advertise or "", toward=seeds, others=others)
    member = _member(options, me, transport.address, has_store=not is_borrowing)
    settings = NodeSettings(PRESETS[options.preset], WorkerSettings(slots=member.slots), retention=options.retention)
    spool = FileSpool(lambda: state_folder(options.mesh, os.environ))
    node = Node(member, settings, wire.StoredDefinitions(), random.SystemRandom(), loop.time(), __version__, spool)

    def open_() -> Store:
        if is_borrowing:
            return RemoteStore(StoreCalls(lambda: ring.keys, limits), lambda: _holders(node, options.join))
        return _open_own(options)

    shell = NodeLoop(node, transport, lambda on_state: Storage(open_, loop, on_state), options.executor, loop, ring)
    beside: list[asyncio.Task[None]] = []
    try:
        shell.start([seed for seed in dict.fromkeys(seeds) if seed != member.address], member.slots)
        beside = [loop.create_task(_stay_registered(folder, member)), loop.create_task(shell.keys.watch())]
        await asyncio.sleep(0)
        if options.on_ready is not None:
            options.on_ready(member)
        return await _until_stopped(shell, loop, options.quiet)
    finally:
        for task in beside:
            task.cancel()
        folder.unregister(me)
        await shell.close(_CLOSE_GRACE_S)
        spool.close()


def _embedded(options: NodeOptions) -> Path:
    return state_path(options.mesh, os.environ) / "store.sqlite"


def _open_own(options: NodeOptions) -> Store:
    if options.store_url in ("", "embedded"):
        state_folder(options.mesh, os.environ)
    return open_store(options.store_url, _embedded(options))


def _stored_addresses(options: NodeOptions) -> list[str]:
    """Open the store once, so that one that cannot be used is said now; and see whom it knows."""
    store = _open_own(options)
    try:
        ask: list[Request] = [ListNodes(time.time() - _SEEN_WITHIN_S)]
        (nodes,) = store.perform(ask)
        listed = nodes if isinstance(nodes, tuple) else ()
        return [node.address for node in listed if isinstance(node, RegisterNode) and node.address]
    finally:
        store.close()


def _member(options: NodeOptions, me: NodeId, address: str, *, has_store: bool) -> Member:
    host = socket.gethostname()
    return Member(
        id=me,
        address=address,
        name=options.name or f"{host}-{os.getpid()}",
        host=host,
        pid=os.getpid(),
        queues=options.queues,
        slots=options.slots or len(os.sched_getaffinity(0)),
        store=store_name(options.store_url, _embedded(options)) if has_store else "",
        has_store=has_store,
    )


def _holders(node: Node, join: Sequence[str]) -> list[str]:
    """Where the store of the mesh may be reached: members that have it, or else whom we joined through. Not a member
    that borrows it, as we do: while the holder is away, those would ask each other in circles."""
    holders = [member.address for member in node.membership.alive() if member.has_store]
    borrowers = [member.address for member in node.membership.members.values() if not member.has_store]
    return holders or [seed for seed in map(str, map(parse_address, join)) if seed not in borrowers]


async def _stay_registered(folder: RuntimeFolder, member: Member) -> None:
    started_at = time.time()
    while True:
        try:
            folder.register(member.id, member.name, member.address, started_at)
        except MeshflowError as problem:  # A full disk passes; until then only new nodes and clients look in vain.
            log_problem(f"nobody new finds this node through the runtime folder: {problem}")
        await asyncio.sleep(_REGISTER_S)


async def _until_stopped(shell: NodeLoop, loop: asyncio.AbstractEventLoop, quiet: bool) -> int:
    forced = asyncio.Event()

    def stop() -> None:
        if shell.node.is_draining:
            forced.set()
            return
        if not quiet:
            print("draining: running tasks end, the rest goes elsewhere; again to stop at once", file=sys.stderr)
        shell.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    waits = [loop.create_task(event.wait()) for event in (shell.stopped, forced)]
    _, unfinished = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in unfinished:
        wait.cancel()
        with suppress(asyncio.CancelledError):
            await wait
    return _FORCED if forced.is_set() and not shell.stopped.is_set() else 0
