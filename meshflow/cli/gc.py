"""`meshflow gc`: make room in the store."""

import time

import click

from meshflow.core.records import RunRecord, State
from meshflow.durations import EXPECTED, seconds_of

from .base import command, hint, load_config, mesh_options, output_option
from .output import document, listing, print_json, run_document

_FINAL = [state.value for state in State if state.is_final and state not in (State.LOST, State.SKIPPED)]
"""What a workflow run may end as; the rest is for tasks."""

_BYTES = 1024.0


def _age(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    found = None if value is None else seconds_of(value)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is no length of time; expected {EXPECTED}", ctx, parameter)
    return found


def _states(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[State, ...]:
    words = [] if value is None else [word.strip() for word in value.split(",")]
    unknown = [word for word in words if word not in _FINAL]
    if unknown:
        raise click.BadParameter(f"no run ends as {unknown[0]!r}; expected {', '.join(_FINAL)}", ctx, parameter)
    return tuple(State(word) for word in words)


@command("gc")
@click.option("--older-than", callback=_age, metavar="AGE", help="Runs that ended longer ago: 30d, 12h, 45m.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the newest N of each workflow.")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--state", "states", callback=_states, metavar="A,B", help="Only runs that ended so: completed, failed, ..."
)
@click.option("--output-only", is_flag=True, help="Remove what the tasks printed; keep all else.")
@click.option("--cache", is_flag=True, help="Remove all results that were kept for tasks and calls with cache=True.")
@click.option("--dry-run", is_flag=True, help="Only list the runs.")
@output_option
@mesh_options
def gc(
    older_than: float | None,
    keep: int | None,
    workflow: str | None,
    states: tuple[State, ...],
    output_only: bool,
    cache: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Remove runs that have ended, for good: their logs, results, data and what their tasks printed.

    Which, is for --older-than and --keep to say, and both have to allow it; without them no run is removed. Open runs
    are never touched. What belongs to no run goes too, once it has been seen a day ago; and so do results for tasks
    and calls with cache=True that were not used for 15 to 30 days.

    Nodes need not run. It may be interrupted: the next one goes on.
    """
    from meshflow.clean import clean, reach_store
    from meshflow.core.cleaning import Rule

    if older_than is None and keep is None and (workflow is not None or states or output_only or dry_run):
        raise click.UsageError("say which runs: --older-than AGE, --keep N, or both")
    now = time.time()
    ended_before = None if older_than is None else now - older_than
    rule = Rule(ended_before, keep, workflow, states, output_only)
    is_told = dry_run or output == "json"
    going: list[RunRecord] = []
    with reach_store(load_config()) as (perform, node_name):
        hear = going.extend if is_told else lambda _: None
        cleaning = clean(perform, [rule], now, hear, is_dry=dry_run, clears_cache=cache)
    if output == "json":
        runs = [run_document(record, node_name) for record in going]
        counts = {"run_count": cleaning.run_count, "row_count": cleaning.row_count, "size_bytes": cleaning.size_bytes}
        flags = {"is_dry_run": dry_run, "is_output_only": output_only}
        print_json(document("cleaning", None, **flags, **counts, runs=listing("runs", runs)))
        return
    for record in going:
        click.echo(f"{record.run}  {record.name}  {record.state.value}")
    what = "what the tasks printed of " if output_only else ""
    runs_text = f"{what}{cleaning.run_count} run{'' if cleaning.run_count == 1 else 's'}"
    if dry_run:
        hint(f"would remove {runs_text}")
    else:
        click.echo(f"removed {runs_text}: {cleaning.row_count} rows, {_size(cleaning.size_bytes)}")


def _size(size_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < _BYTES:
            return f"{size_bytes:.{0 if unit == 'bytes' else 1}f} {unit}"
        size_bytes /= _BYTES
    return f"{size_bytes:.1f} GiB"
