"""How soon is a node known to be dead, and are live ones ever taken for it?

Ten nodes of ten hosts (network namespaces on a bridge), with the settings that nodes have when nobody says anything
else. A node is killed with `kill -9`, or all that goes to and from its host is dropped, until every other node has
logged that it is dead; then it is started or let through again. After that nothing is done to the nodes for some
minutes but to keep the machine busy, and their verdicts on each other are counted: each is wrong.

    python -m benchmarks.membership --kills 100 --cuts 100 --minutes 10
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.hosts import LOOPBACK, Hosts, Place, open_hosts, why_not
from benchmarks.measure import Figure, Report, answer, percentile
from benchmarks.mesh import WORKFLOWS
from benchmarks.watched import DIED, SUSPECTED, WatchedMesh, watched_mesh

NODES = 10
KILLS = CUTS = 30
MINUTES = 1.0

_PHASE_S = 0.6
"""Trouble begins at a random instant within two rounds of probes."""
_APART_S = 5.0
"""The cut goes on for so long after it is known, so that the node that is cut off has its own thoughts of the rest."""
_STOPPED_S, _RUNNING_S = 0.3, 0.7
"""A slow node does not run for so long, and then does."""
_LEAST_NICE = 19
_BUSY = "while True: pass"


def measure(kills: int = KILLS, cuts: int = CUTS, minutes: float = MINUTES) -> Report:
    """All in one mesh; without root on loopback, where no host can be cut off."""
    reason = why_not()
    rng = random.Random(1)
    with ExitStack() as stack:
        hosts = None if reason else stack.enter_context(open_hosts(NODES))
        mesh = stack.enter_context(watched_mesh(hosts.places if hosts else [LOOPBACK] * NODES))
        figures = _times("kill -9", "< 1", [_kill_s(mesh, number % NODES, rng) for number in range(kills)])
        if hosts:
            figures += _cut_off(mesh, hosts, cuts, rng)
        figures += _false_verdicts(mesh, hosts.here if hosts else LOOPBACK, minutes)
    skipped = (f"hosts of their own and their cutting off: {reason}; all nodes were on loopback",) if reason else ()
    return Report(
        "How soon is a node known to be dead, and are live ones ever taken for it?", tuple(figures), {}, skipped
    )


def _times(what: str, target: str, values: Sequence[float]) -> list[Figure]:
    if not values:
        return []
    return [
        Figure(f"{what}, until all others know", "s", tuple(values)),
        Figure("  of 99 in 100", "s", (percentile(values, 0.99),), target),
    ]


# --- death ---


def _kill_s(mesh: WatchedMesh, number: int, rng: random.Random) -> float:
    mesh.watch(rng.random() * _PHASE_S)
    victim = mesh.name_at(number)
    killed_at = mesh.kill(victim)
    known_at = _await_known(mesh, victim, mesh.names())
    mesh.start(number)
    mesh.settle()
    return known_at - killed_at


def _await_known(mesh: WatchedMesh, victim: str, observers: Sequence[str]) -> float:
    """When the last of these declared `victim` dead."""
    mesh.await_that(f"all know that {victim} is dead", lambda: not any(mesh.sees(each, victim) for each in observers))
    return max(told.at for told in mesh.told if told.what == DIED and told.subject == victim)


# --- silence ---


def _cut_off(mesh: WatchedMesh, hosts: Hosts, count: int, rng: random.Random) -> list[Figure]:
    seconds, healing, wrong = [], [], 0
    for number in range(count):
        mesh.told.clear()
        mesh.watch(rng.random() * _PHASE_S)
        host = number % NODES
        victim = mesh.name_at(host)
        others = [name for name in mesh.names() if name != victim]
        cut_at = time.monotonic()
        hosts.cut(host)
        seconds.append(_await_known(mesh, victim, others) - cut_at)
        mesh.watch(_APART_S)
        healed_at = time.monotonic()
        hosts.heal(host)
        mesh.await_that("all know each other again", mesh.all_see_all)
        healing.append(time.monotonic() - healed_at)
        mesh.watch(1.0)
        wrong += sum(told.what == DIED and victim not in (told.observer, told.subject) for told in mesh.told)
    if not count:
        return []
    return [
        *_times("link dead in silence", "< 4", seconds),
        Figure("link mended, until all know all again", "s", tuple(healing)),
        Figure("  deaths of others told by those who stayed", "", (wrong,), "0"),
    ]


# --- verdicts on the living ---


def _false_verdicts(mesh: WatchedMesh, here: Place, minutes: float) -> list[Figure]:
    """First with a task that holds the lock of its interpreter, then with a slow node besides."""
    if not minutes:
        return []
    seconds = 60 * minutes
    with _busy_cores():
        mesh.run(here, "submit", str(WORKFLOWS / "holding.py"), "--arg", f"seconds={2 * seconds + 60:.0f}")
        busy = _verdicts(mesh, "cores busy, GIL held", minutes, lambda: mesh.watch(seconds))
        slow = _verdicts(mesh, "a slow node besides", minutes, lambda: _slow_down(mesh, mesh.name_at(0), seconds))
    return [*busy, *slow]


def _verdicts(mesh: WatchedMesh, what: str, minutes: float, meanwhile: Callable[[], object]) -> list[Figure]:
    mesh.told.clear()
    meanwhile()
    deaths, suspicions = (sum(told.what == kind for told in mesh.told) for kind in (DIED, SUSPECTED))
    return [
        Figure(f"{what}, {minutes:g} min: deaths told of the living", "", (deaths,), "0"),
        Figure("  suspicions told of them", "", (suspicions,)),
    ]


@contextmanager
def _busy_cores() -> Iterator[None]:
    """One process per core that does nothing but compute."""
    count = os.cpu_count() or 1
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", _BUSY]))
            stack.callback(process.kill)
        yield


def _slow_down(mesh: WatchedMesh, name: str, seconds: float) -> None:
    """Let a node have what the others leave of the cores, and stop it now and then."""
    pid = mesh.pid(name)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), _LEAST_NICE)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        os.kill(pid, signal.SIGSTOP)
        mesh.watch(_STOPPED_S)
        os.kill(pid, signal.SIGCONT)
        mesh.watch(_RUNNING_S)


def main() -> None:
    """Measure as long as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.membership", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, help="nodes to be killed")
    parser.add_argument("--cuts", type=int, default=CUTS, help="hosts to be cut off")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of each kind of trouble in which nobody dies")
    given = parser.parse_args()
    answer("membership", lambda: measure(given.kills, given.cuts, given.minutes))


if __name__ == "__main__":
    main()
