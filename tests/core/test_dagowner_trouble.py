def test_an_attempt_that_another_owner_had_ended_is_lost_and_has_not_failed() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.report(finished(attempt(0), State.CANCELLED, reason="cancelled"))
    end, queued = driven.write().entries
    assert isinstance(end, TaskEnded)
    assert (end.state, end.retry) == (State.LOST, True)
    assert queued == TasksQueued((0,))


def test_an_attempt_that_this_owner_had_ended_because_the_run_is_cancelled_is_cancelled() -> None:
    driven = DrivenDag(dag("a"))
    driven.begin()
    driven.hand_out(0)
    driven.owner.ask_stop(Stop.CANCEL, "at once")
    driven.report(finished(attempt(0), State.CANCELLED, reason="cancelled"))
    assert driven.fold.states == [State.CANCELLED]


def test_an_attempt_that_is_told_to_end_is_not_adopted_afterwards() -> None:
    """Its parent's end was on its way when it was listed; by the time that it is listed again, its end is on its way."""
    driven = takeover(names="a b", edges="a>b")
    assert driven.owner.held(ANN, [attempt(1)], 0.1) == []
    driven.fold.apply(ended(0))
    driven.owner.held(ANN, [attempt(1)], 0.2)
    assert not driven.owner.handouts.is_current(attempt(1), ANN)
