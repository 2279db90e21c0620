"""When seeds are contacted."""

import math

from meshflow.core.seeds import MAX_SEEDS, Seeds


def test_a_seed_is_due_at_once() -> None:
    seeds = Seeds(0.5, 3.0)
    assert seeds.next_at() == math.inf
    seeds.add(["a", "b"], now=7.0)
    assert seeds.next_at() == 7.0
    assert seeds.due(7.0) == ["a", "b"]


def test_each_contact_doubles_the_time_to_the_next_up_to_a_limit() -> None:
    seeds = Seeds(0.5, 3.0)
    seeds.add(["a"], now=0.0)
    waits, now = [], 0.0
    for _ in range(5):
        seeds.wait("a", now)
        waits.append(seeds.next_at() - now)
        now = seeds.next_at()
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_a_seed_that_is_a_member_is_looked_at_again_later_and_then_without_delay() -> None:
    seeds = Seeds(0.5, 3.0)
    seeds.add(["a"], now=0.0)
    seeds.wait("a", 0.0)
    seeds.wait("a", 0.5)
    seeds.rest("a", 1.0)
    assert seeds.due(3.9) == []
    assert seeds.due(4.0) == ["a"]
    seeds.wait("a", 4.0)
    assert seeds.next_at() == 4.5


def test_naming_a_seed_again_contacts_it_at_once() -> None:
    seeds = Seeds(0.5, 3.0)
    seeds.add(["a"], now=0.0)
    seeds.wait("a", 0.0)
    seeds.add(["a"], now=0.1)
    assert seeds.due(0.1) == ["a"]


def test_there_is_a_limit_to_the_number_of_seeds() -> None:
    seeds = Seeds(0.5, 3.0)
    seeds.add([str(number) for number in range(MAX_SEEDS + 5)], now=0.0)
    assert len(seeds.due(0.0)) == MAX_SEEDS
