"""`meshflow ext`: call what an extension brings.

An extension declares an entry point in the group `meshflow.extensions`, a function that takes the arguments as a tuple;
or, as for Lightflow, is a package `meshflow_<name>` or `lightflow_<name>` whose `__main__` has a function `main(args)`.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec

import click

from meshflow.references import NotFound

from .base import SETTINGS, Command, load_config, mesh_options

_GROUP = "meshflow.extensions"


@click.command(
    "ext",
    cls=Command,
    context_settings={**SETTINGS, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("name", required=False)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@mesh_options
@click.pass_context
def ext(ctx: click.Context, name: str | None, args: tuple[str, ...]) -> None:
    """Call the extension NAME with ARGS; without NAME, list the extensions."""
    if name is None:
        for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name):
            click.echo(f"{point.name}  {point.value}")
        return
    load_config()  # for its `libraries`, where extensions may be
    result = find_extension(name)(args)
    if isinstance(result, int) and result:
        ctx.exit(result)


def find_extension(name: str) -> Callable[[tuple[str, ...]], object]:
    """The function of the extension `name`.

    Raises:
        NotFound: there is no such extension.
    """
    for point in entry_points(group=_GROUP, name=name):
        function: Callable[[tuple[str, ...]], object] = point.load()
        return function
    for prefix in ("meshflow", "lightflow"):
        package = f"{prefix}_{name}"
        if name.isidentifier() and find_spec(package) is not None and find_spec(f"{package}.__main__") is not None:
            main: Callable[[tuple[str, ...]], object] = import_module(f"{package}.__main__").main
            return main
    raise NotFound(
        f"there is no extension {name!r}: no entry point {_GROUP!r} of that name, and neither package meshflow_{name} "
        f"nor lightflow_{name} with a __main__ is installed"
    )
