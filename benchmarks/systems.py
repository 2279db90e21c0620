"""The systems that MeshFlow is compared with, and how their measurements are run.

Each has a virtual environment of its own in the user's cache folder, made here when it is missing. Redis comes from the
system, installed if that is Debian and we are root. What measures a system is a module in `peer/`; it runs in that
environment, in a session of its own, and all that it leaves running ends with it.
"""

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

_INSTALL_S = 900.0
_TAIL_CHARS = 300
"""Of what a peer said before it failed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system: what its modules and its environment are called, and what to install."""

    name: str
    key: str
    packages: tuple[str, ...]
    needs_redis: bool = False


OURS = "MeshFlow"
CELERY = Peer("Celery + Redis", "celery", ("celery[redis]", "packaging"), needs_redis=True)
DASK = Peer("Dask distributed", "dask", ("distributed",))
DRAMATIQ = Peer("Dramatiq + Redis", "dramatiq", ("dramatiq[redis]",), needs_redis=True)
FUTURES = Peer("concurrent.futures", "futures", ())
IPYPARALLEL = Peer("ipyparallel", "ipyparallel", ("ipyparallel",))
JOBLIB = Peer("joblib", "joblib", ("joblib",))
PARSL = Peer("Parsl", "parsl", ("parsl",))
RAY = Peer("Ray", "ray", ("ray",))
RQ = Peer("RQ + Redis", "rq", ("rq",), needs_redis=True)
TASKIQ = Peer("taskiq + Redis", "taskiq", ("taskiq[uvloop]", "taskiq-redis"), needs_redis=True)


def ourselves() -> Peer:
    """MeshFlow as one of them: this checkout, with what it says it needs."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    return Peer(OURS, "meshflow", tuple(settings["options"]["install_requires"].split()))


class NotAvailable(Exception):
    """A peer cannot be measured here; the text says why."""


def in_rounds(names: list[str], count: int, measure: Callable[[str], None]) -> tuple[str, ...]:
    """Measure each system in each round, every second round in reverse order, so that what the machine does meanwhile
    hits none of them alone. What was left out, and why: a system that fails once is not tried again."""
    skipped: dict[str, str] = {}
    for number in range(count):
        for name in names if number % 2 == 0 else reversed(names):
            if name in skipped:
                continue
            try:
                measure(name)
            except NotAvailable as problem:
                skipped[name] = f"{name}: {problem}"
    return tuple(skipped.values())


def measured(peer: Peer, module: str, *arguments: str, timeout_s: float) -> dict[str, Any]:
    """What a module of `peer/` prints at last, in the environment of this peer.

    Raises:
        NotAvailable: the peer cannot be installed or started, or takes too long.
    """
    if peer.needs_redis:
        _find_redis()
    python = _environment(peer)
    path = os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath)))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    output = _run([str(python), "-m", f"benchmarks.peer.{module}", *arguments], timeout_s, environ)
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def _environment(peer: Peer) -> Path:
    """The Python of the peer's environment, made if it is missing or holds something else."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "meshflow-benchmarks" / peer.key
    python, mark = folder / "bin" / "python", folder / "installed"
    packages = [*peer.packages, "numpy"]
    if not mark.exists() or mark.read_text(encoding="utf-8").split() != packages:
        print(f"installing {peer.name} in {folder}", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], _INSTALL_S)
        _run([str(python), "-m", "pip", "install", "--quiet", *packages], _INSTALL_S)
        mark.write_text("\n".join(packages), encoding="utf-8")
    return python


def _find_redis() -> None:
    if shutil.which("redis-server"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotAvailable("there is no redis-server; on Debian: apt-get install redis-server")
    _run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "redis-server"], _INSTALL_S)


def _run(command: list[str], timeout_s: float, environ: dict[str, str] | None = None) -> str:
    shown = _without_folders(" ".join(command[:4]))
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as problem:
        raise NotAvailable(_without_folders(str(problem))) from problem
    with process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as problem:
            raise NotAvailable(f"{shown} did not end within {timeout_s:g} s") from problem
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        said = _without_folders((errors or output).strip())[-_TAIL_CHARS:]
        raise NotAvailable(f"{shown} failed with {process.returncode}: {said}")
    return output


def _without_folders(text: str) -> str:
    """For a report, which others read: where things lie on this machine is nobody's business."""
    return text.replace(str(ROOT), ".").replace(str(Path.home()), "~")
