"""Large values wait for the store in order, without more memory than they may take, and each is put once."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meshflow.core.kept import Kept
from meshflow.core.records import Value
from meshflow.core.requests import PutBlob, Refused, Request
from meshflow.ids import RunId
from meshflow.runtime.large_values import LargeValues
from meshflow.runtime.spool import FileSpool
from meshflow.runtime.storage import Refuse, Reply, Storage

RUN = RunId("0123456789abcdef01234567/main:1")
MB = 1_000_000
MAX_KEPT_BYTES = 20 * MB


class SlowStorage(Storage):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[PutBlob, Reply]] = []

    def ask(self, requests: Sequence[Request], reply: Reply, refuse: Refuse | None = None) -> None:
        """Note it."""
        (request,) = requests
        assert isinstance(request, PutBlob)
        self.asked.append((request, reply))


class Values:
    """Large values, and what became of them."""

    def __init__(self, spool: FileSpool) -> None:
        self.loop = asyncio.new_event_loop()
        self.storage = SlowStorage()
        self.kept = Kept(spool, MAX_KEPT_BYTES)
        self.then: list[tuple[int, Value | Refused]] = []
        self._large = LargeValues(self.storage, self.kept, self.loop)

    def put(self, number: int, size_bytes: int = 6 * MB) -> None:
        """Put a value of that number."""
        self._large.put(RUN, str(number), value(number, size_bytes), lambda then: self.then.append((number, then)))

    @property
    def asked_bytes(self) -> int:
        """What is with the store."""
        return sum(len(request.data) for request, _ in self.storage.asked)

    def answer(self) -> PutBlob:
        """Let the store take the next one; gives what it took."""
        request, reply = self.storage.asked.pop(0)
        reply([True])
        self.turn()
        return request

    def turn(self) -> None:
        """Let the loop do what there is to do."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))


def value(number: int, size_bytes: int = 6 * MB) -> bytes:
    """The value of that number."""
    return bytes([number]) * size_bytes


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FileSpool]:
    """An empty spool."""
    spool = FileSpool(lambda: tmp_path)
    yield spool
    spool.close()


@pytest.fixture
def values(spool: FileSpool) -> Iterator[Values]:
    """Nothing was put yet."""
    values = Values(spool)
    yield values
    values.loop.close()


def test_all_come_to_the_store_as_they_were_in_their_order_and_once(values: Values) -> None:
    for number in range(10):
        values.put(number)
    assert (values.asked_bytes, values.kept.memory_bytes) == (6 * MB, 18 * MB), "the rest is on disk"
    taken = []
    for _ in range(10):
        taken.append(values.answer())
        assert values.asked_bytes <= 6 * MB
    assert taken == [PutBlob(RunId(RUN.split("/")[0]), str(number), value(number)) for number in range(10)]
    assert values.then == [(number, Value(b"", str(number), 6 * MB)) for number in range(10)]
    assert (values.storage.asked, values.kept.memory_bytes) == ([], 0)


def test_what_comes_later_does_not_overtake_though_there_is_room_for_it(values: Values) -> None:
    for number, size_bytes in enumerate((6 * MB, 6 * MB, MB, MB)):
        values.put(number, size_bytes)
    assert [request.key for request, _ in values.storage.asked] == ["0"]
    values.answer()
    assert [request.key for request, _ in values.storage.asked] == ["1", "2", "3"], "small ones go together"


def test_one_that_is_larger_than_all_that_may_wait_goes_to_the_store_alone(values: Values) -> None:
    values.put(1, 2 * MAX_KEPT_BYTES)
    assert (values.asked_bytes, values.kept.memory_bytes) == (2 * MAX_KEPT_BYTES, 0)


def test_what_the_store_refuses_holds_nobody_up(values: Values) -> None:
    for number in range(2):
        values.put(number)
    _, reply = values.storage.asked.pop()
    reply([Refused("too large")])
    values.turn()
    values.answer()
    assert values.then == [(0, Refused("too large")), (1, Value(b"", "1", 6 * MB))]


def test_one_that_the_disk_does_not_give_back_is_refused_and_holds_nobody_up(
    values: Values, spool: FileSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        values.put(number)
    monkeypatch.setattr(spool, "take_value", spool.drop)
    for _ in range(4):
        values.answer()
    why = Refused("it waited on the disk of its node, which does not give it back")
    assert values.then[4:] == [(4, why), (5, why)]
    assert values.storage.asked == []


def test_without_a_disk_all_wait_in_memory(values: Values, monkeypatch: pytest.MonkeyPatch, spool: FileSpool) -> None:
    monkeypatch.setattr(spool, "put_value", lambda data: None)
    for number in range(10):
        values.put(number)
    assert values.kept.memory_bytes == 9 * 6 * MB
    assert [values.answer().data for _ in range(10)] == [value(number) for number in range(10)]
