"""Parameters of a task that may be computed when the task runs."""

from collections.abc import Iterable
from typing import Any, Self


class TaskParameters(dict[str, Any]):
    """A dictionary whose items are attributes too, and whose callable values are computed from the task's input.

    Anything that can be called counts, a class as well: a value meant as it is must not be callable.
    """

    def __getattr__(self, name: str) -> Any:
        # Only called for what dict does not have, so a parameter named like a method is reached by [] only.
        try:
            return self[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(self._unknown(name)) from None

    def eval(self, data: Any, data_store: Any, *, exclude: Iterable[str] | None = None) -> Self:
        """New parameters in which every callable value is replaced by `value(data, data_store)`, in order, without
        those named in `exclude`."""
        left_out = () if exclude is None else tuple(exclude)
        return type(self)({key: self.eval_single(key, data, data_store) for key in self if key not in left_out})

    def eval_single(self, key: str, data: Any, data_store: Any) -> Any:
        """The value of one parameter, computed if it is callable.

        Raises:
            AttributeError: there is no such parameter.
        """
        if key not in self:
            raise AttributeError(self._unknown(key))
        value = self[key]
        return value(data, data_store) if callable(value) else value

    def _unknown(self, name: str) -> str:
        return f"there is no parameter {name!r}; the parameters are: {', '.join(self) or 'none'}"
