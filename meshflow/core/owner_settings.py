"""How a node drives the runs that it owns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """How an owner drives its runs."""

    adopt_s: float = 0.3
    """After a take-over, seconds to wait for what the members hold before jobs are handed out again."""
    lost_s: float = 2.0
    """An attempt that its node does not list this long after it was handed out was lost on the way, seconds."""
    silent_s: float = 3.0
    """Seconds without a word about attempts after which their node is asked. Above the worker's `holding_s`."""
    max_losses: int = 10
    """A task whose attempts were lost this often fails: it may be what kills its nodes."""
    max_backlog: int = 20_000
    """Log entries waiting for the store beyond which no more jobs are handed out."""
    max_inputs_bytes: int = 24 * 1024 * 1024
    """Values of its parents that travel with a job; what is beyond goes through the store. With the code of the task
    and a batch of other jobs it must stay below the transport's `max_message_bytes`."""
    max_provenance_tasks: int = 5_000
    """Dags of more tasks leave their timings to the log: a MongoDB document holds 16 MB."""
    gather_s: float = 0.010
    """Pause between two appends to the log of a dag run while many of its tasks are under way, seconds. More makes
    larger appends at less cost for each of many short tasks. Nothing is lost by it: nodes keep what is not logged."""
    progress_s: float = 0.5
    """Seconds between updates of the counts in the run record."""
    resend_s: float = 1.0
    """Seconds after which a signal that was not answered is sent again."""
