"""The surroundings of a task without a mesh: real data and signal, a document in memory, and a run that says yes."""

import os
import select
from typing import Any

from meshflow.models.datastore import DataStoreDocument, DataStoreDocumentSection
from meshflow.models.signal import Request, Response

_pidfd_open = os.pidfd_open
"""Kept, for a test may take it away."""

_PATIENCE_S = 10.0
"""Far more than a kernel needs to end a process, far less than the commands of the tests take."""


class FakeRun:
    """Answers the signals of a task, keeps what was asked, and can ask the task to stop."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Any]] = []
        self._stop_reader, self._stop_writer = os.pipe()

    def send(self, request: Request) -> Response:
        assert request.action == "start_dag"
        self.started.append((request.payload["name"], request.payload["data"]))
        return Response(True, request.uid, payload={"dag_name": f"{request.payload['name']}:{len(self.started)}"})

    def stop_fileno(self) -> int:
        return self._stop_reader

    def stop(self) -> None:
        os.write(self._stop_writer, b"!")

    def close(self) -> None:
        os.close(self._stop_reader)
        os.close(self._stop_writer)


class FakeDocument(DataStoreDocument):
    """A document whose keys have no levels."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def get(
        self, key: str, default: Any = None, *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data
    ) -> Any:
        return self.fields.get(key, default)

    def set(self, key: str, value: Any, *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data) -> bool:
        self.fields[key] = value
        return True


class Watched:
    """A process that is not our child, of which we can tell whether it has ended, even if nobody reaps it."""

    def __init__(self, pid: int) -> None:
        self._pidfd = _pidfd_open(pid)

    def is_running(self) -> bool:
        return not self._ended_within(0)

    def has_ended(self) -> bool:
        """Patient, since a process closes its files a moment before it counts as ended."""
        return self._ended_within(_PATIENCE_S)

    def _ended_within(self, limit_s: float) -> bool:
        return bool(select.select([self._pidfd], [], [], limit_s)[0])

    def close(self) -> None:
        os.close(self._pidfd)
