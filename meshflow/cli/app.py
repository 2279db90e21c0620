"""The table of commands, and how they are found, run and reported on.

A command lives in a file of its own, named in `COMMANDS`, and is imported when it is called. Help shows the table's
texts, so showing it imports nothing.
"""

import difflib
import os
from importlib import import_module
from typing import NamedTuple

import click

from meshflow.version import __version__

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Entry(NamedTuple):
    """A command: where it is (`module:attribute` below `meshflow.cli`), its line in the help, and its section there."""

    place: str
    help: str
    section: str
    """Empty: not shown (Lightflow's spelling)."""


START, WORK, SEE, SETUP = "Start here", "Work", "See", "Set up"

COMMANDS = {
    "run": Entry("run:run", "Run a workflow now, on a mesh that lives as long as the run.", START),
    "demo": Entry("demo:demo", "Start three nodes, run a workflow on them, and stop them.", START),
    "node": Entry("node:node", "Run a node of the mesh in this terminal.", START),
    "submit": Entry("submit:submit", "Hand a workflow to the mesh.", WORK),
    "retry": Entry("retry:retry", "Run again what did not complete of a run, as a new run.", WORK),
    "stop": Entry("stop:stop", "End runs gently (running tasks end by themselves), or drain nodes.", WORK),
    "cancel": Entry("stop:cancel", "End runs at once, running tasks included.", WORK),
    "gc": Entry("gc:gc", "Remove old runs, what their tasks printed, and what belongs to no run.", WORK),
    "status": Entry("status:status", "The mesh at a glance, or one run in detail.", SEE),
    "nodes": Entry("nodes:nodes", "The nodes of the mesh and what they do.", SEE),
    "logs": Entry("logs:logs", "What the tasks of a run printed.", SEE),
    "events": Entry("events:events", "What happened to jobs, and happens.", SEE),
    "workflows": Entry("workflows:workflows", "The workflows that can be submitted from here.", SEE),
    "config": Entry("configuration:config", "Show settings; write a settings file or the examples.", SETUP),
    "key": Entry("key:key", "The key of the mesh: show it, make one to share with other hosts, change it.", SETUP),
    "version": Entry("about:version", "Show the version.", SETUP),
    "help": Entry("about:help_", "Help on a command, or on exit-codes, json or refs.", SETUP),
    "chaos": Entry("chaos:chaos", "Break a mesh of its own again and again, and check what became of the runs.", SETUP),
    "ext": Entry("ext:ext", "Call a command of an extension.", SETUP),
    "workflow": Entry("lightflow:workflow", "Lightflow's spelling of workflows, submit, stop and status.", ""),
    "worker": Entry("lightflow:worker", "Lightflow's spelling of node, stop and nodes.", ""),
    "monitor": Entry("lightflow:monitor", "Lightflow's spelling of events --follow.", ""),
}


class Commands(click.Group):
    """The group of all commands, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names that help shows."""
        return [name for name, entry in COMMANDS.items() if entry.section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name: one of ours, or one that an extension brings (entry point `meshflow.commands`)."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return _plugin(cmd_name)
        module, _, attribute = entry.place.partition(":")
        command: click.Command = getattr(import_module(f"meshflow.cli.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which name was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            close = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            hint = f"did you mean {close[0]!r}?" if close else "list them: meshflow --help"
            ctx.fail(f"no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, from the table alone."""
        for section in (START, WORK, SEE, SETUP):
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items() if entry.section == section])


def _plugin(name: str) -> click.Command | None:
    from importlib.metadata import entry_points

    for point in entry_points(group="meshflow.commands", name=name):
        command = point.load()
        if isinstance(command, click.Command):
            return command
    return None


@click.group(cls=Commands, context_settings=CONTEXT_SETTINGS)
@click.option("-c", "--config", metavar="FILE", help="Settings file to use.")
@click.option("--connect", metavar="HOST:PORT", help="Node to talk to, instead of one of this host.")
@click.option("-n", "--no-color", is_flag=True, help="No colours.")
@click.version_option(__version__, "-V", "--version", message="MeshFlow, version %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: str | None, connect: str | None, no_color: bool) -> None:
    """Workflows on any number of machines, without a server.

    \b
      meshflow run simple          run an example, nothing else needed
      meshflow node                start a node; again in other terminals
      meshflow submit simple -f    run it there, and watch
    """
    ctx.ensure_object(dict).update(config=config, connect=connect)
    if no_color or os.environ.get("NO_COLOR"):
        ctx.color = False
