"""Rows of a mapped task: which of them go through the store, and what the owner is told in the end."""

from collections.abc import Callable
from typing import cast

from meshflow.core.attempts import Attempt
from meshflow.core.messages import Finished
from meshflow.core.records import State, Value
from meshflow.core.requests import Refused
from meshflow.ids import RunId
from meshflow.runtime.large_rows import keep_rows
from meshflow.runtime.large_values import LargeValues

RUN = RunId("0123456789abcdef01234567/main:1")
KB = 1024


class Putting:
    """Stands for LargeValues; keeps when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, Callable[[Value | Refused], None]]] = []
        self.told: list[Finished] = []

    def put(self, run: RunId, key: str, data: bytes, then: Callable[[Value | Refused], None]) -> None:
        assert run == RUN
        self.asked.append((key, data, then))

    def keep(self, *rows: bytes) -> Finished:
        finished = Finished(
            Attempt(RUN, 7, 2, 3), State.COMPLETED, Value(b"[]"), None, "", 1.0, 2.0, tuple(map(Value, rows))
        )
        keep_rows(cast(LargeValues, self), finished, 64 * KB, self.told.append)
        return finished


def test_small_rows_travel_with_the_report() -> None:
    putting = Putting()
    finished = putting.keep(b"a", b"x" * 64 * KB)
    assert (putting.told, putting.asked) == ([finished], [])


def test_a_large_row_goes_through_the_store_and_keeps_its_place() -> None:
    putting = Putting()
    large = b"x" * (64 * KB + 1)
    putting.keep(b"a", large, b"b")
    [(key, data, then)] = putting.asked
    assert (key, data, putting.told) == ("value/0123456789abcdef01234567/main:1/7/2.3/1", large, [])
    then(Value(b"", key, len(large)))
    [told] = putting.told
    assert told.rows == (Value(b"a"), Value(b"", key, len(large)), Value(b"b"))


def test_of_many_rows_the_largest_go_until_the_rest_fits() -> None:
    putting = Putting()
    putting.keep(*(bytes([size]) * (size * KB) for size in range(1, 65)), *(b"." * 64 * KB for _ in range(40)))
    assert {len(data) for _, data, _ in putting.asked} == {64 * KB}
    for key, data, then in putting.asked:
        then(Value(b"", key, len(data)))
    [told] = putting.told
    assert told.rows is not None
    assert 4096 * KB - 64 * KB < sum(len(row.inline) for row in told.rows) <= 4096 * KB


def test_a_row_that_cannot_be_kept_fails_the_split() -> None:
    putting = Putting()
    putting.keep(b"x" * 65 * KB, b"y" * 65 * KB)
    (_, _, first), (_, _, second) = putting.asked
    first(Refused("the run was removed"))
    assert not putting.told
    second(Value(b"", "k", 1))
    [told] = putting.told
    assert (told.state, told.value, told.rows) == (State.FAILED, Value(), None)
    assert told.reason == "a row of its list cannot be kept: the run was removed"
