"""How do Celery, Dask and Ray do the same work on the same machine?

Each peer has a virtual environment of its own in the user's cache folder, made here when it is missing; Redis comes
from the system, installed if that is Debian and we are root. A peer that cannot be had is skipped, with the reason. Two
processes run tasks in each system. All but MeshFlow keep their state in memory only; MeshFlow's times include importing
and pickling the workflow, and writing its log to disk.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import ROOT, Figure, Report, repeat
from benchmarks.mesh import WORKFLOWS, runner, running_mesh
from benchmarks.peer import shapes
from meshflow.config import EXAMPLES
from meshflow.version import __version__

_INSTALL_S = 900.0
_MEASURE_S = 300.0
_TAIL_CHARS = 300
"""Of what a peer said before it failed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system to compare with: what to install, and the module that measures it."""

    name: str
    packages: tuple[str, ...]
    module: str
    needs_redis: bool = False


PEERS = (
    Peer("Celery + Redis", ("celery[redis]", "packaging"), "celery_peer", needs_redis=True),
    Peer("Dask distributed", ("distributed",), "dask_peer"),
    Peer("Ray", ("ray",), "ray_peer"),
)


class NotAvailable(Exception):
    """A peer cannot be measured here; the text says why."""


def measure() -> Report:
    """Two rounds, the second in reverse order, so that what the machine does meanwhile hits none of them alone."""
    times: dict[str, dict[str, list[float]]] = {}
    versions = {"MeshFlow": __version__}
    skipped: dict[str, str] = {}
    order: list[Peer | None] = [None, *PEERS]
    for peer in (*order, *reversed(order)):
        name = peer.name if peer is not None else "MeshFlow"
        if name in skipped:
            continue
        try:
            if peer is None:
                values = _ours()
            else:
                values, versions[name] = _measured(peer)
        except NotAvailable as problem:
            skipped[name] = f"{name}: {problem}"
            continue
        known = times.setdefault(name, {})
        for shape, each in values.items():
            known.setdefault(shape, []).extend(each)
    figures = [_figure(shape, name, values[shape]) for shape in shapes.RUNS for name, values in times.items()]
    question = "How do Celery, Dask and Ray do the same work on the same machine?"
    return Report(question, tuple(figures), versions, tuple(skipped.values()))


def _figure(shape: str, system: str, times_ms: list[float]) -> Figure:
    if shape == shapes.NO_OPS:
        return Figure(f"{shape}, {system}", "tasks/s", tuple(1000 * shapes.MANY / each for each in times_ms))
    return Figure(f"{shape}, {system}", "ms", tuple(times_ms))


def _ours() -> dict[str, list[float]]:
    files = {
        shapes.SIMPLE: EXAMPLES / "simple.py",
        shapes.CHAINED: WORKFLOWS / "chain.py",
        shapes.FAN: WORKFLOWS / "fan.py",
        shapes.NO_OPS: WORKFLOWS / "two_thousand.py",
    }
    with running_mesh() as client:
        return {shape: list(repeat(runner(client, file), shapes.RUNS[shape])) for shape, file in files.items()}


def _measured(peer: Peer) -> tuple[dict[str, list[float]], str]:
    """`{shape: milliseconds of each run}`, and the version of the peer."""
    if peer.needs_redis:
        _find_redis()
    python = _environment(peer)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = _run([str(python), "-m", f"benchmarks.peer.{peer.module}"], _MEASURE_S, environ)
    answer = json.loads(output.splitlines()[-1])
    return answer["times"], answer["version"]


def _environment(peer: Peer) -> Path:
    """The Python of the peer's environment, made if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "meshflow-benchmarks" / peer.module
    python, mark = folder / "bin" / "python", folder / "installed"
    if not mark.exists():
        print(f"installing {peer.name} in {folder}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], _INSTALL_S)
        _run([str(python), "-m", "pip", "install", "--quiet", *peer.packages], _INSTALL_S)
        mark.touch()
    return python


def _find_redis() -> None:
    if shutil.which("redis-server"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotAvailable("there is no redis-server; on Debian: apt-get install redis-server")
    _run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "redis-server"], _INSTALL_S)


def _run(command: list[str], timeout_s: float, environ: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environ, timeout=timeout_s, check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as problem:
        said = (problem.stderr or problem.stdout).strip()[-_TAIL_CHARS:]
        raise NotAvailable(f"{' '.join(command[:4])} failed with {problem.returncode}: {said}") from problem
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotAvailable(str(problem)) from problem
    return done.stdout
