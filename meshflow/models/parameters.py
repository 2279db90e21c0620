"""The parameters of a workflow: what a user may or must give when submitting it."""

from collections.abc import Mapping
from typing import Any

from meshflow.errors import WorkflowArgumentError

_TRUE = ("true", "1", "yes", "y")
_FALSE = ("false", "0", "no", "n")


class Option:
    """One parameter. A default of None makes it required; False, 0 and '' are defaults like any other."""

    def __init__(self, name: str, default: Any = None, help: str | None = None, type: Any = str) -> None:
        """`type` is what values are converted to: str, int, float or bool; with any other they stay as they are."""
        self._name = name
        self._default = default
        self._help = help
        self._type = type

    @property
    def name(self) -> str:
        """The key of the argument, also in the data store."""
        return self._name

    @property
    def default(self) -> Any:
        """The value where none is given; None if one must be given."""
        return self._default

    @property
    def help(self) -> str | None:
        """A line for the user; None if the author gave none."""
        return self._help

    @property
    def type(self) -> Any:
        """The type that values are converted to."""
        return self._type

    def convert(self, value: Any) -> Any:
        """`value` as the type of this option.

        Raises:
            WorkflowArgumentError: it cannot be converted.
        """
        if self._type is bool:
            return self._to_bool(value)
        if self._type not in (str, int, float):
            return value
        try:
            return self._type(value)
        except Exception as exc:  # The value's own __str__ or __int__ may raise anything.
            raise self._wrong(value, f"{self._type.__name__}: {exc}") from exc

    def _to_bool(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word not in _TRUE + _FALSE:
            raise self._wrong(value, f"bool: expected one of {', '.join(_TRUE + _FALSE)}")
        return word in _TRUE

    def _wrong(self, value: Any, expected: str) -> WorkflowArgumentError:
        return WorkflowArgumentError(f"argument {self._name!r} is {value!r:.200}, which is not of type {expected}")


class Parameters(list[Option]):
    """The options of a workflow, in the order of definition."""

    def check_missing(self, args: Mapping[str, Any]) -> list[str]:
        """The names of the required options that are not in `args`."""
        return [option.name for option in self if option.name not in args and option.default is None]

    def consolidate(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of `args` in which declared options are converted, and those not given have their default.

        What is not declared is kept as it is; what is neither given nor has a default is left out.

        Raises:
            WorkflowArgumentError: a value, or a default, cannot be converted.
        """
        result = dict(args)
        for option in self:
            if option.name in args:
                result[option.name] = option.convert(args[option.name])
            elif option.default is not None:
                result[option.name] = option.convert(option.default)
        return result
