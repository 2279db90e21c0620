"""How a node takes and runs work."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a node takes and runs work."""

    slots: int = 2
    """Task processes at a time. Default in the configuration: the number of cores."""
    horizon_s: float = 0.020
    """Work held beyond the running slots, in seconds of measured task duration. More hides latency of owners far away;
    less spreads work better (design.md 4)."""
    max_prefetch: int = 256
    """Upper bound on jobs held beyond the slots."""
    ahead_s: float = 0.010
    """Of that, work handed to task processes while they run another task. More spares wake-ups of node and process;
    with less, a job waits less for a task that turns out long."""
    stale_s: float = 0.040
    """Jobs that wait here are given back when no task has ended for so long. Above `horizon_s`."""
    linger_s: float = 0.005
    """Unused credit is left with an owner at least this long before another gets it: about two round trips, in which a
    job may be on its way."""
    gather_s: float = 0.008
    """Pause between messages about reports and credit while enough jobs wait here to keep the slots busy. More makes
    larger messages, at less cost for each of many short tasks; less lets others hear of their results sooner."""
    holding_s: float = 1.0
    """Seconds between Holding messages."""
    locate_s: float = 3.0
    """Seconds without an acknowledgement after which the store is asked who owns the run."""
    kill_grace_s: float = 3.0
    """Seconds between SIGTERM and SIGKILL for a cancelled attempt."""
    max_code_bytes: int = 64 * 1024 * 1024
    """Pickled code kept for reuse."""
    max_kept_bytes: int = 64 * 1024 * 1024
    """Results and output that wait in memory for an owner's log, or for the store; what is beyond waits on the disk of
    the node."""
