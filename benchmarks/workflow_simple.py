"""How long does the workflow `simple` take, two tasks, from submit to finish?"""

from benchmarks.measure import Figure, Report, repeat
from benchmarks.mesh import RUNS, runner, running_mesh
from meshflow.config import EXAMPLES


def measure() -> Report:
    """On a running mesh of three nodes."""
    with running_mesh() as client:
        figure = Figure("simple", "ms", repeat(runner(client, EXAMPLES / "simple.py"), RUNS), "< 60")
    return Report("How long does the workflow `simple` take, two tasks, from submit to finish?", (figure,))
