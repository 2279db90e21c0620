"""What every command that submits takes: a workflow and its arguments."""

import difflib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .base import hint

if TYPE_CHECKING:
    from meshflow.config import Config
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


def load_submission(
    config: "Config", workflow: str, pairs: Iterable[str], *, queue: str, keep_data: bool = False
) -> "Submission":
    """The workflow made ready to be sent. Tells of arguments that it does not declare: they are passed on, but may be
    typing mistakes.

    Raises:
        click.UsageError: an argument is not of the form `name=value`.
        WorkflowError, WorkflowArgumentError: see `submitting.load_workflow` and `pack`.
    """
    from meshflow.models.submission import pack
    from meshflow.submitting import load_workflow

    arguments = parse_pairs(pairs)
    loaded = load_workflow(config, workflow, arguments, queue=queue, keep_data=keep_data)
    declared = [option.name for option in loaded.parameters]
    for name in arguments:
        if name not in declared:
            close = difflib.get_close_matches(name, declared, 1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            hint(f"note: workflow {loaded.name!r} declares no parameter {name!r}{meant}")
    return pack(loaded)
