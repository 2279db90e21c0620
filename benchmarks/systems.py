"""The systems that MeshFlow is compared with, and how their measurements are run.

Each has a virtual environment of its own in the user's cache folder, made here when it is missing. Redis comes from the
system, installed if that is Debian and we are root. What measures a system is a module in `peer/`; it runs in that
environment, and all that it leaves running is ended.
"""

import configparser
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT

_INSTALL_S = 900.0
_TAIL_CHARS = 300
"""Of what a peer said before it failed."""
_MARK = "MESHFLOW_BENCHMARK"


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
TASKIQ = Peer("taskiq + Redis", "taskiq", ("taskiq[uv]", "taskiq-redis"), needs_redis=True)


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
    environ = {"PYTHONPATH": str(ROOT), "PATH": path}
    output = run([str(python), "-m", f"benchmarks.peer.{module}", *arguments], timeout_s, environ)
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
        run([sys.executable, "-m", "venv", "--clear", str(folder)], _INSTALL_S)
        run([str(python), "-m", "pip", "install", "--quiet", *packages], _INSTALL_S)
        mark.write_text("\n".join(packages), encoding="utf-8")
    return python


def _find_redis() -> None:
    if shutil.which("redis-server"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotAvailable("there is no redis-server; on Debian: apt-get install redis-server")
    run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "redis-server"], _INSTALL_S)


def run(command: list[str], timeout_s: float, environ: Mapping[str, str] | None = None) -> str:
    """What a command prints; what it leaves running is ended. `environ` is added to that of this process.

    Raises:
        NotAvailable: it failed, or did not end in time.
    """
    shown, mark = _without_folders(" ".join(command[:4])), secrets.token_hex(8)
    marked = {**os.environ, **(environ or {}), _MARK: mark}
    # Into files, for what it leaves running would keep pipes open.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        try:
            with subprocess.Popen(
                command, cwd=ROOT, env=marked, stdout=output, stderr=errors, start_new_session=True
            ) as process:
                try:
                    process.wait(timeout_s)
                finally:
                    _end_left(process.pid, mark)
        except OSError as problem:
            raise NotAvailable(_without_folders(str(problem))) from problem
        except subprocess.TimeoutExpired as problem:
            raise NotAvailable(f"{shown} did not end within {timeout_s:g} s") from problem
        output.seek(0)
        errors.seek(0)
        printed = output.read()
        if process.returncode:
            said = _without_folders((errors.read() or printed).strip())[-_TAIL_CHARS:]
            raise NotAvailable(f"{shown} failed with {process.returncode}: {said}")
        return printed


def _end_left(group: int, mark: str) -> None:
    """End what a command has started and left: its process group, then daemons with groups of their own, which have its
    mark in their environment. While they are ended, some start others."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    wanted, is_any_left = f"{_MARK}={mark}".encode(), True
    while is_any_left:
        is_any_left = False
        for folder in Path("/proc").iterdir():
            with suppress(OSError):  # It is nobody's, not ours, or has just ended.
                if folder.name.isdecimal() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
                    is_any_left = True


def _without_folders(text: str) -> str:
    """For a report, which others read: where things lie on this machine is nobody's business."""
    return text.replace(str(ROOT), ".").replace(str(Path.home()), "~")
