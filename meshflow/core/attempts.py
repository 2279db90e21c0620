"""The name of one try at a task."""

from typing import NamedTuple

from meshflow.ids import RunId


class Attempt(NamedTuple):
    """Names one try at a task. `epoch` is that of the owner who handed it out.

    A tuple, because it is the key of many a table, and looked up there a dozen times for each task.
    """

    run: RunId
    task: int
    attempt: int
    epoch: int
