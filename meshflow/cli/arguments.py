"""What every command that submits takes: a workflow and its arguments."""

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .base import hint

if TYPE_CHECKING:
    from meshflow.models.submission import Submission

F = TypeVar("F", bound=Callable[..., Any])


def workflow_arguments(function: F) -> F:
    """`WORKFLOW [NAME=VALUE]... [--arg NAME=VALUE]... [-q QUEUE]`."""
    for decorate in (
        click.argument("workflow"),
        click.argument("pairs", nargs=-1, metavar="[NAME=VALUE]..."),
        click.option("--arg", "-a", "more", multiple=True, metavar="NAME=VALUE", help="An argument of the workflow."),
        click.option("-q", "--queue", default="workflow", show_default=True, help="Queue of the workflow run."),
    )[::-1]:
        function = decorate(function)
    return function


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """`{name: value}` from `name=value` texts, split at the first `=`; of a name given twice the last value counts.

    Raises:
        click.UsageError: a text is not of that form.
    """
    arguments: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{pair!r} is not an argument of the workflow; expected NAME=VALUE")
        arguments[name] = value
    return arguments


def note_undeclared(given: Iterable[str], declared: Iterable[str]) -> None:
    """Tell of arguments that the workflow does not declare: they are passed on, but may be typing mistakes."""
    names = list(declared)
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint(f"note: the workflow declares no parameter {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
