"""A client that has only so many calls run at a time, as an executor with `max_workers` has."""

from meshflow.core.calling import Function
from tests.core.builders import ANN, BOB
from tests.core.calling import Calling, done


def test_no_more_batches_are_out_than_the_bound_whatever_is_granted() -> None:
    calling = Calling(ANN, BOB, max_out=2)
    calling.grant(ANN, 5)
    calling.grant(BOB, 5)
    calling.add(b"a", b"b", b"c", b"d")
    jobs = [*calling.jobs(ANN), *calling.jobs(BOB)]
    assert [job.calls for job in jobs] == [(b"a",), (b"b",)]


def test_each_that_ends_makes_room_for_the_next_also_of_another_function() -> None:
    calling = Calling(ANN, max_out=1)
    calling.grant(ANN, 9)
    calling.add(b"one", function=Function("d1", "f"))
    calling.add(b"two", function=Function("d2", "g"))
    (first,) = calling.jobs(ANN)
    assert first.calls == (b"one",)
    calling.report(ANN, done(first.attempt, seconds=1.0))
    calling.grant(ANN, 9, 1)
    (second,) = calling.jobs(ANN)
    assert second.calls == (b"two",)


def test_what_is_cancelled_makes_room() -> None:
    calling = Calling(ANN, max_out=1)
    calling.grant(ANN, 9)
    first, _ = calling.add(b"one", b"two")
    assert [job.calls for job in calling.jobs(ANN)] == [(b"one",)]
    calling.caller.cancel([first])
    calling.flush()
    assert [job.calls for job in calling.jobs(ANN)] == [(b"two",)]


def test_batches_are_as_many_as_may_be_out() -> None:
    """Though the mesh has more slots, short calls are not cut into more batches than can go at a time."""
    calling = Calling(ANN, BOB, max_out=1)
    calling.grant(ANN, 9)
    calling.add(b"one")
    (job,) = calling.jobs(ANN)
    calling.report(ANN, done(job.attempt))
    calling.grant(ANN, 9, 1)
    calling.add(*(b"%d" % number for number in range(8)))
    assert [len(job.calls) for job in calling.jobs(ANN)] == [4]


def one_at_a_time(calling: Calling, count: int) -> list[bytes]:
    """The node makes so many calls, one after the other, and grants more each time."""
    made: list[bytes] = []
    for number in range(count):
        calling.grant(ANN, number + 1, number)
        (job,) = calling.jobs(ANN)
        made += [data for data in job.calls if isinstance(data, bytes)]
        calling.report(ANN, done(job.attempt, seconds=1.0))
    return made


def test_functions_take_turns_at_what_may_be_out() -> None:
    calling = Calling(ANN, max_out=1)
    for name in ("one", "two", "three"):
        calling.add(*[name.encode()] * 5, function=Function(name, name))
    made = one_at_a_time(calling, 9)
    assert [made.count(each) for each in (b"one", b"two", b"three")] == [3, 3, 3]


def test_a_larger_priority_goes_first_though_others_were_in_line_before() -> None:
    calling = Calling(ANN, max_out=1)
    calling.add(*[b"late"] * 5, function=Function("d1", "f"))
    calling.add(*[b"soon"] * 2, function=Function("d2", "g", priority=1))
    assert one_at_a_time(calling, 4) == [b"soon", b"soon", b"late", b"late"]
