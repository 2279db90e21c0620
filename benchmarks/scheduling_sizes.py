"""What does a job cost in meshes of 100 to 10,000 nodes, idle and 85 % busy, and does a slot stand idle beside a job?

In simulation (`meshflow/sim/steady.py`): the machines are the real ones; network, clock and store are made up, and each
node is given its view. What membership sends, which is all that an idle mesh does, comes from
`meshflow/sim/membership_mesh.py`. One node in twenty drives a run; nine tasks in ten take 10 ms, the others 1 to 10 s.
Small meshes are played several times, for chance fills them now and then.

    python -m benchmarks.scheduling_sizes --sizes 100 300
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measure import RESULTS, ROOT, Figure, Report, answer, percentile
from benchmarks.plot import Panel, draw
from meshflow.sim.membership import Setup
from meshflow.sim.steady import Load, Outcome, SteadyMesh

SIZES = (100, 300, 1000, 3000, 10_000)
PLOT = RESULTS / "scheduling_sizes.svg"
ROUND_TRIP_S = 0.004
"""The longest of the simulated network."""

_PEACE_S = 2.0
_NODES_AN_OWNER = 20
_SLOTS = 2
_SECONDS, _SETTLE_S = 2.0, 4.0
"""That are measured, and before."""
_NODES = 1000
"""Played in all at least, in meshes that are smaller."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one size came to."""

    nodes: int
    messages_per_job: float
    bytes_per_job: float
    idle_bytes: float
    """Per node and second, of a mesh that does nothing."""
    busy_bytes: float
    """The same at 85 %."""
    late_share: float
    """Of the jobs beside which a slot was idle for more than two round trips."""
    idle_p99_s: float
    """How long a slot was idle beside a job."""
    idle_longest_s: float


def measure(sizes: Sequence[int] = SIZES) -> Report:
    """One row per size, and the plot."""
    rows = []
    for nodes in sizes:
        rows.append(_row(nodes))
        print(rows[-1], flush=True)
    draw(PLOT, "Handing out, simulated", _panels(rows))
    print(f"drawn to {PLOT.relative_to(ROOT)}")
    figures = [figure for row in rows for figure in _figures(row)]
    return Report("What does a job cost as the mesh grows, and does a slot stand idle beside one?", tuple(figures))


def _row(nodes: int) -> Row:
    played = [play(nodes, seed) for seed in range(max(1, _NODES // nodes))]
    jobs = [job for outcome in played for job in outcome.jobs]
    sent_bytes = sum(outcome.sent_bytes for outcome in played)
    mesh = Setup(nodes).mesh()
    mesh.run(_PEACE_S)
    idle_bytes = mesh.sent_bytes / (nodes * _PEACE_S)
    idle_s = [job.idle_s for job in jobs]
    return Row(
        nodes,
        sum(sum(outcome.messages.values()) for outcome in played) / len(jobs),
        sent_bytes / len(jobs),
        idle_bytes,
        idle_bytes + sent_bytes / (nodes * _SECONDS * len(played)),
        sum(waited_s > 2 * ROUND_TRIP_S for waited_s in idle_s) / len(jobs),
        percentile(idle_s, 0.99),
        max(idle_s),
    )


def play(nodes: int, seed: int) -> Outcome:
    """A mesh of that size under the load described above."""
    return SteadyMesh(
        Load(nodes, _SLOTS, nodes // _NODES_AN_OWNER, seconds=_SECONDS, settle_s=_SETTLE_S, seed=seed)
    ).play()


def _figures(row: Row) -> list[Figure]:
    size = f"{row.nodes} nodes"
    return [
        Figure(f"a job, {size}", "messages", (row.messages_per_job,)),
        Figure(f"a job in bytes, {size}", "bytes", (row.bytes_per_job,)),
        Figure(f"a node, {size}", "bytes/s idle", (row.idle_bytes,)),
        Figure(f"a busy node, {size}", "bytes/s", (row.busy_bytes,)),
        Figure(f"jobs beside which a slot was idle for over 8 ms, {size}", "%", (100 * row.late_share,)),
        Figure(f"idle beside a job, {size}", "ms, p99", (1000 * row.idle_p99_s,)),
        Figure(f"idle beside a job at most, {size}", "ms", (1000 * row.idle_longest_s,)),
    ]


def _panels(rows: Sequence[Row]) -> list[Panel]:
    sizes = tuple(f"{row.nodes:,}" for row in rows)
    idle, busy = tuple(row.idle_bytes for row in rows), tuple(row.busy_bytes for row in rows)
    late_ms, longest_ms = tuple(1000 * row.idle_p99_s for row in rows), tuple(1000 * row.idle_longest_s for row in rows)
    return [
        Panel("Messages per job", sizes, {"": tuple(row.messages_per_job for row in rows)}),
        Panel("Bytes per job", sizes, {"": tuple(row.bytes_per_job for row in rows)}),
        Panel("Bytes per node and second", sizes, {"idle": idle, "85 % busy": busy}),
        Panel("A slot idle beside a job (ms)", sizes, {"p99": late_ms, "longest": longest_ms}),
    ]


def main() -> None:
    """Measure the sizes that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scheduling_sizes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help=f"nodes, {_NODES_AN_OWNER} or more each")
    sizes = parser.parse_args().sizes
    if min(sizes) < _NODES_AN_OWNER:
        parser.error(
            f"--sizes has {min(sizes)}; expected {_NODES_AN_OWNER} or more, for one node in so many is an owner"
        )
    answer("scheduling_sizes", lambda: measure(sizes))


if __name__ == "__main__":
    main()
