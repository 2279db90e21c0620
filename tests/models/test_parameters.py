"""Options: which arguments are missing, and what they are converted to."""

from typing import Any

import pytest

from meshflow.errors import WorkflowArgumentError
from meshflow.models.parameters import Option, Parameters


class Unconvertible:
    """Something whose conversion to a text fails in its own way."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        return "thing"


def test_an_option_keeps_what_it_was_given() -> None:
    option = Option("n", default=3, help="how many", type=int)
    assert (option.name, option.default, option.help, option.type) == ("n", 3, "how many", int)
    option = Option("s")
    assert (option.default, option.help, option.type) == (None, None, str)


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        (str, 5, "5"),
        (str, "a", "a"),
        (str, None, "None"),
        (int, "5", 5),
        (int, " 7 ", 7),
        (int, 3.7, 3),
        (int, True, 1),
        (float, "2.5", 2.5),
        (float, 2, 2.0),
        (bool, True, True),
        (bool, False, False),
        *((bool, word, True) for word in ("true", "True", "1", "YES", "y")),
        *((bool, word, False) for word in ("false", "FALSE", "0", "no", "N")),
        (bool, 1, True),
        (bool, 0, False),
        (list, "abc", "abc"),
        (None, 5, 5),
    ],
)
def test_values_are_converted(type_: Any, value: Any, expected: Any) -> None:
    result = Option("x", type=type_).convert(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("type_", "value", "reason"),
    [
        (int, "five", "'five', which is not of type int: invalid literal"),
        (int, None, "None, which is not of type int: int"),
        (int, [1], "not of type int"),
        (int, float("nan"), "not of type int"),
        (int, float("inf"), "not of type int"),
        (int, "\udcff", "not of type int"),
        (float, "x", "not of type float"),
        (float, 10**400, "not of type float"),
        (str, Unconvertible(), "thing, which is not of type str: no text"),
        (bool, "maybe", "'maybe', which is not of type bool: expected one of true, 1, yes, y, false, 0, no, n"),
        (bool, 2, "2, which is not of type bool"),
        (bool, None, "None, which is not of type bool"),
    ],
)
def test_what_cannot_be_converted_is_named_with_value_and_type(type_: Any, value: Any, reason: str) -> None:
    with pytest.raises(WorkflowArgumentError, match="argument 'x' is ") as raised:
        Option("x", type=type_).convert(value)
    assert reason in str(raised.value)


def test_a_default_of_none_makes_an_option_required() -> None:
    parameters = Parameters([Option("a"), Option("b", default=False), Option("c", default=0), Option("d", default="")])
    assert parameters.check_missing({}) == ["a"]
    assert parameters.check_missing({"a": None}) == []
    assert Parameters().check_missing({"x": 1}) == []


def test_consolidate_converts_adds_defaults_and_keeps_the_rest() -> None:
    parameters = Parameters(
        [
            Option("given", type=int),
            Option("default", default="7", type=int),
            Option("absent"),
            Option("false", default=False, type=bool),
        ]
    )
    args = {"given": "5", "undeclared": [1]}
    assert parameters.consolidate(args) == {"given": 5, "undeclared": [1], "default": 7, "false": False}
    assert args == {"given": "5", "undeclared": [1]}


def test_a_default_that_cannot_be_converted_is_reported_too() -> None:
    with pytest.raises(WorkflowArgumentError, match="argument 'n' is 'x'"):
        Parameters([Option("n", default="x", type=int)]).consolidate({})
