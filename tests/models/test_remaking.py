"""Functions that are made anew without being unpickled again."""

import json
import math
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

import cloudpickle
import pytest

from meshflow.models.remaking import remaker
from meshflow.tasks import PythonTask

PLAIN = """
import math
FACTOR = 2
def area(radius: float, scale=3, *, unit="m"):
    "Docs."
    global FACTOR
    FACTOR += 1
    return math.pi * radius * scale * FACTOR, unit
def twice(radius):
    return FACTOR * radius
"""


def unpickled(source: str, *names: str) -> list[object]:
    """The functions of a script, as a task process gets them."""
    script: dict[str, Any] = {"__name__": "a_script"}
    exec(source, script)
    functions: list[object] = pickle.loads(cloudpickle.dumps([script[name] for name in names]))
    return functions


def made(objects: list[object]) -> list[Any]:
    make = remaker(objects)
    assert make is not None
    return make()


def test_a_copy_does_the_same_and_says_the_same_of_itself() -> None:
    (original,) = unpickled(PLAIN, "area")
    (copy,) = made([original])
    assert isinstance(original, FunctionType)
    assert copy is not original
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__"):
        assert getattr(copy, name) == getattr(original, name), name
    assert copy.__annotations__ == {"radius": float}
    assert copy(1.0) == (math.pi * 9, "m")


def test_what_one_copy_does_to_a_global_is_not_seen_by_the_next() -> None:
    make: Callable[[], list[Any]] | None = remaker(unpickled(PLAIN, "area", "twice"))
    assert make is not None
    for _ in range(2):
        area, twice = make()
        assert twice(1) == 2
        area(1.0)
        assert twice(1) == 3, "functions that shared their globals do so still"


def test_what_is_imported_by_name_stays_what_it_is() -> None:
    shared = [PythonTask, json.dumps, math.sin, json, "text", 7, None]
    assert [each is before for each, before in zip(made(shared), shared, strict=True)] == [True] * len(shared)


@pytest.mark.parametrize(
    "source",
    [
        "SEEN = []\ndef f(): SEEN.append(1)",
        "def g(): pass\ndef f(): g()",
        "def f(seen=[]): pass",
        "def f(*, seen={}): pass",
        "def outer(seen):\n    def inner(): return seen\n    return inner\nf = outer([])",
        "def f(): pass\nf.seen = []",
        "class Own: pass\ndef f(): return Own",
        "class f: pass",
        "f = []",
    ],
)
def test_what_would_be_shared_between_tasks_is_left_to_unpickling(source: str) -> None:
    assert remaker(unpickled(source, "f")) is None
