"""Gathers what a history needs and nobody wrote down at once: the logs of runs, how runs are seen, the tasks' notes."""

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
from meshflow.chaos.steps import read_notes
from meshflow.core import records
from meshflow.core.graph import DagDefinition, instance_name
from meshflow.core.requests import GetBlob, GetField, ListNodes, ListRuns, LoadRun, ReadLog
from meshflow.ids import NodeId, RunId, dag_run_id
from meshflow.store.base import Store


def logs_of(store: Store, run: RunId) -> list[Event]:
    """What the log of a workflow run, and those of its dag runs, say."""
    batches = _batches(store, run)
    names = names_of_nodes(store)
    found = list(_plain(run, batches, names))
    for batch in batches:
        for entry in batch.entries:
            if isinstance(entry, records.DagStarted):
                found += _dag(store, run, entry, names)
    return found


def names_of_nodes(store: Store) -> dict[NodeId, str]:
    """`{node: name}` of all that have ever been in the mesh. A node that was started again is another."""
    (nodes,) = store.perform([ListNodes()])
    assert isinstance(nodes, tuple)
    return {node.node: node.name for node in nodes}


def _batches(store: Store, run: RunId) -> list[records.Batch]:
    found: list[records.Batch] = []
    while True:
        (part,) = store.perform([ReadLog(run, since=len(found))])
        assert isinstance(part, tuple)
        if not part:
            return found
        found += part


def _plain(run: RunId, batches: list[records.Batch], names: dict[NodeId, str]) -> Iterator[Event]:
    for batch in batches:
        for entry in batch.entries:
            if isinstance(entry, records.Claimed):
                yield Claimed(run, batch.seq, entry.epoch, names.get(entry.node, entry.node))
            elif isinstance(entry, records.RunEnded):
                yield LoggedRunEnd(run, batch.seq, entry.state.value)


def _dag(store: Store, workflow: RunId, started: records.DagStarted, names: dict[NodeId, str]) -> Iterator[Event]:
    run = dag_run_id(workflow, started.name)
    (blob,) = store.perform([GetBlob(workflow, f"dag/{started.dag}")])
    assert isinstance(blob, bytes)
    tasks = [task.name for task in wire.decode(DagDefinition, blob).spec.tasks]
    for batch in _batches(store, run):
        for entry in batch.entries:
            match entry:
                case records.Claimed():
                    yield Claimed(run, batch.seq, entry.epoch, names.get(entry.node, entry.node))
                case records.TaskStarted():
                    name = f"{started.name}/{tasks[entry.task]}"
                    yield LoggedStart(run, batch.seq, name, entry.attempt)
                case records.TaskEnded():
                    name = f"{started.name}/{tasks[entry.task]}"
                    state = entry.state.value
                    tasks += [instance_name(tasks[entry.task], each) for each in range(len(entry.rows or ()))]
                    yield LoggedEnd(run, batch.seq, name, entry.attempt, state, not entry.retry, entry.node)
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
    for note in read_notes(folder):
        kind = Started if note.pop("kind") == "start" else Completed
        yield kind(**note)
