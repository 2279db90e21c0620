"""How long do tasks of 10 ms take beside tasks of 1 to 10 s, in a mesh that is 85 % busy?

In simulation (`meshflow/sim/steady.py`), against the omniscient scheduler of `meshflow/sim/omniscient.py`, for which
the same jobs become ready at the same times. Nine tasks in ten are short; nodes have four slots; a message takes up to
2 ms. Several seeds, taken together.

    python -m benchmarks.short_tasks
"""

import statistics

from benchmarks.measure import Figure, Report, answer, percentile
from meshflow.sim.steady import Load, SteadyMesh

_MESHES = ((4, 2, 60.0, 8), (20, 4, 20.0, 8), (20, 20, 20.0, 4), (200, 8, 4.0, 3), (200, 100, 4.0, 2))
"""Nodes, owners, seconds, seeds."""


def measure() -> Report:
    """Mean and p99 of each mesh, beside what an omniscient scheduler gives."""
    figures: list[Figure] = []
    for mesh in _MESHES:
        figures += _figures(*mesh)
    return Report("How long do short tasks take beside long ones?", tuple(figures))


def _figures(nodes: int, owners: int, seconds: float, seeds: int) -> list[Figure]:
    mesh = f"{nodes} nodes with {owners} owners"
    outcomes = [SteadyMesh(Load(nodes, owners=owners, seconds=seconds, seed=seed)).play() for seed in range(seeds)]
    short = [job for outcome in outcomes for job in outcome.short]
    ours, best = [job.response_s for job in short], [job.omniscient_s for job in short]
    figures = []
    for name, of in (("mean", statistics.mean), ("p99", _p99)):
        figures.append(Figure(f"{name}, {mesh}", "ms", (1000 * of(ours),)))
        figures.append(Figure(f"{name} omniscient, {mesh}", "ms", (1000 * of(best),)))
        figures.append(Figure(f"{name} in proportion, {mesh}", "times", (of(ours) / of(best),), "<= 1.5"))
    return figures


def _p99(values: list[float]) -> float:
    return percentile(values, 0.99)


if __name__ == "__main__":
    answer("short_tasks", measure)
