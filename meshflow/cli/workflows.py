"""`meshflow workflows`: what can be submitted from here."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .base import command, hint, load_config, mesh_options, output_option
from .output import Document, document, listing, print_json

if TYPE_CHECKING:
    from meshflow.models.workflow import Workflow


@command("workflows")
@click.argument("name", required=False)
@output_option
@mesh_options
def workflows(name: str | None, output: str) -> None:
    """The workflows that can be submitted by name from here; with NAME, one of them with its parameters."""
    from meshflow.config import workflow_folders
    from meshflow.models.script import find_script
    from meshflow.models.workflow import Workflow
    from meshflow.submitting import find_workflows

    config = load_config()
    if name is not None:
        path = find_script(name, workflow_folders(config.settings))
        one = Workflow()
        one.load(str(path), validate_arguments=False)
        if output == "json":
            print_json(_document(one, path))
        else:
            _show_one(one, path)
        return
    found, problems = find_workflows(config)
    if output == "json":
        items = [_document(workflow, path) for workflow, path in found]
        print_json(listing("workflows", items, warnings=[str(problem) for problem in problems]))
        return
    width = max((len(workflow.name) for workflow, _ in found), default=0)
    for workflow, _ in found:
        first_line = (workflow.docstring or "").partition("\n")[0]
        click.echo(f"{workflow.name:{width}}  {first_line}".rstrip())
    for problem in problems:
        hint(f"note: {problem}")


def _show_one(workflow: "Workflow", path: Path) -> None:
    click.echo(f"{workflow.name}  ({path})")
    if workflow.docstring:
        click.echo(f"\n{workflow.docstring}")
    if workflow.parameters:
        click.echo("\nparameters")
    for option in workflow.parameters:
        default = "required" if option.default is None else f"default {option.default!r}"
        click.echo(f"  {option.name}  {_type_name(option.type)}, {default}  {option.help or ''}".rstrip())


def _document(workflow: "Workflow", path: Path) -> Document:
    return document(
        "workflow",
        workflow.name,
        name=workflow.name,
        path=str(path),
        help=workflow.docstring,
        dags=list(workflow.dag_names),
        parameters=[
            {
                "name": option.name,
                "type": _type_name(option.type),
                "default": option.default,
                "required": option.default is None,
                "help": option.help,
            }
            for option in workflow.parameters
        ],
    )


def _type_name(kind: object) -> str:
    return getattr(kind, "__name__", str(kind))
