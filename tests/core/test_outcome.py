"""Which of several reasons to end early names the outcome."""

import pytest

from meshflow.core.outcome import is_graver, is_outcome
from meshflow.core.records import State

RISING = [State.COMPLETED, State.STOPPED, State.CANCELLED, State.ABORTED, State.FAILED]


def test_an_outcome_is_graver_than_all_before_it_and_not_than_itself() -> None:
    for index, state in enumerate(RISING):
        assert [is_graver(state, known) for known in RISING] == [known in RISING[:index] for known in RISING]


@pytest.mark.parametrize("state", State)
def test_what_is_not_final_lost_or_skipped_is_no_outcome(state: State) -> None:
    assert is_outcome(state) == (state in RISING)
