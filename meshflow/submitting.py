"""From a workflow's name to what the store is asked to keep.

Invariants:
1. All that can be wrong with a workflow or its arguments is found before anything is sent.
2. The run's record comes last: a run that can be seen is complete.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshflow import wire
from meshflow.config import Config, workflow_folders
from meshflow.core.provenance import instant
from meshflow.core.records import RunRecord
from meshflow.core.requests import CreateRun, PutBlob, Request
from meshflow.errors import WorkflowError
from meshflow.ids import RunId
from meshflow.models.script import list_scripts
from meshflow.models.submission import Submission
from meshflow.models.workflow import Workflow

_MAX_TOGETHER_BYTES = 4 * 1024 * 1024
"""Blobs that are larger together than this are sent one by one ahead of their run, to keep messages small."""


def load_workflow(
    config: Config,
    name: str | Path,
    arguments: Mapping[str, Any] | None = None,
    *,
    queue: str = "workflow",
    keep_data: bool = False,
) -> Workflow:
    """The workflow of that name, or in that file, ready to be packed with `arguments`, which `pack` checks.

    Raises:
        WorkflowNotFound: there is no such script.
        WorkflowImportError: it cannot be imported; the text names file and line.
        WorkflowDefinitionError: a dag has a cycle, or two tasks of one name.
    """
    workflow = Workflow(queue=queue, clear_data_store=not keep_data)
    folders = workflow_folders(config.settings)
    workflow.load(str(name), arguments=arguments, validate_arguments=False, directories=folders)
    return workflow


def creation(submission: Submission, run: RunId, wall_at: float) -> tuple[RunRecord, list[Request]]:
    """The record of a new run, and the requests that make it, to be performed one after the other."""
    spec = submission.spec
    record = RunRecord(
        run=run,
        name=spec.name,
        workflow=spec.name,
        queue=spec.queue,
        created_at=wall_at,
        arguments=submission.arguments,
    )
    meta = {"name": spec.name, "queue": spec.queue, "start_time": instant(wall_at)}
    document: dict[str, object] = {"meta": meta, "data": submission.arguments}
    blobs = {f"dag/{name}": wire.encode(definition) for name, definition in submission.dags.items()}
    ahead: list[Request] = []
    if sum(map(len, blobs.values())) > _MAX_TOGETHER_BYTES:
        ahead = [PutBlob(run, key, data) for key, data in blobs.items()]
        blobs = {}
    return record, [*ahead, CreateRun(record, {"workflow": wire.encode(spec), **blobs}, document)]


def queues_of(submission: Submission) -> tuple[str, ...]:
    """Every queue that a node must serve for the workflow to finish."""
    tasks = [task.queue for dag in submission.dags.values() for task in dag.spec.tasks]
    return tuple(dict.fromkeys([submission.spec.queue, *submission.spec.dag_queues, *tasks]))


def find_workflows(config: Config) -> tuple[list[tuple[Workflow, Path]], list[WorkflowError]]:
    """Every workflow that can be submitted by name, with its file, and what is wrong with those that cannot.

    Scripts are imported to find out, but only if they mention a dag, or `@workflow`, at all: the current folder may
    hold programs that have nothing to do with workflows, and listing must not run them. Of two scripts of one name the
    first counts.
    """
    found: dict[str, tuple[Workflow, Path]] = {}
    problems: list[WorkflowError] = []
    for path in list_scripts(workflow_folders(config.settings)):
        text = path.read_text(encoding="utf-8", errors="replace").lower()
        if path.stem in found or not ("dag" in text or ("meshflow" in text and "@workflow" in text)):
            continue
        workflow = Workflow()
        try:
            workflow.load(str(path), validate_arguments=False)
        except WorkflowError as problem:
            problems.append(problem)
        else:
            if workflow.dag_names:
                found[path.stem] = (workflow, path)
    return [found[name] for name in sorted(found)], problems
