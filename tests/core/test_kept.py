"""Reports that wait: in memory up to a bound, the rest in the spool, all delivered in their order."""

from dataclasses import replace

from meshflow.core.asks import Asks
from meshflow.core.kept import Kept, Spooled, size_of
from meshflow.core.messages import Finished, Output, Report, Reports, Returned
from meshflow.core.records import Value
from meshflow.core.requests import WriteOutput
from meshflow.core.worker import Worker
from meshflow.core.worker_settings import WorkerSettings
from tests.core.builders import ANN, RUN, attempt, finished
from tests.core.working import Working, sent

KIB = 1024


class DictSpool:
    """A spool that has room for so many reports and values."""

    def __init__(self, room: int = 1000) -> None:
        self.reports: dict[int, Report] = {}
        self.values: dict[int, bytes] = {}
        self._room = room
        self._last = 0

    def put(self, report: Report) -> int | None:
        """Keep it, if there is room."""
        if len(self.reports) >= self._room:
            return None
        self._last += 1
        self.reports[self._last] = report
        return self._last

    def get(self, number: int) -> Report:
        """Give it."""
        return self.reports[number]

    def drop(self, number: int) -> None:
        """Forget it."""
        del self.reports[number]

    def put_value(self, data: bytes) -> int | None:
        """Keep it, if there is room."""
        if len(self.reports) + len(self.values) >= self._room:
            return None
        self._last += 1
        self.values[self._last] = data
        return self._last

    def take_value(self, number: int) -> bytes | None:
        """Give and forget it."""
        return self.values.pop(number)


def result(number: int, size_bytes: int = 10 * KIB) -> Finished:
    """An attempt that ended with so many bytes."""
    return finished(attempt(number), value=Value(bytes([number]) * size_bytes))


def test_what_does_not_fit_into_memory_is_spooled_and_comes_back_the_same() -> None:
    spool = DictSpool()
    kept = Kept(spool, max_bytes=25 * KIB)
    items = [kept.put(result(number), 10 * KIB) for number in range(5)]
    assert [isinstance(item, Spooled) for item in items] == [False, False, True, True, True]
    assert (kept.memory_bytes, len(spool.reports)) == (20 * KIB, 3)
    assert [kept.get(item) for item in items] == [result(number) for number in range(5)]
    for item in items:
        kept.drop(item, 10 * KIB)
    assert (kept.memory_bytes, spool.reports) == (0, {})


def test_values_share_the_bound_of_the_reports() -> None:
    spool = DictSpool(room=1)
    kept = Kept(spool, max_bytes=25 * KIB)
    report = kept.put(result(1), 20 * KIB)
    values = [bytes([number]) * 10 * KIB for number in range(3)]
    items = [kept.put_value(value) for value in values[:2]]
    assert [isinstance(item, int) for item in items] == [True, False], "the spool is full then"
    assert kept.memory_bytes == 30 * KIB
    kept.drop(report, 20 * KIB)
    items.append(kept.put_value(values[2]))
    assert isinstance(items[2], bytes), "it fits"
    assert [kept.take_value(item) for item in items] == values
    assert (kept.memory_bytes, spool.values) == (0, {})


def test_small_reports_stay_in_memory_for_spooling_would_save_nothing() -> None:
    kept = Kept(DictSpool(), max_bytes=0)
    for report in (Returned(attempt(0)), result(1, 100), finished(attempt(2))):
        assert kept.put(report, size_of(report)) == report


def test_what_the_spool_does_not_take_stays_in_memory() -> None:
    kept = Kept(DictSpool(room=1), max_bytes=0)
    items = [kept.put(result(number), 10 * KIB) for number in range(3)]
    assert [isinstance(item, Spooled) for item in items] == [True, False, False]
    assert kept.memory_bytes == 20 * KIB


def test_without_a_spool_everything_is_in_memory() -> None:
    kept = Kept()
    assert kept.put(result(0), 10 * KIB) == result(0)


def test_a_worker_whose_owner_is_silent_delivers_everything_in_order_in_the_end() -> None:
    """Results and output of a hundred tasks; all that is beyond two of them waits in the spool."""
    spool = DictSpool()
    working = Working(slots=100)
    working.worker = Worker(replace(WorkerSettings(slots=100), max_kept_bytes=20 * KIB), Asks(), spool)
    working.run(*range(100))
    output = [Output(attempt(n), WriteOutput(RUN, f"task {n}", 1, "stdout", 0, bytes(2 * KIB))) for n in range(100)]
    for number in range(100):
        working.worker.output(attempt(number), output[number].chunk)
        working.worker.finished(result(number), 0.1)
    assert len(spool.reports) > 190
    messages = [each for each in sent(working.worker.flush(0.2), Reports) if isinstance(each, Reports)]
    told = [report for message in messages for report in message.reports]
    assert told == [report for number in range(100) for report in (output[number], result(number))]
    working.worker.acknowledged(ANN, RUN, 101)
    assert len(spool.reports) == 100
    working.worker.acknowledged(ANN, RUN, 201)
    assert (spool.reports, working.worker.is_idle) == ({}, True)


def test_a_run_that_has_ended_leaves_nothing_in_the_spool() -> None:
    spool = DictSpool()
    working = Working()
    working.worker = Worker(replace(WorkerSettings(slots=2), max_kept_bytes=0), Asks(), spool)
    working.run(0)
    working.worker.finished(result(0), 0.1)
    assert len(spool.reports) == 1
    working.worker.located(RUN, None)
    assert spool.reports == {}
