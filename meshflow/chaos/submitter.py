"""Submits runs, in a process of its own on the host of the submitter, so that it can be killed and cut off like any.

    python -m meshflow.chaos.submitter

reads `{"mark": 1, "kind": "sums", "seed": 5}` from stdin and prints `{"mark": 1, "run": "..."}` or `{"mark": 1,
"error": "..."}`, line by line, one after the other.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from meshflow.chaos.history import Accepted, Event, Refused
from meshflow.chaos.hosts import ChaosFailed, Host
from meshflow.client import Client
from meshflow.errors import MeshflowError

WORKFLOWS = Path(__file__).parent / "workflows"


class Submitter:
    """The process, as the game sees it. What comes of each submission goes into `history`, in a thread of its own."""

    def __init__(self, host: Host, joins: Sequence[str], log: Path, history: list[Event]) -> None:
        self._host = host
        self._joins = ",".join(joins)
        self._log = log
        self._history = history
        self._lock = threading.Lock()
        self._waiting: dict[int, None] = {}
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread()

    def start(self) -> None:
        """Start the process, again if need be."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._host.prefix, sys.executable, "-P", "-m", "meshflow.chaos.submitter"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**self._host.environment, "MESHFLOW_MESH__JOIN": self._joins},
                cwd=self._host.folder,
                text=True,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="submitter", daemon=True)
        self._reader.start()

    def submit(self, mark: int, kind: str, seed: int) -> None:
        """Have a run submitted; does not wait for it.

        Raises:
            ChaosFailed: the process has ended by itself.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        with self._lock:
            self._waiting[mark] = None
        try:
            self._process.stdin.write(json.dumps({"mark": mark, "kind": kind, "seed": seed}) + "\n")
            self._process.stdin.flush()
        except OSError as problem:
            raise ChaosFailed(f"the client that submits has ended by itself; see {self._log}") from problem

    def is_idle(self) -> bool:
        """Whether it is known of every submission what came of it."""
        with self._lock:
            return not self._waiting

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            assert self._process.stdin is not None
            with suppress(OSError):  # what is in its buffer cannot be written any more
                self._process.stdin.close()
            self._process = None

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                if not line.endswith("\n"):
                    break  # it died while it wrote
                said = json.loads(line)
                at = time.monotonic()
                if "run" in said:
                    self._end(Accepted(at, said["mark"], said["run"]))
                else:
                    self._end(Refused(at, said["mark"], said["error"]))
        with self._lock:
            left = list(self._waiting)
        for mark in left:
            self._end(Refused(time.monotonic(), mark, "the client died"))

    def _end(self, event: Accepted | Refused) -> None:
        with self._lock:
            if self._waiting.pop(event.mark, 0) is None:
                self._history.append(event)


def main() -> None:
    """Submit what stdin says."""
    client: Client | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        said = {"mark": asked["mark"]}
        try:
            client = client or Client()
            arguments = {"seed": asked["seed"], "mark": asked["mark"]}
            said["run"] = client.submit(WORKFLOWS / f"{asked['kind']}.py", arguments, keep_data=True).id
        except MeshflowError as problem:
            said["error"] = f"{type(problem).__name__}: {problem}"
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
