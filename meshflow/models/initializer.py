"""A function that needs its process made ready first: what an executor with an `initializer` has task processes call.

Invariants:
1. The initializer runs before the first call, once in a process for each executor, and not again if it failed.
2. What it assigns to globals is seen by the function. If both are shipped by value, as those of a script or a notebook
   are, each function that an executor is given comes with globals of its own: there it runs once for each function.
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

from meshflow.errors import WorkflowError
from meshflow.models import payload

T = TypeVar("T")

_ready: dict[str, str] = {}
"""`{executor: why its initializer failed here, or nothing}`."""


class InitializerFailed(WorkflowError):
    """An initializer raised an error, so no call is made in its process."""


class Initialized(Generic[T]):
    """`function`, to be called in processes that `initializer` made ready for the executor of that name."""

    def __init__(
        self, executor: str, initializer: Callable[..., object], arguments: bytes, function: Callable[..., T]
    ) -> None:
        self._executor = executor
        self._initializer = initializer
        self._arguments = arguments
        self._function = function
        self.__name__ = getattr(function, "__name__", "") or type(function).__name__
        self._ready: dict[str, str] | None = {} if _is_by_value(initializer) else None

    def __reduce__(self) -> tuple[object, ...]:
        return (Initialized, (self._executor, self._initializer, self._arguments, self._function))

    def __call__(self, *arguments: object, **keywords: object) -> T:
        """Call the function.

        Raises:
            InitializerFailed: the initializer raised an error, now or before.
        """
        ready = _ready if self._ready is None else self._ready
        if self._executor not in ready:
            ready[self._executor] = "it did not come to an end"
            try:
                self._initializer(*payload.loads(self._arguments))
            except (Exception, SystemExit, KeyboardInterrupt) as exc:
                ready[self._executor] = f"{type(exc).__name__}: {exc}"
                raise InitializerFailed(f"the initializer failed: {ready[self._executor]}") from exc
            ready[self._executor] = ""
        if problem := ready[self._executor]:
            raise InitializerFailed(f"the initializer failed: {problem}")
        return self._function(*arguments, **keywords)


def dump_initargs(arguments: Iterable[object]) -> bytes:
    """The arguments of an initializer as bytes: made once, however many functions are submitted.

    Raises:
        PickleFailed: one of them cannot be pickled.
    """
    return payload.dumps(tuple(arguments))


def _is_by_value(function: Callable[..., object]) -> bool:
    """Whether this function has globals of its own in this process, instead of those of an imported module."""
    while isinstance(function, partial):
        function = function.func
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    return getattr(function, "__globals__", None) not in (None, getattr(module, "__dict__", None))
