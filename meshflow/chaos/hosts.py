"""The hosts of a game, with a node on each, and how their programs are started.

In a sandbox every host is a network namespace, with an interface `e0` to a switch, and a small disk of its own; the
game itself sits at the switch. Elsewhere a host is a set of folders, and all share the loopback interface.

A node holds the other end of a pipe of this process (`--until-eof`), so that it ends when the game does. Processes are
signalled by the ids under which they were started here, and no others.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from meshflow.chaos.steps import FOLDER_VARIABLE
from meshflow.errors import UsageError

INTERFACE = "e0"
"""The name of a host's interface."""

SWITCH = "10.213.88.254"
"""Where the game is in the network of the sandbox."""

BRIDGE = "switch"
"""The interface of the switch."""

_BRIDGE_MAC = "02:00:00:00:00:01"
"""Its own, so that it stays the same whatever is plugged in."""

_PORT = 7411

_READY_S = 30.0
"""A node takes half a second; a busy machine may take longer."""

_DISK = "size=400m"
"""More than all runs of a round keep, and little enough to be filled in no time."""

_PACKAGE = Path(__file__).parents[2]


class ChaosFailed(UsageError):
    """The game itself could not go on: a program failed, or a node did not start."""


@dataclass(slots=True)
class Host:
    """One host, and the node on it."""

    name: str
    queues: tuple[str, ...]
    slots: int
    folder: Path
    log: Path
    address: str
    is_namespace: bool
    joins: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    node: "subprocess.Popen[bytes] | None" = None

    @property
    def prefix(self) -> list[str]:
        """What goes before a command that is to run on this host."""
        return ["ip", "netns", "exec", self.name] if self.is_namespace else []

    @property
    def cable(self) -> str:
        """The interface at the switch that leads to it."""
        return f"to-{self.name}"

    @property
    def pid(self) -> int:
        """The process id of its node, which must have been started."""
        assert self.node is not None
        return self.node.pid

    @property
    def store_path(self) -> Path:
        """Where the embedded store of this host is, or would be."""
        return self.folder / "state" / "default" / "store.sqlite"

    def start(self) -> None:
        """Start the node, again if need be; `await_ready` waits for it."""
        command = [*self.prefix, sys.executable, "-P", "-m", "meshflow", "node", "--until-eof", "--name", self.name]
        command += ["--queues", ",".join(self.queues), "--slots", str(self.slots), "--bind", self.address]
        for address in self.joins:
            command += ["--join", address]
        with self.log.open("ab") as log:
            self.node = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Wait until the node listens.

        Raises:
            ChaosFailed: it ended, or takes too long.
        """
        assert self.node is not None
        assert self.node.stdout is not None
        readable, _, _ = select.select([self.node.stdout], [], [], _READY_S)
        if not readable or not self.node.stdout.readline().startswith(b"ready"):
            end = self.log.read_text("utf-8", "replace")[-2000:]
            raise ChaosFailed(f"the node {self.name!r} did not start within {_READY_S:g} s; its log ends with:\n{end}")

    def kill(self) -> None:
        """SIGKILL for the node; its task processes end with it."""
        assert self.node is not None
        self.node.kill()
        self.node.wait()
        for pipe in (self.node.stdin, self.node.stdout):
            if pipe is not None:
                pipe.close()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the node and everything it has started."""
        for pid in [self.pid, *descendants(self.pid)]:
            with suppress(ProcessLookupError):  # a task process may end at any time
                os.kill(pid, number)


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have, and so on."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text("ascii", "replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:  # grows while it is read
        found += parents.get(each, [])
    return found[1:]


def state_of(pid: int) -> str:
    """The letter of a process's state in /proc (`T`: stopped); empty: there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[0]


def run(*command: str, text: str | None = None) -> str:
    """What a program prints.

    Raises:
        ChaosFailed: it failed.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise ChaosFailed(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


class Hosts:
    """All hosts. The first holds the store; the others have none, join through it, and have its key."""

    def __init__(self, folder: Path, plan: Sequence[tuple[str, tuple[str, ...], int]], *, in_sandbox: bool) -> None:
        """`plan` is the name, the queues and the slots of each host's node. Nothing is started yet."""
        self.in_sandbox = in_sandbox
        self.all: dict[str, Host] = {}
        self.key_file = folder / "mesh.key"
        self._folder = folder
        for number, (name, queues, slots) in enumerate(plan):
            self._make(number, name, queues, slots)
        first = self.store
        others = list(self.all.values())[1:]
        for host in others:
            # A second way in, so that a host may come back while the first one is away.
            host.joins = (first.address, *(other.address for other in others[:2] if other is not host))

    @property
    def store(self) -> Host:
        """The host that holds the store."""
        return next(iter(self.all.values()))

    def _make(self, number: int, name: str, queues: tuple[str, ...], slots: int) -> None:
        home = self._folder / "hosts" / name
        home.mkdir(parents=True, mode=0o700)
        if self.in_sandbox:
            run("mount", "-t", "tmpfs", "-o", f"{_DISK},mode=0700", "tmpfs", str(home))
        for each in ("home", "run", "state", "tmp"):
            (home / each).mkdir(mode=0o700)
        address = f"10.213.88.{number + 1}:{_PORT}" if self.in_sandbox else f"127.0.0.1:{_free_port()}"
        log = self._folder / f"{name}.log"
        host = Host(name, queues, slots, home, log, address, self.in_sandbox)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MESHFLOW_", "LIGHTFLOW_"))}
        host.environment = {
            **kept,
            "PYTHONPATH": str(_PACKAGE),
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "XDG_CONFIG_HOME": str(home / "home"),
            "MESHFLOW_RUNTIME_DIR": str(home / "run"),
            "MESHFLOW_STATE_DIR": str(home / "state"),
            "MESHFLOW_MESH__TIMEOUT_S": "3",
            "MESHFLOW_KEY_FILE": str(self.key_file),
            FOLDER_VARIABLE: str(self._folder),
        }
        self.all[name] = host

    def __enter__(self) -> "Hosts":
        try:
            if self.in_sandbox:
                self._cable()
            self._share_key()
            for host in self.all.values():
                host.start()
                if host is self.store:
                    host.await_ready()
            for host in list(self.all.values())[1:]:
                host.await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End every node. What the sandbox has besides ends with it."""
        for host in self.all.values():
            if host.node is not None:
                host.kill()

    def _cable(self) -> None:
        run("ip", "link", "add", BRIDGE, "address", _BRIDGE_MAC, "type", "bridge")
        run("ip", "addr", "add", f"{SWITCH}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for host in self.all.values():
            run("ip", "netns", "add", host.name)
            run("ip", "link", "add", host.cable, "type", "veth", "peer", "name", INTERFACE, "netns", host.name)
            run("ip", "link", "set", host.cable, "master", BRIDGE, "up")
            run("ip", "-n", host.name, "addr", "add", f"{host.address.partition(':')[0]}/24", "dev", INTERFACE)
            run("ip", "-n", host.name, "link", "set", INTERFACE, "up")
            run("ip", "-n", host.name, "link", "set", "lo", "up")

    def _share_key(self) -> None:
        """Give all hosts one key, in a file that was made on purpose: only with such a one others may be let in."""
        from meshflow.runtime.keys import make_key

        self.key_file.touch(0o600)
        self.key_file.write_text(make_key().text() + "\n", "ascii")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
