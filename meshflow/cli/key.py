"""`meshflow key`: the key that makes a node or client a member of the mesh."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from .base import SETTINGS, Command, hint, load_config, mesh_options, output_option
from .output import document, print_json

if TYPE_CHECKING:
    from meshflow.key_change import KeyChange
    from meshflow.runtime.key_ring import KeyRing


@click.group("key", context_settings=SETTINGS)
def key() -> None:
    """The key of the mesh. Who has it may run code on every node."""


@key.command("show", cls=Command)
@click.option("--secret", is_flag=True, help="Print the key itself, to be copied to another host.")
@output_option
@mesh_options
def show(secret: bool, output: str) -> None:
    """Where the key of the mesh is, and whether it may be used between hosts."""
    from meshflow.runtime.folder import find_key, runtime_folder, state_path

    mesh = load_config().settings.mesh
    found = find_key(runtime_folder(mesh.name, os.environ), state_path(mesh.name, os.environ), mesh.key_file)
    if output == "json":
        text = found.key.text() if secret else None
        prints = [each.fingerprint for each in found.keys]
        print_json(
            document(
                "key", str(found.path), path=str(found.path), is_shared=found.is_shared, key=text, fingerprints=prints
            )
        )
    elif secret:
        click.echo(found.key.text())
    else:
        click.echo(found.path)
        hint(f"fingerprint: {found.key.fingerprint}")
        for other in found.keys[1:]:
            hint(f"also held, while the key is being changed: {other.fingerprint}")
        if not found.is_shared:
            hint("this key is for this host only; to share it with other hosts: meshflow key make")


@key.command("make", cls=Command)
@mesh_options
def make() -> None:
    """Keep the key of this host's mesh for good, so that other hosts can be given it. Nodes that run go on."""
    from meshflow.runtime.folder import runtime_folder, share_key, state_folder

    mesh = load_config().settings.mesh
    found = share_key(runtime_folder(mesh.name, os.environ), state_folder(mesh.name, os.environ))
    click.echo(found.path)
    hint("copy this file to the other hosts (it must stay private, mode 0600), and name it there in mesh.key_file,")
    hint("MESHFLOW_KEY_FILE or --key-file")


@key.command("rotate", cls=Command)
@click.option(
    "--keep-old",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Let the old key in for so long, before the new one takes its place. For hosts that are down.",
)
@mesh_options
def rotate(keep_old: float) -> None:
    """Give all nodes a new key, and take the old one away. Runs go on.

    Prints the fingerprint of the new key. With --keep-old, both keys are held for that time, and the old one is in use;
    to end it sooner, or if this command was interrupted: `meshflow key revoke` with the fingerprint of the old key.
    """
    with _changing() as (change, ring):
        old = ring.keys[0]
        new, members = change.add()
        hint(f"the new key {new.fingerprint} is at {len(members)} nodes: {', '.join(each.name for each in members)}")
        if keep_old:
            hint(f"the old key is let in for {keep_old:g} s; to end this sooner: meshflow key revoke {old.fingerprint}")
            hint(f"hosts that are down now need this file before they come back: {ring.found.path}")
            time.sleep(keep_old)
        _revoke(change, old.fingerprint)
    click.echo(new.fingerprint)


@key.command("revoke", cls=Command)
@click.argument("fingerprint")
@mesh_options
def revoke(fingerprint: str) -> None:
    """Take a key away from all nodes while they hold two, and close what was opened with it. Runs go on.

    FINGERPRINT is that of the old key to complete a rotation, that of the new one to undo it. `meshflow key show` has
    both. Prints the fingerprint of the key that stays.
    """
    with _changing() as (change, ring):
        _revoke(change, fingerprint)
    click.echo(ring.keys[0].fingerprint)


def _revoke(change: "KeyChange", fingerprint: str) -> None:
    members = change.revoke(fingerprint)
    hint(f"the key {fingerprint} is revoked at {len(members)} nodes: {', '.join(each.name for each in members)}")
    if absent := change.absent():
        names = ", ".join(sorted({each.name for each in absent}))
        hint(f"these nodes are down, and need the new key file if they are to come back: {names}")


@contextmanager
def _changing() -> "Iterator[tuple[KeyChange, KeyRing]]":
    """What changes the keys of the mesh, and those of this host."""
    from meshflow.connect import open_mesh
    from meshflow.key_change import KeyChange
    from meshflow.runtime.folder import runtime_folder, state_path
    from meshflow.runtime.key_ring import KeyRing

    config = load_config()
    own = config.settings.mesh
    ring = KeyRing(runtime_folder(own.name, os.environ), state_path(own.name, os.environ), own.key_file)
    mesh = open_mesh(config.settings)
    try:
        yield KeyChange(mesh, ring), ring
    finally:
        mesh.close()
