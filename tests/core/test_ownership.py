"""The writer's end of a run log: one append at a time, nothing told before it is written, nothing after a refusal."""

from meshflow.core.asks import Appending, Asks, Closing
from meshflow.core.effects import Ask, Effect, Forget
from meshflow.core.ownership import RunLog
from meshflow.core.records import Batch, Entry, Noted, State
from meshflow.core.requests import Append, Request, UpdateRun
from tests.core.builders import ANN, BOB, ME, RUN

TELL_ANN, TELL_BOB = Forget(ANN), Forget(BOB)
"""Any two effects."""
UPDATE = UpdateRun(RUN, 3, state=State.RUNNING)


def log() -> RunLog:
    return RunLog(RUN, ME, epoch=3, next_seq=7, asks=Asks())


def batch(seq: int, *entries: Entry, at: float = 1000.0) -> Batch:
    return Batch(RUN, seq, f"{ME}/3/{seq}", entries, at)


def append(token: int, of: Batch, *requests: Request) -> list[Effect]:
    return [Ask(token, (Append(of), *requests))]


def test_nothing_added_is_nothing_to_do() -> None:
    made = log()
    assert made.flush(1000.0) == []
    assert (made.is_idle, made.backlog_count) == (True, 0)


def test_what_was_added_goes_in_one_batch_with_its_requests_behind_the_append() -> None:
    made = log()
    made.add(Noted("a"), Noted("b"), requests=[UPDATE])
    made.add(Noted("c"))
    assert (made.is_idle, made.backlog_count) == (False, 3)
    assert made.flush(1000.0) == append(1, batch(7, Noted("a"), Noted("b"), Noted("c")), UPDATE)
    assert (made.is_idle, made.backlog_count) == (False, 3)


def test_what_must_wait_for_the_log_is_released_when_the_log_has_it() -> None:
    made = log()
    made.add(Noted("a"), then=[TELL_ANN])
    made.add(then=[TELL_BOB])
    made.flush(1000.0)
    assert made.answered([True]) == (batch(7, Noted("a")), [TELL_ANN, TELL_BOB])
    assert (made.is_idle, made.backlog_count, made.next_seq) == (True, 0, 8)


def test_what_is_added_while_an_append_is_on_its_way_goes_with_the_next() -> None:
    made = log()
    made.add(Noted("a"))
    made.flush(1000.0)
    made.add(Noted("b"), then=[TELL_BOB])
    assert (made.flush(1001.0), made.is_appending) == ([], True)
    assert made.answered([True]) == (batch(7, Noted("a")), [])
    assert not made.is_appending
    assert made.flush(1002.0) == append(2, batch(8, Noted("b"), at=1002.0))


def test_after_a_refusal_nothing_is_released_or_written() -> None:
    made = log()
    made.add(Noted("a"), then=[TELL_ANN])
    made.flush(1000.0)
    made.add(Noted("b"), then=[TELL_BOB])
    assert made.answered([False]) == (None, [])
    assert (made.is_lost, made.is_idle) == (True, True)
    made.add(Noted("c"), then=[TELL_BOB])
    assert made.flush(1001.0) == []


def test_asks_that_a_refusal_keeps_from_being_made_await_no_answer() -> None:
    asks = Asks()
    made = RunLog(RUN, ME, 3, 7, asks)
    made.add(Noted("a"), then=[TELL_ANN, made.last_words(UPDATE)])
    made.flush(1000.0)
    made.add(then=[made.last_words(UPDATE)])
    made.answered([False])
    assert not asks.is_asking(Closing(RUN))


def test_requests_alone_are_performed_without_an_append() -> None:
    made = log()
    made.add(requests=[UPDATE], then=[TELL_ANN])
    assert made.flush(1000.0) == [Ask(1, (UPDATE,))]
    assert made.answered([False]) == (None, [TELL_ANN])
    assert (made.is_lost, made.next_seq) == (False, 7)


def test_effects_alone_are_released_at_once_if_nothing_is_on_its_way() -> None:
    made = log()
    made.add(then=[TELL_ANN])
    assert made.flush(1000.0) == [TELL_ANN]
    assert made.is_idle


def test_effects_that_only_the_true_owner_may_have_wait_for_an_append_even_if_it_is_empty() -> None:
    made = log()
    made.add(then=[TELL_ANN], is_proof=True)
    assert made.flush(1000.0) == append(1, batch(7))
    assert made.answered([True]) == (batch(7), [TELL_ANN])
    made.add(then=[TELL_BOB])
    assert made.flush(1000.0) == [TELL_BOB]


def test_effects_alone_wait_for_what_was_added_before_them() -> None:
    made = log()
    made.add(Noted("a"))
    made.flush(1000.0)
    made.add(then=[TELL_ANN])
    assert made.flush(1000.0) == []
    assert made.answered([True]) == (batch(7, Noted("a")), [])
    assert made.flush(1001.0) == [TELL_ANN]


def test_a_batch_has_so_many_entries_and_the_rest_goes_with_the_next() -> None:
    made = log()
    entries = [Noted(str(number)) for number in range(5000)]
    for entry in entries:
        made.add(entry)
    assert made.flush(1000.0) == append(1, batch(7, *entries[:4096]))
    assert made.backlog_count == 5000
    assert made.answered([True]) == (batch(7, *entries[:4096]), [])
    assert made.backlog_count == 904
    assert made.flush(1000.0) == append(2, batch(8, *entries[4096:]))


def test_a_batch_has_so_many_bytes_and_the_rest_goes_with_the_next() -> None:
    made = log()
    for name in "abc":
        made.add(Noted(name), size_bytes=3 * 1024 * 1024)
    assert made.flush(1000.0) == append(1, batch(7, Noted("a"), Noted("b")))


def test_an_answer_that_comes_twice_changes_nothing() -> None:
    made = log()
    made.add(Noted("a"), then=[TELL_ANN])
    made.flush(1000.0)
    made.answered([True])
    assert made.answered([False]) == (None, [])
    assert (made.is_lost, made.next_seq) == (False, 8)


def test_each_ask_is_known_as_an_append_of_the_run_and_last_words_as_its_closing() -> None:
    asks = Asks()
    made = RunLog(RUN, ME, 3, 7, asks)
    made.add(Noted("a"))
    made.flush(1000.0)
    assert made.last_words(UPDATE) == Ask(2, (UPDATE,))
    assert [asks.take(1), asks.take(2)] == [Appending(RUN), Closing(RUN)]
