"""Generations of kept results, and how they go."""

import random

from meshflow.core.caching import GENERATIONS, PERIOD_S, generation, is_generation, keep, look_up, outdated
from meshflow.core.cleaning import Cleaning
from meshflow.core.requests import CreateRun, ListRuns, Request
from meshflow.ids import new_run_id
from meshflow.store.memory import MemoryStore

NOW = 100 * PERIOD_S


def kept(store: MemoryStore, key: str, at: float) -> None:
    store.perform(keep(key, b"data", at))


def found(store: MemoryStore, key: str, at: float) -> list[object]:
    return list(store.perform(look_up(key, at)))


def clean(store: MemoryStore, at: float, *, clears_cache: bool = False, is_dry: bool = False) -> Cleaning:
    cleaning = Cleaning([], at, clears_cache=clears_cache, is_dry=is_dry)
    while requests := cleaning.requests():
        cleaning.answered(store.perform(requests))
    return cleaning


def test_a_result_is_found_in_the_period_in_which_it_was_kept_and_in_the_next() -> None:
    store = MemoryStore()
    kept(store, "k", NOW)
    assert found(store, "k", NOW + PERIOD_S - 1) == [b"data", None]
    assert found(store, "k", NOW + PERIOD_S) == [None, b"data"]
    assert found(store, "k", NOW + 2 * PERIOD_S) == [None, None]
    assert found(store, "other", NOW) == [None, None]


def test_a_cleaning_removes_generations_that_nobody_looks_into_any_more() -> None:
    store = MemoryStore()
    for number in range(4):
        kept(store, f"k{number}", NOW + number * PERIOD_S)
    cleaning = clean(store, NOW + 3 * PERIOD_S)
    (left,) = store.perform([ListRuns(parent=GENERATIONS)])
    assert isinstance(left, tuple)
    assert sorted(record.run for record in left) == [generation(NOW + number * PERIOD_S) for number in (2, 3)]
    assert (cleaning.run_count, cleaning.row_count, cleaning.size_bytes) == (0, 2, 8)
    assert clean(store, NOW + 30 * PERIOD_S, is_dry=True).row_count == 0


def test_all_are_removed_if_that_is_asked_for() -> None:
    store = MemoryStore()
    kept(store, "k", NOW)
    assert clean(store, NOW, clears_cache=True).row_count == 1
    assert found(store, "k", NOW) == [None, None]
    kept(store, "k", NOW)
    assert found(store, "k", NOW) == [b"data", None]


def test_no_run_is_taken_for_a_generation() -> None:
    assert is_generation(generation(NOW))
    rng = random.Random(1)
    assert len(generation(NOW)) == len(GENERATIONS) == len(new_run_id(rng)) == 24
    assert not any(is_generation(new_run_id(rng)) for _ in range(100))
    assert is_generation(generation(-5.0))
    assert outdated([None, "x"], NOW, is_all=True) == []


def test_to_keep_a_result_is_to_make_its_generation_first() -> None:
    first: Request = keep("k", b"", NOW)[0]
    assert isinstance(first, CreateRun)
    assert first.record.state.is_final
    assert first.record.parent == GENERATIONS
