"""A table of deadlines."""

import math

from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.deadlines import Deadlines


def test_nothing_is_due_where_nothing_was_set() -> None:
    table: Deadlines[str] = Deadlines()
    assert table.next_at() == math.inf
    assert table.pop_due(1e9) == []


def test_what_is_due_comes_earliest_first_and_once() -> None:
    table: Deadlines[str] = Deadlines()
    for key, at in (("late", 9.0), ("second", 2.0), ("first", 1.0), ("also second", 2.0)):
        table.set(key, at)
    assert table.next_at() == 1.0
    assert table.pop_due(2.0) == ["first", "second", "also second"]
    assert table.pop_due(2.0) == []
    assert len(table) == 1


def test_setting_again_moves_a_deadline_either_way() -> None:
    table: Deadlines[str] = Deadlines()
    table.set("a", 5.0)
    table.set("a", 1.0)
    assert table.next_at() == 1.0
    table.set("a", 7.0)
    assert table.pop_due(6.0) == []
    assert table.pop_due(7.0) == ["a"]


def test_deadlines_that_move_all_the_time_take_no_more_room() -> None:
    table: Deadlines[str] = Deadlines()
    for at in range(10_000):
        table.set("a", float(at))
        table.set("b", float(-at))
    assert len(table._heap) < 100
    assert table.pop_due(1e9) == ["b", "a"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 50)), max_size=300))
def test_it_does_what_a_plain_table_would_do(steps: list[tuple[str, int | None]]) -> None:
    """None drops; a number sets."""
    table: Deadlines[str] = Deadlines()
    plain: dict[str, int] = {}
    for key, at in steps:
        if at is None:
            table.drop(key)
            plain.pop(key, None)
        else:
            table.set(key, at)
            plain[key] = at
        assert table.next_at() == min(plain.values(), default=math.inf)
        assert len(table) == len(plain)
    assert sorted(table.pop_due(25)) == sorted(key for key, at in plain.items() if at <= 25)
