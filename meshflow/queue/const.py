"""Lightflow's constants, value for value, and the events that Lightflow did not have.

The values keep the word `lightflow`: they are identifiers that programs compare, not module paths that anyone imports.
"""

from enum import IntEnum


class JobExecPath:
    """What `JobStats.func_name` says of a job."""

    Workflow = "lightflow.queue.jobs.execute_workflow"
    Dag = "lightflow.queue.jobs.execute_dag"
    Task = "lightflow.queue.jobs.execute_task"


class JobStatus(IntEnum):
    """Which jobs `list_jobs` lists. `Active` jobs run, `Reserved` ones wait to be claimed; nothing is ever
    `Registered` or `Scheduled` in a mesh, and asking for those gives an empty list."""

    Active = 0
    Registered = 1
    Reserved = 2
    Scheduled = 3


class JobType:
    """The three kinds of job."""

    Workflow = "workflow"
    Dag = "dag"
    Task = "task"


class DefaultJobQueueName:
    """The queue of a job that names none."""

    Workflow = "workflow"
    Dag = "dag"
    Task = "task"


class JobEventName:
    """The events of a job: Lightflow's four, then those that Lightflow passed over in silence."""

    Started = "task-lightflow-started"
    Succeeded = "task-lightflow-succeeded"
    Stopped = "task-lightflow-stopped"
    Aborted = "task-lightflow-aborted"

    Failed = "task-lightflow-failed"
    Skipped = "task-lightflow-skipped"
    Queued = "task-lightflow-queued"
    Lost = "task-lightflow-lost"
    Cancelled = "task-lightflow-cancelled"
    Noted = "task-lightflow-noted"
