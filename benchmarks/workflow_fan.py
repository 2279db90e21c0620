"""How long do one task, 200 side by side, and one again take?"""

from benchmarks.measure import Figure, Report, repeat
from benchmarks.mesh import RUNS, WORKFLOWS, runner, running_mesh


def measure() -> Report:
    """On a running mesh of three nodes."""
    with running_mesh() as client:
        figure = Figure("1 -> 200 -> 1", "ms", repeat(runner(client, WORKFLOWS / "fan.py"), RUNS), "< 150")
    return Report("How long do one task, 200 side by side, and one again take?", (figure,))
