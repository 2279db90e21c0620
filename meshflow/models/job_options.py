"""How the attempts at a task are made: retries, timeout, priority.

They are kept together, apart from the other attributes of a task, because Lightflow did not have them: a task class
written for it may use a name like `timeout` for something of its own, and that must neither fail nor reach the mesh.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from meshflow.errors import UsageError


@dataclass(frozen=True, slots=True)
class JobOptions:
    """The options of `BaseTask` that are about its attempts; it says what each one means."""

    retries: int = 0
    retry_delay: float = 0.0
    backoff: float = 1.0
    timeout: float | None = None
    priority: int = 0
    at_most_once: bool = False
    cache: bool = False

    def check(self, task_name: str) -> None:
        """Refuse options that are out of their range or contradict each other.

        Raises:
            UsageError: the message names the task, the option and its range.
        """
        given = (self.retries, self.retry_delay, self.backoff, self.timeout, self.priority, self.at_most_once)
        try:
            problem = _problem(*given)
        except TypeError:  # Not hashable.
            problem = _problem.__wrapped__(*given)
        if problem:
            raise UsageError(f"task {task_name!r}{problem}")


class JobOption:
    """Reads the option of its name from a task's `job_options`.

    Unlike a property it lets a task class set the attribute, to something of its own that means nothing to the mesh.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Any, owner: type) -> Any:
        return self if task is None else getattr(task.job_options, self._name)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf


_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "retries": (lambda value: _is_count(value) and value >= 0, "a whole number, 0 or more"),
    "retry_delay": (lambda value: _is_number(value) and value >= 0, "a number of seconds, 0 or more"),
    "backoff": (lambda value: _is_number(value) and value >= 1, "a factor, 1 or more"),
    "timeout": (lambda value: value is None or (_is_number(value) and value > 0), "seconds above 0, or None"),
    "priority": (_is_count, "a whole number"),
}


# Thousands of tasks have the same options. `typed`: True equals 1, but is no count.
@lru_cache(maxsize=64, typed=True)
def _problem(retries: Any, retry_delay: Any, backoff: Any, timeout: Any, priority: Any, at_most_once: Any) -> str:
    """What is wrong with the options of a task, to be said behind its name; empty if nothing is."""
    given = {"retries": retries, "retry_delay": retry_delay, "backoff": backoff, "timeout": timeout}
    for option, value in (given | {"priority": priority}).items():
        is_valid, expected = _RANGES[option]
        if not is_valid(value):
            return f": {option} is {value!r:.80}, but must be {expected}"
    if at_most_once and retries:
        return f" has at_most_once, which allows one attempt, and retries={retries}; choose one"
    return ""
