"""How many of the calls that wait make a batch."""

import pytest

from meshflow.core.calling import MAX_BYTES, MAX_CALLS, Call, Function, Line

SHORT = Function("digest", "short")


def line_of(count: int, function: Function = SHORT, data: bytes = b"x") -> Line:
    line = Line(function)
    line.waiting.extend(Call(function, data) for _ in range(count))
    return line


def grown(count: int, call_s: float = 1e-5) -> Line:
    """A line whose calls have come back often, and took so long."""
    line = line_of(count)
    for call_count in (1, 4, 16, 64, 256, 1024):
        line.took(call_count * call_s, call_count)
    return line


def test_nothing_is_taken_where_nothing_waits() -> None:
    assert line_of(0).take(4) == []


def test_calls_go_one_by_one_until_one_was_measured() -> None:
    line = line_of(100)
    assert (len(line.take(1)), line.batch_count(1)) == (1, 99)


def test_calls_are_taken_in_order() -> None:
    line = grown(1000)
    calls = list(line.waiting)
    assert line.take(1) + line.take(1) == calls[: 1000 - len(line.waiting)]


def test_a_batch_is_about_so_much_work_as_is_aimed_at() -> None:
    line = grown(100_000, call_s=1e-4)
    assert len(line.take(1)) == 50


def test_a_batch_is_at_most_four_times_as_large_as_one_that_came_back() -> None:
    line = line_of(100_000)
    line.took(1e-6, 1)
    assert len(line.take(1)) == 4
    line.took(4e-6, 4)
    assert len(line.take(1)) == 16


def test_a_batch_has_no_more_calls_than_the_limit_even_if_they_take_no_time() -> None:
    line = grown(100_000, call_s=0.0)
    assert len(line.take(1)) == MAX_CALLS


def test_one_long_call_makes_batches_small_at_once() -> None:
    line = grown(100_000)
    line.took(1.0, 1)
    assert len(line.take(1)) == 1


def test_after_a_long_call_batches_grow_again_only_with_those_that_come_back() -> None:
    line = grown(100_000)
    line.took(0.002, 1)
    for _ in range(30):
        line.took(1e-6, 1)
    assert len(line.take(1)) == 4


def test_short_calls_make_batches_large_by_and_by() -> None:
    line = line_of(100_000)
    line.took(0.0045, 1)
    line.took(1e-5, 1)
    assert len(line.take(1)) == 1
    for _ in range(20):
        line.took(1e-5, 1)
    assert len(line.take(1)) == 4


@pytest.mark.parametrize(("slots", "expected"), [(0, 50), (1, 50), (2, 25), (100, 1)])
def test_what_is_left_is_shared_among_all_slots_twice(slots: int, expected: int) -> None:
    line = grown(100)
    assert len(line.take(slots)) == expected


def test_a_batch_takes_no_more_arguments_than_the_limit_but_a_single_call_may() -> None:
    line = grown(0)
    sizes = [MAX_BYTES - 1, 1, 1, 2 * MAX_BYTES, 1, *[0] * 10]
    line.waiting.extend(Call(SHORT, bytes(size)) for size in sizes)
    assert [len(call.data) for call in line.take(1)] == sizes[:2]
    assert [len(call.data) for call in line.take(1)] == [1]
    assert [len(call.data) for call in line.take(1)] == [2 * MAX_BYTES]
    assert len(line.take(1)) > 1


def test_where_results_are_large_batches_are_as_large_as_was_made_of_one() -> None:
    line = grown(100_000)
    line.was_cut(10)
    assert len(line.take(1)) == 10
    line.took(1e-4, 10)
    assert len(line.take(1)) == 40


def test_a_call_that_is_to_go_by_itself_does() -> None:
    line = grown(9)
    calls = list(line.waiting)
    calls[1].is_alone = True
    line.waiting.extend(Call(SHORT, b"") for _ in range(100))
    assert line.take(1) == calls[:1]
    assert line.take(1) == calls[1:2]
    assert line.take(1)[:7] == calls[2:]


@pytest.mark.parametrize(
    "function", [Function("digest", "timed", timeout_s=1.0), Function("digest", "once", at_most_once=True)]
)
def test_calls_with_a_timeout_or_that_are_made_once_go_by_themselves(function: Function) -> None:
    line = line_of(100, function)
    line.took(1e-6, 1)
    assert (len(line.take(1)), line.batch_count(1)) == (1, 99)


def test_cancelled_calls_are_passed_over() -> None:
    line = grown(4)
    calls = list(line.waiting)
    calls[0].is_cancelled = calls[2].is_cancelled = True
    assert line.take(1) == [calls[1], calls[3]]
    assert line.take(1) == []


def test_there_is_a_batch_to_come_as_long_as_a_call_waits() -> None:
    line = grown(1000, call_s=1e-3)
    assert line.batch_count(1) == 200
    while line.waiting:
        assert 1 <= line.batch_count(1) <= len(line.waiting)
        assert line.take(1)
    assert line.batch_count(1) == 0


def test_a_line_is_idle_once_nothing_waits_and_nothing_is_out() -> None:
    line = line_of(1)
    assert not line.is_idle
    line.take(1)
    line.out_count += 1
    assert not line.is_idle
    line.out_count -= 1
    assert line.is_idle
