"""The name of one try at a task."""

from dataclasses import dataclass

from meshflow.ids import RunId


@dataclass(frozen=True, slots=True)
class Attempt:
    """Names one try at a task. `epoch` is that of the owner who handed it out."""

    run: RunId
    task: int
    attempt: int
    epoch: int
