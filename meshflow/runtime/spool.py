"""Reports on disk: those that a node has too many of for its memory (`core/kept.py`).

They stand in files without a name: when the process ends, however it does, the kernel removes them, so nothing is left
behind and nobody else can read them. A new file is begun every `_FILE_BYTES`; one whose reports are all dropped is
closed, which gives its space back.

Nothing is synced: a node that dies loses its reports, here as in memory, and its tasks run again elsewhere.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from meshflow import wire
from meshflow.core.messages import Finished, Output, Report, Returned
from meshflow.core.records import State, Value
from meshflow.errors import MeshflowError
from meshflow.runtime.event_log import log_problem

_FILE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class _File:
    descriptor: int
    size_bytes: int = 0
    report_count: int = 0
    """How many of its reports are still needed."""


@dataclass(frozen=True, slots=True)
class _Place:
    file: _File
    offset: int
    size_bytes: int
    stub: Report
    """What is told of the report if it cannot be read back."""


class FileSpool:
    """Keeps reports in the folder that `folder` gives, which is asked for when it is needed first."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._places: dict[int, _Place] = {}
        self._last_number = 0
        self._open: _File | None = None
        """The file that is written to."""
        self._is_in_trouble = False

    def put(self, report: Report) -> int | None:
        """Keep a report; gives its number, or None if the disk does not take it."""
        data = wire.encode(report)
        try:
            place = self._write(data, _stub_of(report))
        except (OSError, MeshflowError) as problem:
            if not self._is_in_trouble:
                log_problem(f"results that wait for an owner stay in memory, the disk does not take them: {problem}")
            self._is_in_trouble = True
            return None
        self._is_in_trouble = False
        self._last_number += 1
        self._places[self._last_number] = place
        return self._last_number

    def _write(self, data: bytes, stub: Report) -> _Place:
        if self._open is None:
            self._open = _File(_nameless(self._folder()))
        file = self._open
        place = _Place(file, file.size_bytes, len(data), stub)
        written = 0
        while written < len(data):
            # At its place, so that what a full disk has cut off is written over by the next one.
            written += os.pwrite(file.descriptor, data[written:], place.offset + written)
        file.size_bytes += len(data)
        file.report_count += 1
        if file.size_bytes >= _FILE_BYTES:
            self._open = None
        return place

    def get(self, number: int) -> Report:
        """The report of that number; if the disk does not give it back, the attempt counts as failed, and says why."""
        place = self._places[number]
        try:
            data = os.pread(place.file.descriptor, place.size_bytes, place.offset)
            return wire.decode(type(place.stub), data)
        except (OSError, MeshflowError) as problem:
            log_problem(f"a result that waited for an owner cannot be read back: {problem}")
            return place.stub

    def drop(self, number: int) -> None:
        """The report of that number is not needed any more."""
        file = self._places.pop(number).file
        file.report_count -= 1
        if not file.report_count:
            os.close(file.descriptor)
            if file is self._open:
                self._open = None

    def close(self) -> None:
        """Let go of all files, and with them of all reports."""
        for number in list(self._places):
            self.drop(number)
        if self._open is not None:
            os.close(self._open.descriptor)
            self._open = None


def _nameless(folder: Path) -> int:
    descriptor, path = tempfile.mkstemp(prefix="spool-", dir=folder)
    os.unlink(path)
    return descriptor


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
