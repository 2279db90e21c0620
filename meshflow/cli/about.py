"""`meshflow version` and `meshflow help`."""

import platform

import click

from meshflow.version import __version__

from .base import command, output_option
from .exit_codes import MEANINGS
from .output import document, print_json

JSON_HELP = """\
With -o json a command prints one document; what goes on (--follow) is one document per line.

  kind, v, id   are in every object; v is raised only by a change that breaks readers, added keys do not
  lists         are objects: {"kind": "runs", "v": 1, "id": null, "items": [...]}
  unknown       is null, never left out
  times         are RFC 3339 in UTC with milliseconds: 2026-11-20T23:59:01.120Z
  durations     are seconds, with the suffix _s
  errors        go to stderr: {"kind": "error", "v": 1, "id": null, "code": "not_found", "exit_code": 4,
                "message": "...", "hint": "..."}; test the code, not the message
"""

REFERENCE_HELP = """\
Where a command takes a RUN:

  65a1f0        the beginning of an id, as long as it fits one run only
  @last         the newest run
  simple        the newest run of that workflow (for stop and cancel: all its open runs)

Where a command takes a node: its name, or the beginning of its id.
"""


@command("version")
@output_option
def version(output: str) -> None:
    """The version of MeshFlow and of the Python it runs on."""
    if output == "json":
        print_json(document("version", __version__, version=__version__, python=platform.python_version()))
    else:
        click.echo(f"MeshFlow, version {__version__} (Python {platform.python_version()})")


@command("help")
@click.argument("topic", nargs=-1)
@click.pass_context
def help_(ctx: click.Context, topic: tuple[str, ...]) -> None:
    """Help on a command, or on exit-codes, json or refs."""
    match topic:
        case ("exit-codes",):
            for code, meaning in MEANINGS.items():
                click.echo(f"{int(code):>4}  {code.name.lower():12}  {meaning}")
        case ("json",):
            click.echo(JSON_HELP, nl=False)
        case ("refs",):
            click.echo(REFERENCE_HELP, nl=False)
        case _:
            _show_help(ctx, topic)


def _show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """The help of a command, found by the words that call it."""
    assert ctx.parent is not None
    found: click.Command = ctx.parent.command
    context = ctx.parent
    for word in words:
        inner = found.get_command(context, word) if isinstance(found, click.Group) else None
        if inner is None:
            ctx.fail(f"no help on {' '.join(words)!r}; topics are commands, exit-codes, json and refs")
        context = click.Context(inner, parent=context, info_name=word)
        found = inner
    click.echo(found.get_help(context))
