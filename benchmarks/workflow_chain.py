"""How long does a chain of 20 no-op tasks take?"""

from benchmarks.measure import Figure, Report, repeat
from benchmarks.mesh import RUNS, WORKFLOWS, runner, running_mesh


def measure() -> Report:
    """On a running mesh of three nodes."""
    with running_mesh() as client:
        figure = Figure("chain of 20", "ms", repeat(runner(client, WORKFLOWS / "chain.py"), RUNS), "< 120")
    return Report("How long does a chain of 20 no-op tasks take?", (figure,))
