"""Handles, and the dag that comes from what a workflow function called."""

from collections import namedtuple
from contextlib import suppress
from typing import Any

import pytest

from meshflow.core.graph import Edge
from meshflow.errors import UsageError
from meshflow.models.dag import Dag
from meshflow.models.payload import ValueRefused, dumps
from meshflow.models.task import BaseTask
from meshflow.models.wiring import Handle, ValueOf, Wiring, current, recording, replaced

Pair = namedtuple("Pair", "left right")


def test_the_dag_is_the_one_that_would_be_made_by_hand() -> None:
    a, b, c = (BaseTask(name) for name in "abc")
    wiring = Wiring("main")
    wiring.add(a, [])
    wiring.add(b, [])
    wiring.add(c, ["a", "b"])
    by_hand = Dag("main", queue="q")
    by_hand.define({a: c, b: c})
    dag = wiring.dag("q")
    assert dag.tasks == by_hand.tasks
    assert dag.spec() == by_hand.spec()
    assert dag.spec().edges == (Edge(0, 1, None), Edge(2, 1, None))


def test_tasks_without_edges_are_in_the_dag_too() -> None:
    wiring = Wiring("main")
    wiring.add(BaseTask("a"), [])
    assert [task.name for task in wiring.dag("dag").tasks] == ["a"]
    assert Wiring("empty").dag("dag").tasks == ()


def test_a_name_that_is_taken_gets_the_next_number_that_is_free() -> None:
    wiring = Wiring("main")
    names = []
    for name in ("fit", "fit_2", "fit", "fit", "fit_2"):
        names.append(wiring.free_name(name))
        wiring.add(BaseTask(names[-1]), [])
    assert names == ["fit", "fit_2", "fit_3", "fit_4", "fit_2_2"]


def test_a_handle_of_another_dag_has_no_value_here() -> None:
    here, there = Wiring("here"), Wiring("there")
    handle = there.add(BaseTask("load"), [])
    assert there.value_of(handle, "fit") == ValueOf("load")
    with pytest.raises(UsageError, match=r"task 'fit' of dag 'here' is given Handle\('load'\) of dag 'there'; call "):
        here.value_of(handle, "fit")


def test_a_handle_is_no_value_to_decide_by_or_to_iterate_over() -> None:
    handle: Handle[list[int]] = Handle("load", Wiring("main"))
    with pytest.raises(UsageError, match=r"'load' returns cannot be asked whether it is true .*Action\.of"):
        bool(handle)
    with pytest.raises(UsageError, match=r"'load' returns cannot be iterated over"):
        list(handle)


def test_a_handle_is_never_pickled() -> None:
    with pytest.raises(ValueRefused, match="the handle of task 'load' is inside an object"):
        dumps({Handle("load", Wiring("main"))})


def test_there_is_a_wiring_within_a_recording_only() -> None:
    assert current() is None
    with recording("outer") as outer:
        with recording("inner") as inner:
            assert current() is inner
        with suppress(ZeroDivisionError), recording("failing"):
            raise ZeroDivisionError
        assert current() is outer
    assert current() is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 10),
        ([1, (2, {"a": [3]})], [10, (20, {"a": [30]})]),
        ({1: 1}, {1: 10}),
        ([], []),
    ],
)
def test_what_is_in_lists_tuples_and_dictionaries_is_replaced(value: Any, expected: Any) -> None:
    assert replaced(value, lambda leaf: leaf * 10) == expected


def test_other_containers_are_not_looked_into() -> None:
    assert replaced([Pair(1, 2), {3}], lambda leaf: ("leaf", leaf)) == [("leaf", Pair(1, 2)), ("leaf", {3})]


def test_what_is_replaced_is_a_copy() -> None:
    numbers = [1]
    copy = replaced(numbers, lambda leaf: leaf)
    numbers.append(2)
    assert copy == [1]
