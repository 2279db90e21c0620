"""`meshflow chaos`: faults from a seed against a mesh of its own, and what came of them."""

import math
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meshflow.chaos.schedule import Fault, Victim, cells
from meshflow.chaos.schedule import rounds as drawn

from .base import command, hint, output_option
from .exit_codes import ExitCode
from .output import document, listing, print_json, table

if TYPE_CHECKING:
    from meshflow.chaos.checker import Problem

_FAULTS = [fault.value for fault in Fault]
_VICTIMS = [victim.value for victim in Victim]


@command("chaos")
@click.option("--seed", type=int, default=1, show_default=True, help="What to draw everything from.")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Faults to inject.  [default: each once]")
@click.option("--minutes", type=click.FloatRange(min=0), metavar="N", help="Begin no round after this time.")
@click.option("--fault", "faults", multiple=True, type=click.Choice(_FAULTS), help="Only this; may be repeated.")
@click.option("--victim", "victims", multiple=True, type=click.Choice(_VICTIMS), help="Only this; may be repeated.")
@click.option("--keep", metavar="FOLDER", help="Leave the history and the logs of all nodes there.")
@click.option("--here", is_flag=True, help="Without namespaces, even as root: processes on loopback.")
@output_option
@click.pass_context
def chaos(
    ctx: click.Context,
    seed: int,
    rounds: int | None,
    minutes: float | None,
    faults: tuple[str, ...],
    victims: tuple[str, ...],
    keep: str | None,
    here: bool,
    output: str,
) -> None:
    """Start a mesh of six nodes, break it again and again, and check that nothing was lost or done twice.

    As root each node gets a host of its own, made of namespaces; else all share the loopback interface, and faults of
    the network are left out. Your own mesh is not touched. Exit code 3: a promise was broken; 1: the game failed.
    """
    from meshflow.chaos import sandbox
    from meshflow.chaos.faults import impossible
    from meshflow.chaos.game import HISTORY

    reason = "asked for with --here" if here else sandbox.why_not()
    skipped = impossible(in_sandbox=not reason)
    chosen = cells([Fault(each) for each in faults], [Victim(each) for each in victims], list(skipped))
    if reason:
        hint(f"note: no namespaces ({reason}); left out:")
        for fault, why in skipped.items():
            hint(f"  {fault.value}: {why}")
    if not chosen:
        raise click.UsageError("no such fault can have such a victim here")
    folder = Path(keep).absolute() if keep else Path(tempfile.mkdtemp(prefix="meshflow-chaos-"))
    if keep and folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"the folder {keep!r} is not empty")
    folder.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        return _play(folder, seed, chosen, rounds, minutes, output, is_sandbox=not reason)

    code = sandbox.run_here(work) if reason else sandbox.run_inside(work)
    if code and not (folder / HISTORY).exists():
        hint(f"the game ended without a history, with exit code {code}")
    if keep or code not in (ExitCode.OK, ExitCode.INTERRUPTED):
        hint(f"history and logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    ctx.exit(code)


def _play(
    folder: Path,
    seed: int,
    chosen: list[tuple[Fault, Victim]],
    rounds: int | None,
    minutes: float | None,
    output: str,
    *,
    is_sandbox: bool,
) -> int:
    from meshflow.chaos.checker import check
    from meshflow.chaos.game import play
    from meshflow.chaos.history import BrokenOff
    from meshflow.chaos.report import HEADS, cells_of, rows

    until = math.inf if minutes is None else time.monotonic() + 60 * minutes
    count = rounds if rounds is not None else len(chosen) if minutes is None else None
    some = takewhile(lambda _: time.monotonic() <= until, islice(drawn(seed, chosen), count))
    history = play(folder, some, in_sandbox=is_sandbox, tell=hint)
    problems = check(history)
    found = rows(history, problems)
    broken_off = "".join(event.reason for event in history if isinstance(event, BrokenOff))
    if output == "json":
        items = [document("cell", None, **asdict(row)) for row in found]
        listed = [asdict(problem) | {"finding": problem.finding.value} for problem in problems]
        print_json(listing("chaos", items, seed=seed, is_sandbox=is_sandbox, problems=listed, broken_off=broken_off))
    else:
        table(HEADS, [cells_of(row) for row in found])
    for problem in problems:
        hint(_sentence(problem))
    if broken_off:
        hint(broken_off)
    return exit_code_of(problems, is_broken_off=bool(broken_off))


def exit_code_of(problems: "Sequence[Problem]", *, is_broken_off: bool) -> ExitCode:
    """What a game exits with. A game that failed, in whatever way, must not be taken for a mesh that did."""
    from meshflow.chaos.checker import Finding

    if any(problem.finding is not Finding.UNPROVED for problem in problems):
        return ExitCode.RUN_FAILED
    return ExitCode.FAILURE if problems or is_broken_off else ExitCode.OK


def _sentence(problem: "Problem") -> str:
    run = f", run {problem.run}" if problem.run else ""
    return f"{problem.finding.value} in round {problem.round}{run}: {problem.text}"
