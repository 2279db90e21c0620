"""Names of signals, and what can be read from them."""

import pytest

from meshflow.core.attempts import Attempt
from meshflow.core.keys import attempt_key, call_key, caller_of, own_key, run_of, start_key
from meshflow.ids import RunId


@pytest.mark.parametrize("run", ["5f5f/d:1", "5f5f/a/b:1", "5f5f/:1"])
def test_the_dag_run_and_the_attempt_can_be_read_from_a_key_whatever_the_dag_is_called(run: str) -> None:
    attempt = Attempt(RunId(run), 7, 2, 3)
    for key in (call_key(attempt, 4), start_key(attempt, 1), own_key(attempt.run, "ended")):
        assert run_of(key) == run
    assert caller_of(call_key(attempt, 4)) == attempt_key(attempt)


def test_calls_differ_by_attempt_and_starts_do_not() -> None:
    one, two = Attempt(RunId("r/d:1"), 7, 1, 1), Attempt(RunId("r/d:1"), 7, 2, 1)
    assert call_key(one, 1) != call_key(two, 1)
    assert start_key(one, 1) == start_key(two, 1) != start_key(two, 2)


@pytest.mark.parametrize("key", ["", "/", "nonsense", "a/b"])
def test_nonsense_is_of_no_run_we_know(key: str) -> None:
    assert len(run_of(key)) <= len(key)
    assert len(caller_of(key)) <= len(key)
