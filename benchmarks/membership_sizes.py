"""What does membership cost, and how soon do all know, in meshes of 1,000, 3,000 and 10,000 nodes?

In simulation: the machines are the real ones, network and clock are made up. With the preset `lan`, from one seed. The
largest size takes twelve minutes of one core, and about 4 GB.

    python -m benchmarks.membership_sizes --sizes 100 300
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.measure import RESULTS, ROOT, Figure, Report, answer
from benchmarks.plot import Panel, draw
from meshflow.core.membership_settings import PRESETS
from meshflow.sim.membership import Setup, seconds_to_learn, slow
from meshflow.sim.membership_mesh import MembershipMesh

SIZES = (1000, 3000, 10_000)
PLOT = RESULTS / "membership_sizes.svg"

_SETTINGS = PRESETS["lan"]
_PEACE_S = 4.0
_CHANGES = 3
_LONGEST_S = 60.0
_SLOW_NODES = 10
_LOSS = 0.01
_BLOCK_S = 8.0
"""Longer than the shortest suspicion in the largest mesh: without that, nobody is ever buried by a slow node."""
_SLOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """What one size came to."""

    nodes: int
    learned_s: tuple[float, ...]
    silent_s: float
    bytes_per_node_s: float
    messages_per_node_s: float
    false_deaths: int
    """Told of nodes that were neither slow nor dead, with Lifeguard."""
    false_deaths_without: int
    """The same without it."""


def measure(sizes: Sequence[int] = SIZES) -> Report:
    """One row per size, and the plot."""
    rows = [_row(nodes) for nodes in sizes]
    draw(PLOT, "Membership, simulated", _panels(rows))
    print(f"drawn to {PLOT.relative_to(ROOT)}")
    figures = [figure for row in rows for figure in _figures(row)]
    return Report("What does membership cost, and how soon do all know, as the mesh grows?", tuple(figures))


def _row(nodes: int) -> Row:
    mesh = Setup(nodes).mesh()
    mesh.run(_PEACE_S)
    sent_bytes, messages = (count / (nodes * _PEACE_S) for count in (mesh.sent_bytes, mesh.message_count))
    learned_s = tuple(seconds_to_learn(mesh, number) for number in range(_CHANGES))
    silent_s = _seconds_to_bury(mesh, nodes - 1)
    del mesh  # the next one needs its memory
    return Row(
        nodes, learned_s, silent_s, sent_bytes, messages, _false_deaths(nodes, True), _false_deaths(nodes, False)
    )


def _seconds_to_bury(mesh: MembershipMesh, victim: int) -> float:
    killed_at = mesh.now
    mesh.kill(victim)
    mesh.run(killed_at + _LONGEST_S, lambda: mesh.known_at(victim) < math.inf)
    return mesh.known_at(victim) - killed_at


def _false_deaths(nodes: int, has_lifeguard: bool) -> int:
    settings = replace(_SETTINGS, has_lifeguard=has_lifeguard)
    setup = Setup(nodes, victims=_SLOW_NODES, loss=_LOSS, settings=settings)
    return slow(setup, block_s=_BLOCK_S, lasts_s=_SLOW_S).false_death_count


def _figures(row: Row) -> list[Figure]:
    rounds = tuple(seconds / _SETTINGS.gossip_interval_s for seconds in row.learned_s)
    trouble = f"{_SLOW_NODES} slow nodes, {_LOSS:.0%} loss, {_SLOW_S:g} s"
    return [
        Figure(f"{row.nodes:,} nodes: a change is known to all", "s", row.learned_s),
        Figure("  in rounds of gossip", "rounds", rounds),
        Figure("  a silent death is known to all", "s", (row.silent_s,)),
        Figure("  in peace, per node and second", "bytes", (row.bytes_per_node_s,)),
        Figure("  in peace, per node and second", "messages", (row.messages_per_node_s,)),
        Figure(f"  {trouble}: false deaths", "verdicts", (row.false_deaths,), "0"),
        Figure("  the same without Lifeguard", "verdicts", (row.false_deaths_without,)),
    ]


def _panels(rows: Sequence[Row]) -> list[Panel]:
    sizes = tuple(f"{row.nodes:,}" for row in rows)
    rounds = tuple(max(row.learned_s) / _SETTINGS.gossip_interval_s for row in rows)
    return [
        Panel("A change is known to all (rounds of gossip)", sizes, {"": rounds}),
        Panel("A silent death is known to all (s)", sizes, {"": tuple(row.silent_s for row in rows)}),
        Panel("In peace (bytes per node and second)", sizes, {"": tuple(row.bytes_per_node_s for row in rows)}),
        Panel(
            f"False deaths, {_SLOW_NODES} slow nodes (verdicts)",
            sizes,
            {
                "with Lifeguard": tuple(float(row.false_deaths) for row in rows),
                "without": tuple(float(row.false_deaths_without) for row in rows),
            },
        ),
    ]


def main() -> None:
    """Measure the sizes that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.membership_sizes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help=f"nodes, more than {_SLOW_NODES} each")
    sizes = parser.parse_args().sizes
    if min(sizes) <= _SLOW_NODES:
        parser.error(f"--sizes has {min(sizes)}; expected more than {_SLOW_NODES} nodes, for so many of them are slow")
    answer("membership_sizes", lambda: measure(sizes))


if __name__ == "__main__":
    main()
