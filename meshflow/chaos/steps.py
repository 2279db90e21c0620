"""What the tasks of the mix share: each notes its start and its end in a file, and is patient with the store.

The notes are what really happened, whatever the mesh says of it. A line is written with one call and synced before the
task goes on, so that it is there even if everything is killed the moment after. The clock is the monotonic one, which
all processes of a machine share.
"""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from meshflow.errors import StoreUnavailable
from meshflow.models import DataStoreDocument, MultiTaskData, TaskContext, TaskSignal

FOLDER_VARIABLE = "MESHFLOW_CHAOS_FOLDER"
"""Where the notes are."""

NOTES = "tasks.jsonl"

_SHORT_S, _LONG_S = (0.02, 0.4), (1.0, 4.0)
"""How long tasks take: most are short, so that much happens, and some are longer than it takes to give up a node."""

_LONG_SHARE = 0.08

_PATIENCE_S = 90.0
"""For the store, as a task of a user might have it: longer than any fault lasts."""

_PAUSE_S = 0.25

T = TypeVar("T")
Step = Callable[[MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], None]


def folder() -> Path:
    """The folder of the notes."""
    return Path(os.environ[FOLDER_VARIABLE])


def noted(step: Step) -> Step:
    """The same step, with a note before and one after it, and some time in between."""

    def run(data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext) -> None:
        execution = os.urandom(6).hex()
        _note("start", execution, context)
        time.sleep(random.uniform(*(_LONG_S if random.random() < _LONG_SHARE else _SHORT_S)))
        step(data, store, signal, context)
        _note("complete", execution, context)

    return run


def patiently(ask: Callable[[], T], away: tuple[type[Exception], ...] = (StoreUnavailable,)) -> T:
    """What `ask` gives, asked again while it raises one of the errors `away`: the store is not there.

    Raises:
        StoreUnavailable, or what else is in `away`: it is away for longer than any fault lasts.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except away:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def seed_of(store: DataStoreDocument) -> int:
    """The argument of the run."""
    return int(patiently(lambda: store.get("seed")))


def answer(store: DataStoreDocument, value: object) -> None:
    """Keep the answer of the run."""
    patiently(lambda: store.set("answer", str(value)))


def append(path: Path, line: str) -> None:
    """Add a line to a file that others add to, too; it is on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def starts(context: TaskContext) -> int:
    """How often this task has been started so far, this time included."""
    this = ("start", context.workflow_id, _task(context))
    return sum((note["kind"], note["run"], note["task"]) == this for note in read_notes(folder()))


def read_notes(where: Path) -> list[dict[str, Any]]:
    """All notes so far in that folder. One that is being written may be there in part, and is left out."""
    path = where / NOTES
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]


def _note(kind: str, execution: str, context: TaskContext) -> None:
    note = {
        "kind": kind,
        "at": time.monotonic(),
        "run": context.workflow_id,
        "task": _task(context),
        "execution": execution,
        "node": context.worker_hostname,
    }
    append(folder() / NOTES, json.dumps(note))


def _task(context: TaskContext) -> str:
    return f"{context.dag_name}/{context.task_name}"
