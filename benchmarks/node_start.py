"""How long does a node take to start, and the command line to answer?

A node is ready when it listens, has begun to join, and says so on its standard output; measured from the start of its
process, with a store that is made on the way.
"""

import subprocess
import sys
from collections.abc import Callable

from benchmarks.measure import ROOT, Figure, Report, repeat
from meshflow.config import Config
from meshflow.private_mesh import NodePlan, PrivateMesh

RUNS = 11


def measure() -> Report:
    """Each node in folders of its own."""
    figures = (
        Figure("first node of a mesh", "ms", _node_starts(), "< 500"),
        Figure("meshflow --help", "ms", repeat(_command("--help"), RUNS), "< 150"),
        Figure("meshflow version", "ms", repeat(_command("version"), RUNS)),
        Figure("python -c pass", "ms", repeat(_python("-c", "pass"), RUNS)),
    )
    return Report("How long does a node take to start, and the command line to answer?", figures)


def _node_starts() -> tuple[float, ...]:
    meshes: list[PrivateMesh] = []

    def start() -> None:
        mesh = PrivateMesh(Config(), [NodePlan("only", ("workflow", "dag", "task"))])
        meshes.append(mesh.__enter__())

    values: list[float] = []
    for _ in range(RUNS):
        values += repeat(start, 1, warm_up=0)
        meshes.pop().close()
    return tuple(values)


def _command(*arguments: str) -> Callable[[], object]:
    return _python("-m", "meshflow", *arguments)


def _python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
