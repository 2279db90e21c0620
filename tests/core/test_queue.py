"""The order of jobs on a queue, and that removed ones are gone."""

from hypothesis import given
from hypothesis import strategies as st

from meshflow.core.queue import JobQueue, Waiting
from tests.core.builders import RUN


def jobs(count: int) -> list[Waiting]:
    return [Waiting(RUN, number) for number in range(count)]


def test_larger_priority_goes_first_and_ties_go_first_in_first_out() -> None:
    queue = JobQueue()
    a, b, c, d = jobs(4)
    for job, priority in [(a, 0), (b, 5), (c, 0), (d, 5)]:
        queue.push(job, priority)
    assert [queue.pop() for _ in range(5)] == [b, d, a, c, None]


def test_a_job_that_is_queued_already_keeps_its_place() -> None:
    queue = JobQueue()
    a, b = jobs(2)
    queue.push(a, 0)
    queue.push(b, 0)
    queue.push(a, 9)
    assert len(queue) == 2
    assert [queue.pop(), queue.pop(), queue.pop()] == [a, b, None]


def test_a_removed_job_does_not_come_and_one_that_is_not_there_need_not_be_removed() -> None:
    queue = JobQueue()
    a, b = jobs(2)
    queue.push(a, 0)
    queue.push(b, 0)
    queue.remove(a)
    queue.remove(a)
    assert len(queue) == 1
    assert [queue.pop(), queue.pop()] == [b, None]


def test_a_job_that_was_removed_and_came_back_is_last_and_comes_once() -> None:
    queue = JobQueue()
    a, b = jobs(2)
    queue.push(a, 0)
    queue.push(b, 0)
    queue.remove(a)
    queue.push(a, 0)
    assert [queue.pop(), queue.pop(), queue.pop()] == [b, a, None]


def test_jobs_that_come_and_go_behind_one_that_waits_for_ever_leave_nothing_behind() -> None:
    queue = JobQueue()
    stuck, *others = jobs(1001)
    queue.push(stuck, 1)
    for job in others:
        queue.push(job, 0)
        queue.remove(job)
    assert sum(map(len, queue._lines.values())) < 100
    assert [queue.pop(), queue.pop()] == [stuck, None]


@given(st.lists(st.tuples(st.sampled_from(["push", "remove", "pop"]), st.integers(0, 9), st.integers(0, 3))))
def test_any_history_gives_what_a_sorted_list_gives(history: list[tuple[str, int, int]]) -> None:
    queue = JobQueue()
    model: list[tuple[int, int, Waiting]] = []
    for count, (action, number, priority) in enumerate(history):
        job = Waiting(RUN, number)
        match action:
            case "push":
                queue.push(job, priority)
                if job not in [each for _, _, each in model]:
                    model.append((-priority, count, job))
            case "remove":
                queue.remove(job)
                model = [entry for entry in model if entry[2] != job]
            case _:
                model.sort()
                assert queue.pop() == (model.pop(0)[2] if model else None)
        assert len(queue) == len(model)
