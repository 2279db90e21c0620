"""How many no-op tasks a second does a dag of 10,000 get done, with its log on disk?

Two figures: over all of it, from the client's call of `submit`, which imports and pickles the workflow, to its seeing
the end; and from the claim of the run by its owner to its end, as the log has it.
"""

from benchmarks.measure import Figure, Report, seconds_of
from benchmarks.mesh import WORKFLOWS, run_once, running_mesh

TASK_COUNT = 10_000
RUNS = 3


def measure() -> Report:
    """On a running mesh of three nodes."""
    workflow = WORKFLOWS / "many.py"
    driven = []
    with running_mesh() as client:
        run_once(client, WORKFLOWS / "fan.py")
        total = [seconds_of(lambda: run_once(client, workflow)) for _ in range(RUNS)]
        for record in client.runs(workflow="many"):
            assert record.started_at is not None, record
            assert record.ended_at is not None, record
            driven.append(record.ended_at - record.started_at)
    figures = (
        Figure("submit to finish", "tasks/s", tuple(TASK_COUNT / took_s for took_s in total), "> 5,000"),
        Figure("claim to finish", "tasks/s", tuple(TASK_COUNT / took_s for took_s in driven)),
    )
    return Report("How many no-op tasks a second does a dag of 10,000 get done?", figures)
