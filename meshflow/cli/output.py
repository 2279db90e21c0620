"""How things look: JSON documents with stable keys, and plain tables.

JSON: every object has `kind`, `v` and `id`; `v` is raised by a breaking change only. Unknown is null, never left out.
Times are RFC 3339 in UTC with milliseconds, durations float seconds with the suffix `_s`, lists objects with `items`.
`meshflow help json` tells this to users.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from meshflow.core.records import RunRecord, Stop
from meshflow.core.requests import Pickled
from meshflow.ids import NodeId

if TYPE_CHECKING:
    from meshflow.mesh import NodeReport
    from meshflow.printed import Line
    from meshflow.queue.models import JobEvent
    from meshflow.run_view import DagView, RunView, TaskView

Document = dict[str, Any]

STATE_COLORS = {
    "running": "blue",
    "started": "blue",
    "completed": "green",
    "succeeded": "green",
    "alive": "green",
    "queued": "yellow",
    "stopped": "yellow",
    "cancelled": "yellow",
    "draining": "yellow",
    "suspect": "yellow",
    "lost": "red",
    "failed": "red",
    "aborted": "red",
    "silent": "red",
}


def document(kind: str, id_: str | None, **content: Any) -> Document:
    """A JSON object of a kind, in the form that all of them have."""
    return {"kind": kind, "v": 1, "id": id_, **content}


def listing(kind: str, items: Iterable[Document], **more: Any) -> Document:
    """A JSON object that lists others."""
    return document(kind, None, items=list(items), **more)


def print_json(content: Document, *, is_stream: bool = False) -> None:
    """Print one document: indented, or as a line of a stream."""
    click.echo(json.dumps(content, indent=None if is_stream else 2, default=str, ensure_ascii=False))


def instant(at: float | datetime | None) -> str | None:
    """RFC 3339 in UTC with milliseconds."""
    if at is None:
        return None
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_document(record: RunRecord, node_name: Callable[[NodeId], str] = str) -> Document:
    """A workflow run as its record has it."""
    ended, started = record.ended_at, record.started_at
    return document(
        "run",
        record.run,
        name=record.name,
        workflow=record.workflow,
        state=record.state.value,
        reason=record.reason or None,
        stop=None if record.stop is Stop.NONE else record.stop.value,
        stop_reason=record.stop_reason or None,
        queue=record.queue,
        arguments=plain(record.arguments),
        created_at=instant(record.created_at),
        started_at=instant(started),
        ended_at=instant(ended),
        duration_s=None if started is None or ended is None else round(ended - started, 6),
        owner=None if record.owner is None else {"node": node_name(record.owner), "epoch": record.epoch},
        counts={"total": record.total, "done": record.done, "reused": record.reused},
        retry_of=record.retry_of,
    )


def view_document(view: "RunView") -> Document:
    """A workflow run as its logs have it, with its dag runs and tasks."""
    return document(
        "run_detail",
        view.run,
        name=view.name,
        state=view.state.value,
        reason=view.reason or None,
        queue=view.queue,
        arguments=plain(view.arguments),
        created_at=instant(view.created_at),
        started_at=instant(view.started_at),
        ended_at=instant(view.ended_at),
        owner=view.owner or None,
        retry_of=view.retry_of,
        counts={
            "total": view.task_count,
            "done": sum(task.state.is_final for task in view.tasks),
            "reused": view.reused,
        },
        dags=[_dag_document(dag) for dag in view.dags.values()],
    )


def _dag_document(dag: "DagView") -> Document:
    return document(
        "dag",
        dag.run,
        name=dag.name,
        dag=dag.dag,
        state=dag.state.value,
        reason=dag.reason or None,
        queue=dag.queue,
        owner=dag.owner or None,
        started_at=instant(dag.started_at),
        ended_at=instant(dag.ended_at),
        tasks=[_task_document(dag, task) for task in dag.tasks],
    )


def _task_document(dag: "DagView", task: "TaskView") -> Document:
    return document(
        "task",
        f"{dag.run}/{task.name}",
        name=task.name,
        dag=dag.name,
        state=task.state.value,
        reason=task.reason or None,
        queue=task.queue,
        node=task.node or None,
        attempt=task.attempt,
        is_reused=task.is_reused,
        started_at=instant(task.started_at),
        ended_at=instant(task.ended_at),
        duration_s=elapsed(task),
    )


def event_document(event: "JobEvent") -> Document:
    """An event of a job."""
    return document(
        "event",
        event.uuid,
        event=event.word,
        type=event.type,
        name=event.name,
        run=event.workflow_id,
        dag=event.dag or None,
        attempt=event.attempt or None,
        queue=event.queue,
        node=event.hostname or None,
        at=instant(event.event_time),
        duration_s=None if event.duration is None else round(event.duration, 6),
        reason=event.reason or None,
        retry=event.retry,
    )


def line_document(run: str, line: "Line") -> Document:
    """A line that a task printed."""
    return document(
        "line",
        f"{run}/{line.dag}/{line.task}#{line.attempt}",
        run=run,
        dag=line.dag,
        task=line.task,
        attempt=line.attempt,
        stream=line.stream,
        text=line.text,
        at=instant(line.at),
    )


def node_document(node: "NodeReport") -> Document:
    """A node of the mesh; what it alone can tell is null if it did not answer."""
    member, status = node.member, node.status
    return document(
        "node",
        member.id,
        name=member.name or member.id,
        state=node.state,
        address=member.address,
        host=member.host,
        pid=member.pid,
        queues=list(member.queues),
        slots=member.slots,
        store=member.store,
        has_store=member.has_store,
        version=None if status is None else status.version,
        uptime_s=None if status is None else status.uptime_s,
        done_count=None if status is None else status.done_count,
        running=None
        if status is None
        else [
            {"run": attempt.run, "task": name, "attempt": attempt.attempt, "running_s": seconds}
            for attempt, name, seconds in status.running
        ],
        waiting=None if status is None else dict(status.waiting),
        owned=None if status is None else list(status.owned),
        process_pids=None if status is None else list(status.children),
        refused_append_count=None if status is None else status.refused_append_count,
        store_error=None if status is None else status.store_error or None,
    )


def plain(value: object) -> object:
    """A value of a run's arguments as JSON has it; bytes and pickles are told by their size."""
    match value:
        case dict():
            return {key: plain(below) for key, below in value.items()}
        case list():
            return [plain(below) for below in value]
        case bytes():
            return f"<{len(value)} bytes>"
        case Pickled(data):
            return f"<pickled, {len(data)} bytes>"
        case datetime():
            return instant(value.replace(tzinfo=UTC))
        case _:
            return value


def elapsed(task: "TaskView") -> float | None:
    """Seconds that an ended task ran; None if it did not run, or has not ended."""
    if task.started_at is None or task.ended_at is None:
        return None
    return round(max(0.0, task.ended_at - task.started_at), 6)


def seconds(value: float | None) -> str:
    """A duration for a table: milliseconds below ten seconds, then ever coarser; empty for none."""
    if value is None:
        return ""
    if value < 10:
        return f"{value:.3f} s"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def colored(word: str) -> str:
    """A state or event word in its colour; any other as it is."""
    return click.style(word, fg=STATE_COLORS[word]) if word in STATE_COLORS else word


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headers, columns as wide as their widest cell; words of states are coloured. Of a cell with
    several lines, such as a reason with its traceback, the first is shown."""
    columns = range(len(headers))
    lines = [[cell.partition("\n")[0] for cell in line] for line in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in columns]
    for line in lines:
        cells = [colored(line[column]) + " " * (widths[column] - len(line[column])) for column in columns]
        click.echo("  ".join(cells).rstrip())


def local_time(at: float | None, form: str) -> str:
    """A wall-clock instant in local time; empty for none."""
    return "" if at is None else datetime.fromtimestamp(at).strftime(form)
