"""Gathers what a history needs and nobody wrote down at once: the logs of runs, how runs are seen, the tasks' notes."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

from meshflow import wire
from meshflow.chaos.history import (
    Claimed,
    Completed,
    Event,
    LoggedEnd,
    LoggedRunEnd,
    LoggedStart,
    Observed,
    Started,
)
from meshflow.chaos.steps import NOTES
from meshflow.core import records
from meshflow.core.graph import DagDefinition
from meshflow.core.requests import GetBlob, GetField, ListRuns, LoadRun, ReadLog
from meshflow.ids import RunId, dag_run_id
from meshflow.store.base import Store


def logs_of(store: Store, run: RunId) -> Iterator[Event]:
    """What the log of a workflow run, and those of its dag runs, say."""
    batches = _batches(store, run)
    yield from _plain(run, batches)
    for batch in batches:
        for entry in batch.entries:
            if isinstance(entry, records.DagStarted):
                yield from _dag(store, run, entry)


def _batches(store: Store, run: RunId) -> list[records.Batch]:
    found: list[records.Batch] = []
    while True:
        (part,) = store.perform([ReadLog(run, since=len(found))])
        assert isinstance(part, tuple)
        if not part:
            return found
        found += part


def _plain(run: RunId, batches: list[records.Batch]) -> Iterator[Event]:
    for batch in batches:
        for entry in batch.entries:
            if isinstance(entry, records.Claimed):
                yield Claimed(run, batch.seq, entry.epoch, entry.node)
            elif isinstance(entry, records.RunEnded):
                yield LoggedRunEnd(run, batch.seq, entry.state.value)


def _dag(store: Store, workflow: RunId, started: records.DagStarted) -> Iterator[Event]:
    run = dag_run_id(workflow, started.name)
    (blob,) = store.perform([GetBlob(workflow, f"dag/{started.dag}")])
    assert isinstance(blob, bytes)
    tasks = wire.decode(DagDefinition, blob).spec.tasks
    for batch in _batches(store, run):
        for entry in batch.entries:
            match entry:
                case records.Claimed():
                    yield Claimed(run, batch.seq, entry.epoch, entry.node)
                case records.TaskStarted():
                    name = f"{started.name}/{tasks[entry.task].name}"
                    yield LoggedStart(run, batch.seq, name, entry.attempt)
                case records.TaskEnded():
                    name = f"{started.name}/{tasks[entry.task].name}"
                    yield LoggedEnd(run, batch.seq, name, entry.attempt, entry.state.value, not entry.retry)
                case records.RunEnded():
                    yield LoggedRunEnd(run, batch.seq, entry.state.value)


def observe(store: Store, run: RunId, by: str) -> Observed:
    """How a run is seen in this store."""
    record, field = store.perform([LoadRun(run), GetField(run, "data", "answer")])
    assert isinstance(record, records.RunRecord)
    answer = field[1] if isinstance(field, tuple) and field[0] else ""
    ended_at = record.ended_at if record.ended_at is not None else time.time()
    delay_s = round(ended_at - record.created_at, 3)
    state = record.state
    return Observed(time.monotonic(), run, by, state.value, state.is_final, record.reason, str(answer), delay_s)


def marks(store: Store) -> dict[int, RunId]:
    """`{mark: run}` of all runs in the store."""
    (found,) = store.perform([ListRuns(workflows_only=True)])
    assert isinstance(found, tuple)
    return {int(record.arguments["mark"]): record.run for record in found}


def notes(folder: Path) -> Iterator[Started | Completed]:
    """What the tasks have noted, in the order in which they did."""
    path = folder / NOTES
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines:
        note = json.loads(line)
        kind = Started if note.pop("kind") == "start" else Completed
        yield kind(**note)
