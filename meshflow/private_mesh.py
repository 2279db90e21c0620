"""A mesh of real node processes on this host that nobody else sees, and that leaves nothing behind.

Its runtime folder, key, store and output lie in a temporary folder. Its nodes hold the other end of a pipe from this
process: they end when it ends, whatever way it does.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from meshflow.config import Config
from meshflow.connect import open_mesh
from meshflow.errors import UsageError
from meshflow.mesh import Mesh

_READY_S = 20.0
"""A node needs half a second; a busy machine more."""

_DRAIN_S = 1.0
"""After a run nothing is left to drain. Who interrupts one does not want to wait for its tasks."""

_STOP_S = 8.0
"""For tasks to be ended, with their processes; what is left then is killed."""

_LOG_LINES = 15

_NAME = "private"

_OURS = "MESHFLOW_"

_BOOT = """\
import sys
folder = sys.argv.pop(1)
if folder not in sys.path:
    sys.path.insert(0, folder)
from meshflow.cli import main
main()
"""
"""Runs the command line of this very package, wherever it was imported from; what lies in the current folder, say a
workflow called `queue.py`, cannot take the place of a module (`-P`)."""


class NodeDidNotStart(UsageError):
    """A node process ended, or was not ready in time; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node to start."""

    name: str
    queues: tuple[str, ...]
    slots: int = 0
    """0: one per processor core."""


class PrivateMesh:
    """Starts nodes on entry, ends them on exit. `config` gives what a node needs to know besides: library folders.
    `libraries` are more of these."""

    def __init__(self, config: Config, plans: Sequence[NodePlan], libraries: Sequence[str] = ()) -> None:
        self._config = config
        self._libraries = libraries
        self._plans = plans
        self._folder = Path()
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "PrivateMesh":
        self._folder = Path(tempfile.mkdtemp(prefix="meshflow-"))
        try:
            for plan in self._plans:
                self._nodes[plan.name] = self._start(plan)
            until = time.monotonic() + _READY_S
            for name, process in self._nodes.items():
                self._await_ready(name, process, until)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def pid(self, name: str) -> int:
        """The process id of a node."""
        return self._nodes[name].pid

    @property
    def folder(self) -> Path:
        """Where all that is the mesh's lies."""
        return self._folder

    def start_again(self, name: str) -> None:
        """Start a node whose process was killed, under the same name."""
        self._nodes[name].wait()
        self._close_pipes(self._nodes[name])
        plan = next(plan for plan in self._plans if plan.name == name)
        self._nodes[name] = self._start(plan)
        self._await_ready(name, self._nodes[name], time.monotonic() + _READY_S)

    def connect(self) -> Mesh:
        """A connection to this mesh, and to no other."""
        own = Config()
        own.load_from_dict({"mesh": {"name": _NAME}})
        return open_mesh(own.settings, environ=self._environment())

    def close(self) -> None:
        """End the nodes and remove all that was theirs."""
        for wait_s in (_DRAIN_S, _STOP_S):
            for process in self._nodes.values():
                process.terminate()  # the first drains, the second ends what still runs
            until = time.monotonic() + wait_s
            for process in self._nodes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
        for process in self._nodes.values():
            process.kill()
            process.wait()
            self._close_pipes(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, plan: NodePlan) -> subprocess.Popen[bytes]:
        package_folder = str(Path(__file__).resolve().parent.parent)
        command = [sys.executable, "-P", "-c", _BOOT, package_folder, "node", "--quiet", "--until-eof"]
        command += ["--name", plan.name, "--queues", ",".join(plan.queues)]
        if plan.slots:
            command += ["--slots", str(plan.slots)]
        with self._log_of(plan.name).open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for us; we end the nodes in our own time
            )

    def _close_pipes(self, process: "subprocess.Popen[bytes]") -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _environment(self) -> dict[str, str]:
        """What the nodes see: their own folders and settings, and none of ours that could lead them to another mesh."""
        settings = self._folder / "meshflow.yml"
        if not settings.exists():
            given = self._config.settings
            libraries = [*given.libraries, *self._libraries]
            content = {"libraries": libraries, "workflows": list(given.workflows), "mesh": {"name": _NAME}}
            settings.write_text(json.dumps(content), encoding="utf-8")  # which is YAML too
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_OURS)}
        return {
            **kept,
            "MESHFLOW_CONFIG": str(settings),
            "MESHFLOW_RUNTIME_DIR": str(self._folder / "run"),
            "MESHFLOW_STATE_DIR": str(self._folder / "state"),
        }

    def _await_ready(self, name: str, process: "subprocess.Popen[bytes]", until: float) -> None:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        if readable and process.stdout.readline():
            return
        what = "ended at once" if readable else f"was not ready within {_READY_S:g} s"
        lines = self._log_of(name).read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        raise NodeDidNotStart(f"node {name!r} {what}: " + ("\n".join(lines) or "it said nothing"))

    def _log_of(self, name: str) -> Path:
        return self._folder / f"{name}.log"
