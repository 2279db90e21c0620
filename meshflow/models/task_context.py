"""Where a task runs, as told to the task."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The surroundings of a running task."""

    task_name: str
    dag_name: str
    """The dag run, with its counter: `main_dag:1`."""
    workflow_name: str
    workflow_id: str
    """The workflow run: 24 hex digits."""
    worker_hostname: str
    """The name of the node that runs the task."""

    def to_dict(self) -> dict[str, str]:
        """The same as a dictionary."""
        return asdict(self)
