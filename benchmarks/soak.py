"""Does anything grow? A million small tasks, then two hundred take-overs.

    python -m benchmarks.soak                       # about ten minutes on two quiet cores
    python -m benchmarks.soak --tasks 100000 --kills 20

A mesh of five nodes: three drive runs, two run tasks. First come dags of 10,000 no-op tasks; when one has ended, the
store is cleaned of it, as `meshflow gc` would do. Then runs of some tasks are submitted, and the node that drives each
is killed with `kill -9` and started again; the third driver is never killed. Every run must complete. Between runs the
memory, descriptors, threads and children of each node that lives through a phase are read from `/proc`, and the files
of the mesh are counted. The first tenth is the time to fill caches; after it nothing may grow.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measure import Figure, Report, save, show
from benchmarks.mesh import WORKFLOWS, run_once
from meshflow.clean import clean
from meshflow.client import Client
from meshflow.config import Config
from meshflow.core.cleaning import Rule
from meshflow.core.records import State
from meshflow.private_mesh import NodePlan, PrivateMesh

_DRIVERS = ("workflow", "dag")
_MORTAL = ("first", "second")
PLANS = (
    *(NodePlan(name, _DRIVERS) for name in (*_MORTAL, "third")),
    NodePlan("left", ("task",), slots=1),
    NodePlan("right", ("task",), slots=1),
)
_TASKS_OF_A_RUN = 10_000
_SLACK = 1.1
"""How much more than after the first tenth may be there at the end: memory is handed out in pages and arenas."""


class Growth:
    """What the processes of a phase use, looked at again and again."""

    def __init__(self, pids: dict[str, int], folder: Path) -> None:
        self._pids = pids
        self._folder = folder
        self.seen: dict[str, list[float]] = {}

    def look(self) -> None:
        """Read everything once."""
        for name, pid in self._pids.items():
            status = dict(
                line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
            )
            self._note(f"{name}: memory, MB", int(status["VmRSS"].split()[0]) / 1024)
            self._note(f"{name}: threads", int(status["Threads"]))
            self._note(f"{name}: descriptors", len(os.listdir(f"/proc/{pid}/fd")))
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        self._note("files of the mesh", len(files))
        self._note("their size, MB", sum(path.stat().st_size for path in files) / 2**20)

    def _note(self, what: str, value: float) -> None:
        self.seen.setdefault(what, []).append(value)

    def figures(self, phase: str) -> list[Figure]:
        """After the first tenth, and at the end (the medians of a tenth each), and what is wanted at most."""
        figures = []
        for what, values in self.seen.items():
            tenth = max(1, len(values) // 10)
            filled = statistics.median(values[tenth : 2 * tenth] or values)
            end = statistics.median(values[-tenth:])
            figures.append(Figure(f"{phase}: {what}", f"from {filled:,.1f}", (end,), f"<= {filled * _SLACK + 1:,.1f}"))
        return figures

    @property
    def has_grown(self) -> bool:
        """Whether something did."""
        return any(figure.values[0] > float(figure.target[3:].replace(",", "")) for figure in self.figures(""))


@contextmanager
def _mesh() -> Iterator[tuple[PrivateMesh, Client]]:
    config = Config()
    with PrivateMesh(config, PLANS) as mesh, Client(config, mesh=mesh.connect()) as client:
        yield mesh, client


def _many_tasks(count: int) -> Growth:
    with _mesh() as (mesh, client):
        growth = Growth({plan.name: mesh.pid(plan.name) for plan in PLANS}, mesh.folder)
        for number in range(-(-count // _TASKS_OF_A_RUN)):
            run_once(client, WORKFLOWS / "many.py")
            _forget_ended(client)
            growth.look()
            _tell(f"{(number + 1) * _TASKS_OF_A_RUN:,} tasks")
    return growth


def _many_kills(count: int) -> Growth:
    killed = 0
    with _mesh() as (mesh, client):
        growth = Growth({name: mesh.pid(name) for name in ("third", "left", "right")}, mesh.folder)
        while killed < count:
            run = client.submit(WORKFLOWS / "some_steps.py")
            victim = _driver_of(client, mesh, run.id)
            if victim is not None:
                os.kill(mesh.pid(victim), signal.SIGKILL)
                mesh.start_again(victim)
                killed += 1
            state = run.wait()
            assert state is State.COMPLETED, f"{run.id} ended {state.value} after {killed} kills"
            _forget_ended(client)
            growth.look()
            _tell(f"{killed} take-overs")
    return growth


def _driver_of(client: Client, mesh: PrivateMesh, run: str) -> str | None:
    """Who of the mortal drives the dag run; None: it is the third, or it has ended."""
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        owners = {record.owner for record in client.open_jobs() if record.parent == run and record.owner}
        for node in client.nodes():
            if node.member.id in owners:
                return node.member.name if node.member.name in _MORTAL else None
    return None


def _forget_ended(client: Client) -> None:
    clean(client.mesh.perform, [Rule(keep=0)], time.time(), lambda _: None)


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}   ", end="", file=sys.stderr, flush=True)


def main() -> None:
    """Soak, print the table, write it; the exit code says whether something has grown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Does anything grow?")
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    asked = parser.parse_args()
    load = os.getloadavg()
    phases = {f"{asked.tasks:,} tasks": _many_tasks(asked.tasks), f"{asked.kills} kills": _many_kills(asked.kills)}
    figures = [figure for phase, growth in phases.items() for figure in growth.figures(phase)]
    report = Report("Does anything grow?", tuple(figures))
    show(report)
    print(f"written to {save(report, 'soak', load)}")
    sys.exit(any(growth.has_grown for growth in phases.values()))


if __name__ == "__main__":
    main()
