"""Reports and large values on disk: those that a node has too many of for its memory (`core/kept.py`).

They stand in files without a name: when the process ends, however it does, the kernel removes them, so nothing is left
behind and nobody else can read them. A new file is begun every `_FILE_BYTES`; one of which nothing is needed any more
is closed, which gives its space back.

Nothing is synced: a node that dies loses what is here, as it loses its memory, and its tasks run again elsewhere.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, assert_never

from meshflow import wire
from meshflow.core.messages import Finished, Output, Report, Returned
from meshflow.core.records import State, Value
from meshflow.errors import MeshflowError
from meshflow.runtime.event_log import log_problem

_FILE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class _File:
    data: IO[bytes]
    size_bytes: int = 0
    item_count: int = 0
    """How many of its reports and values are still needed."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: _File
    offset: int
    size_bytes: int
    stub: Report | None
    """What is told of the report if it cannot be read back; None: it is a value."""


class FileSpool:
    """Keeps reports and values in the folder that `folder` gives, which is asked for when it is needed first."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._places: dict[int, _Place] = {}
        self._last_number = 0
        self._open: _File | None = None
        """The file that is written to."""
        self._is_in_trouble = False

    def put(self, report: Report) -> int | None:
        """Keep a report; gives its number, or None if the disk does not take it."""
        return self._keep(wire.encode(report), _stub_of(report))

    def put_value(self, data: bytes) -> int | None:
        """Keep a value; gives its number, or None if the disk does not take it."""
        return self._keep(data, None)

    def _keep(self, data: bytes, stub: Report | None) -> int | None:
        try:
            place = self._write(data, stub)
        except (OSError, MeshflowError) as problem:
            if not self._is_in_trouble:
                log_problem(f"results that wait stay in memory, the disk does not take them: {problem}")
            self._is_in_trouble = True
            return None
        self._is_in_trouble = False
        self._last_number += 1
        self._places[self._last_number] = place
        return self._last_number

    def _write(self, data: bytes, stub: Report | None) -> _Place:
        if self._open is None:
            # Where the file system can, it never has a name: not even a kill at this moment leaves one.
            self._open = _File(tempfile.TemporaryFile(dir=self._folder(), buffering=0))  # noqa: SIM115
        file = self._open
        place = _Place(file, file.size_bytes, len(data), stub)
        view = memoryview(data)
        try:
            while view:
                view = view[os.pwrite(file.data.fileno(), view, place.offset + len(data) - len(view)) :]
        except OSError:
            # What was cut off must not fill a disk that is full: the store may be waiting for room on it.
            os.ftruncate(file.data.fileno(), place.offset)
            raise
        file.size_bytes += len(data)
        file.item_count += 1
        if file.size_bytes >= _FILE_BYTES:
            self._open = None
        return place

    def get(self, number: int) -> Report:
        """The report of that number; if the disk does not give it back, the attempt counts as failed, and says why."""
        place = self._places[number]
        assert place.stub is not None, number
        try:
            data = os.pread(place.file.data.fileno(), place.size_bytes, place.offset)
            return wire.decode(type(place.stub), data)
        except (OSError, MeshflowError) as problem:
            log_problem(f"a result that waited for an owner cannot be read back: {problem}")
            return place.stub

    def take_value(self, number: int) -> bytes | None:
        """The value of that number, which is not kept any more; None if the disk does not give it back."""
        place = self._places[number]
        try:
            data = os.pread(place.file.data.fileno(), place.size_bytes, place.offset)
            problem = f"{len(data)} of {place.size_bytes} bytes are there" if len(data) < place.size_bytes else ""
        except OSError as error:
            data, problem = b"", str(error)
        self.drop(number)
        if problem:
            log_problem(f"a large value that waited for the store cannot be read back: {problem}")
            return None
        return data

    def drop(self, number: int) -> None:
        """The report of that number is not needed any more."""
        file = self._places.pop(number).file
        file.item_count -= 1
        if not file.item_count:
            file.data.close()
            if file is self._open:
                self._open = None

    def close(self) -> None:
        """Let go of all files, and with them of all that is in them."""
        for number in list(self._places):
            self.drop(number)
        if self._open is not None:
            self._open.data.close()
            self._open = None


def _stub_of(report: Report) -> Report:
    match report:
        case Finished():
            reason = "its result waited on the disk of its node, which does not give it back"
            return replace(report, state=State.FAILED, value=Value(), limit=None, reason=reason)
        case Output():
            return replace(report, chunk=replace(report.chunk, data=b""))
        case Returned():
            return report
        case _:
            assert_never(report)
