"""How a run ends: of several reasons to end early, the gravest names the outcome.

So a run that is being stopped when one of its tasks fails has failed: an error is never hidden behind a stop.
"""

from meshflow.core.records import State

_GRAVITY = {State.COMPLETED: 0, State.STOPPED: 1, State.CANCELLED: 2, State.ABORTED: 3, State.FAILED: 4}


def is_outcome(state: State) -> bool:
    """Whether a run, or a task that ran, can end in `state`."""
    return state in _GRAVITY


def is_graver(state: State, known: State) -> bool:
    """Whether `state` names the outcome rather than `known`; of two that are alike the first does."""
    return _GRAVITY[state] > _GRAVITY[known]
