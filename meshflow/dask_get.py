"""Dask collections on the mesh.

    from meshflow.dask_get import get

    total = array.sum().compute(scheduler=get)
    with dask.config.set(scheduler=get):
        ...

Dask walks its graph here, in the program; the tasks of the graph are calls on the mesh. What they hand to each other
comes back to the program and goes out again with the calls that need it. So each of these values has to fit into a
message, the mesh should be near, and memory here must be enough for those that are needed at a time.

Source: `dask.local.get_async`, on which dask's own schedulers of threads and processes are built.
"""

import os
import socket
from collections.abc import Callable
from typing import Any

import dask.config
from dask._task_spec import convert_legacy_graph, fuse_linear_task_spec
from dask.core import flatten
from dask.local import get_async, get_sync
from dask.optimization import cull
from dask.utils import ensure_dict, key_split

from meshflow.call_future import CallFuture
from meshflow.client import Client
from meshflow.shared_client import Kind, is_task_process, shared_client, slot_count

_OUT_PER_SLOT = 4
"""Tasks that are out at a time, for each slot. More hides more of what a journey takes, and lets short ones travel
together; but dask begins with what frees memory, so the more are out, the more data there is at a time."""


def get(
    dsk: Any,
    keys: Any,
    *,
    client: Client | None = None,
    connect: str | None = None,
    queue: str = "task",
    num_workers: int | None = None,
    **kwargs: Any,
) -> Any:
    """The values of `keys`, nested as these are, computed on a mesh: a scheduler for dask.

    `client` makes the calls, on nodes that serve `queue`; None: the one that this program has for `connect`, see
    `shared_client`. `num_workers` is how many tasks are out at a time; None: as dask's configuration says, else some
    for each slot. What else dask's schedulers take is passed on; `rerun_exceptions_locally` has no effect. Inside a
    task process the graph is computed on the spot.

    Raises:
        Whatever the first task that fails has raised; the others are ended.
        PickleFailed: a task, or what it needs or returns, cannot be pickled.
        CallFailed: what a task needs or returns does not fit into a message, or its process died.
        NoMesh, NodeDidNotStart: there is no mesh.
    """
    graph = _optimized(dsk, keys)
    if is_task_process():
        return get_sync(graph, keys, **kwargs)
    if client is None:
        client = shared_client(connect)
    count = num_workers or dask.config.get("num_workers", None) or _OUT_PER_SLOT * max(1, slot_count(client, queue))
    calling = client.options(queue=queue)
    out: set[CallFuture[Any]] = set()

    def submit(function: Callable[..., Any], tasks: list[tuple[Any, ...]]) -> CallFuture[Any]:
        future = calling.submit(Kind(function, key_split(tasks[0][0])), tasks)
        out.add(future)
        future.add_done_callback(out.discard)  # It holds its result.
        return future

    try:
        return get_async(submit, count, graph, keys, get_id=_place, **kwargs)
    finally:
        client.cancel(list(out))


def _optimized(dsk: Any, keys: Any) -> dict[Any, Any]:
    """What is needed of the graph, with tasks that only wait for one another made one."""
    graph = ensure_dict(dsk.__dask_graph__() if hasattr(dsk, "__dask_graph__") else dsk)
    needed, _ = cull(convert_legacy_graph(graph), keys)
    # A value that one task hands to one other need not travel. Arrays and bags see to that, delayed calls do not.
    fused: dict[Any, Any] = fuse_linear_task_spec(needed, set(flatten([keys])))
    return fused


def _place() -> str:
    """Where a task ran, for dask's diagnostics."""
    return f"{socket.gethostname()}/{os.getpid()}"
