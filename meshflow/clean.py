"""Cleaning the store of a mesh from outside: through a node that runs, or else by opening the store.

Lightflow had nothing like it; its documents stayed for ever.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from meshflow.config import Config, store_url
from meshflow.core.cleaning import Cleaning, Rule
from meshflow.core.records import RunRecord
from meshflow.core.requests import Answer, Request
from meshflow.ids import NodeId
from meshflow.mesh import NoMesh
from meshflow.store.base import Store

Perform = Callable[[Sequence[Request]], list[Answer]]


@contextmanager
def reach_store(
    config: Config, environ: Mapping[str, str] = os.environ
) -> Iterator[tuple[Perform, Callable[[NodeId], str]]]:
    """What performs requests in the store of the mesh, and what names its nodes.

    Raises:
        NoMesh: no node answers, and this host has no store of its own, or a certain node was asked for.
        StoreUnavailable, StoreError: no node runs, and the store cannot be opened.
    """
    from meshflow.client import Client

    try:
        client = Client(config)
    except NoMesh:
        store = _own_store(config, environ)
        if store is None:
            raise
        try:
            yield store.perform, lambda node: node[:8]
        finally:
            store.close()
        return
    with client:
        yield client.mesh.perform, client.mesh.node_name


def _own_store(config: Config, environ: Mapping[str, str]) -> Store | None:
    """The store that a node started here would use; None if that is another host's, or was never made."""
    from meshflow.runtime.folder import state_path
    from meshflow.store.open import open_store

    settings = config.settings
    url = store_url(settings.store)
    if settings.mesh.connect or (settings.mesh.join and not url):
        return None
    embedded = state_path(settings.mesh.name, environ) / "store.sqlite"
    if not url and not embedded.exists():
        return None
    return open_store(url, embedded)


def clean(
    perform: Perform,
    rules: Sequence[Rule],
    wall_at: float,
    on_runs: Callable[[list[RunRecord]], None],
    *,
    is_dry: bool = False,
    clears_cache: bool = False,
) -> Cleaning:
    """Clean a store; `on_runs` hears which runs go, some at a time. Gives what was removed. `clears_cache`: with all
    results that were kept for tasks and calls with `cache`.

    It may be interrupted at any point: the next cleaning does the rest.
    """
    cleaning = Cleaning(rules, wall_at, is_dry=is_dry, clears_cache=clears_cache)
    while requests := cleaning.requests():
        on_runs(cleaning.answered(perform(requests)))
    return cleaning
