"""What a user reads about a dag run in the `meta` section of the workflow document: who ran what, when, for how long.

Source: Lightflow's layout, `log.<dag run>.tasks.<task>` (spec/lightflow.md 2.12).
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from meshflow.core.dagrun import DagRun

_LAST_INSTANT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def instant(at: float) -> datetime:
    """Wall-clock seconds as the date that the document holds; what no calendar has becomes the nearest it has."""
    # Other hosts stamp what is shown here, and a clock that is wrong there must not end this node.
    return datetime.fromtimestamp(min(max(at, 0.0), _LAST_INSTANT), UTC)


def dag_provenance(
    fold: DagRun,
    queue: str,
    started_at: float,
    ended_at: float | None,
    running: Mapping[int, tuple[str, float]] | None = None,
) -> dict[str, object]:
    """The `log.<dag run>` subtree. `running` has `{task: (name of its node, start)}`; None: no task runs. Tasks that
    never ran are left out, as are ends that have not come."""
    tasks: dict[str, object] = {}
    for index, spec in enumerate(fold.tasks):
        end = fold.ends.get(index)
        if end is not None and end.started_at:
            place(
                tasks,
                spec.name,
                {
                    "start_time": instant(end.started_at),
                    "end_time": instant(end.ended_at),
                    "duration": end.ended_at - end.started_at,
                    "worker": end.node,
                    "queue": spec.queue,
                    "state": end.state.value,
                },
            )
    for index, (node, at) in (running or {}).items():
        spec = fold.tasks[index]
        place(tasks, spec.name, {"start_time": instant(at), "worker": node, "queue": spec.queue})
    log: dict[str, object] = {"start_time": instant(started_at), "queue": queue, "tasks": tasks}
    if ended_at is not None:
        log["end_time"] = instant(ended_at)
        log["duration"] = ended_at - started_at
    return log


def place(tree: dict[str, object], dotted: str, fields: dict[str, object]) -> None:
    """Put `fields` under a name in which dots make levels, as they do everywhere in the document. They are left out if
    a level is taken by a field of another name (a task `a.queue` beside a task `a`)."""
    for level in dotted.split("."):
        below = tree.setdefault(level, {})
        if not isinstance(below, dict):
            return
        tree = below
    tree.update(fields)
