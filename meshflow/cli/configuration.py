"""`meshflow config`: show settings, write a settings file or the examples."""

import json
import shutil
from pathlib import Path

import click

from .base import SETTINGS, Command, is_terminal, load_config, mesh_options, output_option
from .output import document, print_json, table


@click.group("config", context_settings=SETTINGS)
def config() -> None:
    """Show settings; write a settings file or the examples."""


@config.command("show", cls=Command)
@output_option
@mesh_options
def show(output: str) -> None:
    """The settings in force here, and where each comes from. Secrets are not shown."""
    loaded = load_config()
    shown = loaded.shown()
    if output == "json":
        path = None if loaded.path is None else str(loaded.path)
        print_json(document("config", path, file=path, settings=shown, origins=loaded.origins))
        return
    rows = []
    for section, value in shown.items():
        below = value if isinstance(value, dict) and value else {"": value}
        for key, leaf in below.items():
            dotted = f"{section}.{key}" if key else section
            rows.append([dotted, json.dumps(leaf, default=str), loaded.origins.get(dotted, "default")])
    table(["KEY", "VALUE", "FROM"], rows)


@config.command("list", cls=Command)
@mesh_options
def list_() -> None:
    """The settings as plain JSON (Lightflow's form). Secrets are not shown."""
    click.echo(json.dumps(load_config().shown(), indent=4, default=str))


@config.command("default", cls=Command)
@click.argument("dest", required=False, type=click.Path(path_type=Path))
@click.option("-y", "--yes", is_flag=True, help="Overwrite without asking.")
def default(dest: Path | None, yes: bool) -> None:
    """Print the default settings, or write them to DEST: a file, or a folder (as meshflow.yml)."""
    from meshflow.config import DEFAULT_TEXT, MESHFLOW_CONFIG_NAME

    if dest is None:
        click.echo(DEFAULT_TEXT, nl=False)
        return
    path = dest / MESHFLOW_CONFIG_NAME if dest.is_dir() else dest
    if not path.parent.is_dir():
        raise click.UsageError(f"{str(path.parent)!r} is not a folder")
    _confirm_overwriting(path, yes=yes)
    path.write_text(DEFAULT_TEXT, encoding="utf-8")
    click.echo(f"Configuration written to {path}")


@config.command("examples", cls=Command)
@click.argument("dest", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-u", "--user-dir", is_flag=True, help="Copy into DEST itself, not into DEST/examples.")
@click.option("-y", "--yes", is_flag=True, help="Overwrite without asking.")
def examples(dest: Path, user_dir: bool, yes: bool) -> None:
    """Copy the example workflows to DEST/examples, to read and change them."""
    from meshflow.config import EXAMPLES

    target = dest if user_dir else dest / "examples"
    _confirm_overwriting(target, yes=yes)
    target.mkdir(exist_ok=True)
    for script in sorted(EXAMPLES.glob("*.py")):
        if script.name != "__init__.py":
            shutil.copy(script, target / script.name)
    click.echo(f"Copied examples to {target}")


def _confirm_overwriting(path: Path, *, yes: bool) -> None:
    if not path.exists() or yes:
        return
    if not is_terminal():
        raise click.UsageError(f"{str(path)!r} exists; give --yes to overwrite what is there")
    kind = "Directory already exists. Overwrite existing files?" if path.is_dir() else f"{path} exists. Overwrite it?"
    click.confirm(kind, default=True, abort=True, err=True)
