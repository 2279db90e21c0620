"""`meshflow key`: the key that makes a node or client a member of the mesh."""

import os

import click

from .base import SETTINGS, Command, hint, load_config, mesh_options, output_option
from .output import document, print_json


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
        print_json(document("key", str(found.path), path=str(found.path), is_shared=found.is_shared, key=text))
    elif secret:
        click.echo(found.key.text())
    else:
        click.echo(found.path)
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
