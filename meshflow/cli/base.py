"""What every command shares: options, the way to the mesh, and how errors end it."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from meshflow.errors import MeshflowError

if TYPE_CHECKING:
    from meshflow.client import Client
    from meshflow.config import Config

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A command that turns errors of MeshFlow into one sentence on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except MeshflowError as problem:
            fail(ctx, problem)
        except KeyboardInterrupt:
            from .exit_codes import ExitCode

            ctx.exit(ExitCode.INTERRUPTED)


def fail(ctx: click.Context, problem: MeshflowError) -> NoReturn:
    """End the command with the sentence and the exit code of an error."""
    from .exit_codes import of_error

    code = of_error(problem)
    sentence = str(problem) or type(problem).__name__
    if ctx.params.get("output") == "json":
        document = {
            "kind": "error",
            "v": 1,
            "id": None,
            "code": code.name.lower(),
            "exit_code": int(code),
            "message": sentence,
            "hint": getattr(problem, "hint", None),
        }
        click.echo(json.dumps(document), err=True)
    else:
        click.echo(click.style("error: ", fg="red") + sentence, err=True)
        if hint := getattr(problem, "hint", None):
            click.echo(f"  {hint}", err=True)
    ctx.exit(code)


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Declare a command."""
    return click.command(name, cls=Command, context_settings=SETTINGS, **attributes)


def mesh_options(function: F) -> F:
    """The options of a command that talks to the mesh; the same are accepted before the command."""
    for names, metavar, text in (
        (("--connect",), "HOST:PORT", "Node to talk to, instead of one of this host."),
        (("-c", "--config"), "FILE", "Settings file to use."),
    ):
        function = click.option(*names, metavar=metavar, help=text, expose_value=False, callback=_remember)(function)
    return function


def output_option(function: F) -> F:
    """`-o json`, for commands that list things."""
    option = click.option(
        "-o",
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        help="Form of the output.",
        show_default=True,
    )
    return option(function)


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(dict)[parameter.name] = value


def load_config() -> "Config":
    """The configuration of this call, `--connect` included; tells which of Lightflow's sections it passes over.

    Raises:
        ConfigLoadError: something in the file or the variables is wrong.
    """
    from meshflow.config import Config

    options = _options()
    config = Config.from_file(options.get("config"), strict=False)
    if "connect" in options:
        mesh = replace(config.settings.mesh, connect=options["connect"])
        config.settings = replace(config.settings, mesh=mesh)
    if config.ignored_sections:
        sections = ", ".join(config.ignored_sections)
        hint(f"note: {config.path}: Lightflow's settings under {sections} have no effect here")
    return config


def open_client(config: "Config | None" = None) -> "Client":
    """A way into the mesh, to be used in a `with` block.

    Raises:
        NoMesh: no node answered.
    """
    from meshflow.client import Client

    return Client(config or load_config())


def _options() -> dict[str, str]:
    options: dict[str, str] = click.get_current_context().ensure_object(dict)
    return {key: value for key, value in options.items() if value is not None}


def hint(text: str) -> None:
    """Tell the person at the terminal something that is no data."""
    click.echo(text, err=True)


def is_terminal() -> bool:
    """Whether a person can be asked: both ends are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
