"""A mesh of real node processes with folders of its own, for one test or one file of tests.

Every node holds the other end of a pipe of this process (`--until-eof`), so that none outlives the tests, whatever way
they end; those that a test has not ended are killed by their process ids when the mesh is closed.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from meshflow.client import Client
from meshflow.config import Config
from meshflow.connect import open_mesh
from meshflow.core.member import Status
from meshflow.core.records import State
from meshflow.mesh import NodeReport
from meshflow.queue.models import JobEvent
from meshflow.run_handle import RunHandle

PACKAGE = Path(__file__).parents[2]

READY_S = 20.0
"""A node takes half a second; a busy machine may take longer."""

PATIENCE_S = 30.0
"""How long anything that must happen may take."""

CLIENT_TIMEOUT_S = 2.0
"""How long the tests' own clients wait for a node that is silent, say because a test has stopped it."""

DEFAULT_QUEUES = ("workflow", "dag", "task")

_POLL_S = 0.02

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """What `look` gives as soon as that is true; fails after `seconds`, telling what it gave last."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}; at last there was {found!r}")
        time.sleep(_POLL_S)


def is_running(pid: int) -> bool:
    """Whether that process runs; one that has ended and was not waited for does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX"


class RealMesh:
    """The nodes of one host, or of what passes for one: its folders, and how its programs are started.

    `prefix` goes before every command (`ip netns exec ...`); `environment` adds to what the mesh needs itself, and
    `program` is what to start Python with instead of `-m meshflow`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "meshflow"),
    ) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.command = [*prefix, sys.executable, "-P", *program]
        """How `meshflow` is started on this host."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MESHFLOW_", "LIGHTFLOW_"))}
        self.environment = {
            **kept,
            "PYTHONPATH": str(PACKAGE),
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
            "MESHFLOW_RUNTIME_DIR": str(folder / "run"),
            "MESHFLOW_STATE_DIR": str(folder / "state"),
            "MESHFLOW_TEST_FOLDER": str(self.work),
            **(environment or {}),
        }
        """What the programs of this host see."""
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: list[Client] = []
        for each in ("home", "run", "state", "work"):
            (folder / each).mkdir(parents=True, mode=0o700)

    # --- nodes ---

    def start(self, name: str, queues: Iterable[str] = DEFAULT_QUEUES, slots: int = 2, *more: str) -> None:
        """Start a node, or one of that name again; `await_ready` waits for it."""
        command = [
            "node",
            "--until-eof",
            "--quiet",
            "--name",
            name,
            "--queues",
            ",".join(queues),
            "--slots",
            str(slots),
        ]
        with self.log(name).open("ab") as log:
            self._nodes[name] = subprocess.Popen(
                [*self.command, *command, *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                cwd=self.work,
                start_new_session=True,
            )

    def await_ready(self, *names: str) -> None:
        """Wait until these nodes listen (no name: all)."""
        for name in names or tuple(self._nodes):
            stdout = self._nodes[name].stdout
            assert stdout is not None
            readable, _, _ = select.select([stdout], [], [], READY_S)
            said = stdout.readline() if readable else b""
            assert said.startswith(b"ready"), f"node {name!r} did not start:\n{self.log(name).read_text()}"

    def log(self, name: str) -> Path:
        """What a node says on stderr."""
        return self.folder / f"{name}.log"

    def logs(self) -> str:
        """What all nodes said, for those who look for the cause of a failure."""
        return "\n".join(f"--- {path.stem}\n{path.read_text('utf-8', 'replace')}" for path in self.folder.glob("*.log"))

    def pid(self, name: str) -> int:
        """The process id of a node."""
        return self._nodes[name].pid

    def kill(self, *names: str) -> None:
        """SIGKILL."""
        for name in names:
            self._nodes[name].kill()
        for name in names:
            _let_go(self._nodes[name])

    def stop(self, *names: str) -> None:
        """Drain nodes and wait until they have ended, without an error."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        codes = {name: self.await_exit(name) for name in names}
        assert not any(codes.values()), codes

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a node."""
        self._nodes[name].send_signal(number)

    def await_exit(self, name: str, seconds: float = PATIENCE_S) -> int:
        """The exit code of a node that ends."""
        return self._nodes[name].wait(seconds)

    def close(self) -> None:
        """End what still runs and let go of everything."""
        for client in self._clients:
            client.close()
        for process in self._nodes.values():
            process.kill()
        for process in self._nodes.values():
            _let_go(process)

    # --- programs ---

    def cli(
        self, *arguments: str, cwd: Path | None = None, timeout: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run `meshflow` with these arguments to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            cwd=cwd or self.work,
            stdin=subprocess.DEVNULL,
        )

    def write(self, name: str, text: str) -> Path:
        """A file in the folder of the user."""
        path = self.work / name
        path.write_text(text)
        return path

    # --- the mesh from Python ---

    def running_count(self) -> int:
        """How many jobs run, on all nodes."""
        return sum(len(report.status.running) for report in self.client().nodes() if report.status)

    def client(self) -> Client:
        """A way into the mesh; closed with it. The first is kept, for the methods below."""
        if not self._clients:
            self._clients.append(self.connect())
        return self._clients[0]

    def connect(self) -> Client:
        """A way into the mesh of one's own."""
        config = Config()
        config.load_from_dict({"mesh": {"timeout_s": CLIENT_TIMEOUT_S}})
        return Client(config, mesh=open_mesh(config.settings, environ=self.environment))

    def submit(
        self,
        workflow: str | Path,
        arguments: dict[str, object] | None = None,
        *,
        queue: str = "workflow",
        keep_data: bool = False,
    ) -> RunHandle:
        """Submit an example by name, or a file."""
        return self.client().submit(workflow, arguments, queue=queue, keep_data=keep_data)

    def await_nodes(self, count: int) -> list[NodeReport]:
        """Wait until so many nodes know of each other and answer."""

        def look() -> list[NodeReport]:
            reports = [report for report in self.client().nodes() if report.state == "alive"]
            seen = [report.status.members if report.status else () for report in reports]
            everywhere = all(sum(member.status is Status.ALIVE for member in view) >= count - 1 for view in seen)
            return reports if len(reports) == count and everywhere else []

        return eventually(look, f"{count} nodes know each other")

    def owner(self, run: RunHandle) -> str:
        """The name of the node that drives a run."""
        self.client().nodes()
        owner = self.client().load(run.id).owner
        return self.client().mesh.node_name(owner) if owner else ""


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    process.wait(READY_S)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def finish(run: RunHandle, seconds: float = PATIENCE_S) -> State:
    """Wait for the end of a run."""
    return run.wait(seconds)


def printed(run: RunHandle, task: str | None = None) -> list[str]:
    """The lines that the tasks of a run printed to stdout."""
    return [line.text for line in run.logs(task=task) if line.stream == "stdout"]


def events(run: RunHandle) -> list[JobEvent]:
    """All that happened to a run and its jobs."""
    return list(run.events(follow=False))


def words(run: RunHandle, name: str) -> list[str]:
    """What happened to the job of that name, in words, without how it came to run."""
    return [event.word for event in events(run) if event.name == name and event.word not in ("queued", "started")]
