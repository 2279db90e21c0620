"""Reports on disk: they come back as they were, take no name and no space for longer than needed, and no memory."""

import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshflow.core.kept import Kept
from meshflow.core.messages import Output, Report, Returned
from meshflow.core.outbox import Outbox
from meshflow.core.records import State, Value
from meshflow.core.requests import WriteOutput
from meshflow.runtime import spool as module
from meshflow.runtime.spool import FileSpool
from tests.core.builders import ANN, RUN, attempt, finished


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FileSpool]:
    """An empty spool."""
    spool = FileSpool(lambda: tmp_path)
    yield spool
    spool.close()


def refuse(*_: object) -> bytes:
    """What a broken disk says."""
    raise OSError(5, "Input/output error")


def result(number: int, size_bytes: int = 10_000) -> Report:
    """An attempt that ended with so many bytes."""
    return finished(attempt(number), value=Value(bytes([number % 251]) * size_bytes))


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def test_reports_of_every_kind_come_back_as_they_were(spool: FileSpool, tmp_path: Path) -> None:
    reports = [
        result(1),
        Output(attempt(2), WriteOutput(RUN, "a", 1, "stdout", 0, bytes(5000), 2.0)),
        Returned(attempt(3), lacks_code=True),
    ]
    numbers = [spool.put(report) for report in reports]
    assert [spool.get(number or 0) for number in numbers] == reports
    assert list(tmp_path.iterdir()) == [], "files without a name go with their process"


def test_files_are_closed_when_nothing_in_them_is_needed(spool: FileSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_BYTES", 50_000)
    before = descriptors()
    numbers = [spool.put(result(number)) or 0 for number in range(20)]
    assert descriptors() == before + 4
    for number in numbers[:10]:
        spool.drop(number)
    assert descriptors() == before + 2
    assert [spool.get(number) for number in numbers[10:]] == [result(number) for number in range(10, 20)]
    for number in numbers[10:]:
        spool.drop(number)
    assert descriptors() == before
    assert spool.get(spool.put(result(7)) or 0) == result(7)


def test_a_folder_that_cannot_be_written_to_is_said_once_and_nothing_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "missing"
    spool = FileSpool(lambda: folder)
    assert [spool.put(result(number)) for number in range(3)] == [None, None, None]
    assert len(caplog.records) == 1
    assert "stay in memory" in caplog.text
    folder.mkdir()
    assert spool.get(spool.put(result(1)) or 0) == result(1)
    spool.close()


def test_a_full_disk_cuts_nothing_that_was_kept(spool: FileSpool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = spool.put(result(1)) or 0
    with monkeypatch.context() as patch:
        pwrite, calls = os.pwrite, [0]

        def full(descriptor: int, data: bytes, offset: int) -> int:
            calls[0] += 1
            if calls[0] == 2:
                raise OSError(28, "No space left on device")
            return pwrite(descriptor, data[:100], offset)

        patch.setattr(os, "pwrite", full)
        assert spool.put(result(2)) is None
    third = spool.put(result(3)) or 0
    assert (spool.get(first), spool.get(third)) == (result(1), result(3))


def test_what_cannot_be_read_back_counts_as_failed_and_says_why(
    spool: FileSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = spool.put(result(1)) or 0
    monkeypatch.setattr(os, "pread", lambda *_: b"")
    report = spool.get(number)
    assert report.attempt == attempt(1)
    assert report == finished(
        attempt(1),
        state=State.FAILED,
        value=Value(),
        reason="its result waited on the disk of its node, which does not give it back",
    )


def test_a_value_comes_back_once_and_its_space_is_given_back(spool: FileSpool) -> None:
    before = descriptors()
    values = [os.urandom(100_000), b"", bytes(20_000_000)]
    numbers = [spool.put_value(value) or 0 for value in values]
    assert descriptors() > before
    assert [spool.take_value(number) for number in numbers] == values
    assert descriptors() == before


def test_a_value_that_the_disk_does_not_take_leaves_nothing_on_it(
    spool: FileSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = spool.put(result(1)) or 0
    (file,) = (place.file for place in spool._places.values())
    pwrite, calls = os.pwrite, [0]

    def full(descriptor: int, data: bytes, offset: int) -> int:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data[:1_000_000], offset)

    monkeypatch.setattr(os, "pwrite", full)
    assert spool.put_value(bytes(2_000_000)) is None
    assert os.fstat(file.data.fileno()).st_size == file.size_bytes < 20_000
    assert spool.get(kept) == result(1)


@pytest.mark.parametrize("trouble", [lambda *_: b"short", refuse])
def test_a_value_that_cannot_be_read_back_is_none_and_is_said(
    spool: FileSpool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: Callable[..., bytes]
) -> None:
    number = spool.put_value(bytes(10_000)) or 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", trouble)
        assert spool.take_value(number) is None
    assert "cannot be read back" in caplog.text


def test_20000_results_whose_owner_is_gone_take_no_more_memory_than_allowed(spool: FileSpool) -> None:
    """200 MB of results; 64 MB without the spool would be all that fits."""
    outbox = Outbox(RUN, ANN, 1, 1, kept=Kept(spool, 8 * 1024 * 1024))
    tracemalloc.start()
    for number in range(20_000):
        outbox.add(result(number))
        if number % 1000 == 0:
            outbox.due(float(number))
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 30_000_000, used
    assert peak < 60_000_000, peak
    delivered = 0
    while not outbox.is_empty:
        for first, reports in outbox.due(1e9 + delivered):
            assert list(reports) == [result(number) for number in range(first - 1, first - 1 + len(reports))]
            delivered += len(reports)
            outbox.acknowledge(first + len(reports))
    assert delivered == 20_000
