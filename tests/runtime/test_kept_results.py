"""Task processes that look for the result of a task before they run it, and have it kept after."""

from typing import Any

from meshflow import wire
from meshflow.core.attempts import Attempt
from meshflow.core.messages import Finished
from meshflow.core.records import State, Value
from meshflow.core.requests import GetBlob, GetField, PutBlob, Request
from meshflow.errors import StopTask
from meshflow.ids import RunId
from meshflow.models import payload
from meshflow.models.action import Action
from meshflow.models.task_data import MultiTaskData
from meshflow.tasks.python_task import PythonTask
from tests.runtime.executor_bench import ExecutorBench, data_of

# Tasks are called with data, store, signal and context.
Given = Any


def asked(bench: ExecutorBench, attempt: Attempt) -> tuple[int, Request]:
    """The next request of an attempt to the store."""
    bench.until(lambda: any(each == attempt for each, _, _ in bench.requests))
    found = next(each for each in bench.requests if each[0] == attempt)
    bench.requests.remove(found)
    return found[1:]


def work(data: Given, *_: Given) -> Action:
    print("ran")
    data["x"] = 2 * data["x"] if "x" in data else 1
    return Action(data, limit=["next"])


def cached(callback: Any = work) -> PythonTask:
    return PythonTask("work", callback, cache=True)


INPUTS = [("parent", None, {"x": 4})]


def first(bench: ExecutorBench, task: PythonTask, **options: Any) -> tuple[Finished, str, list[Request]]:
    """Run it with nothing kept: how it ended, what was looked for, and what was asked then."""
    attempt = bench.start(task, **options)
    call, looked = asked(bench, attempt)
    assert isinstance(looked, GetBlob)
    bench.executor.answer(attempt, call, None)
    ended = bench.end(attempt)
    more = [request for each, _, request in bench.requests if each == attempt]
    bench.requests.clear()
    return ended, looked.key, more


def test_what_was_not_there_runs_and_is_kept_under_the_key_that_was_looked_for(bench: ExecutorBench) -> None:
    ended, key, [kept] = first(bench, cached(), inputs=INPUTS)
    assert data_of(ended) == {"x": 8}
    assert isinstance(kept, PutBlob)
    assert (kept.run, kept.key) == ("", key)
    found = wire.decode(Finished, kept.data)
    assert (found.state, found.value.inline, found.limit) == (State.COMPLETED, ended.value.inline, ("next",))


def test_what_is_there_is_taken_with_its_action_and_nothing_runs(bench: ExecutorBench) -> None:
    attempt = bench.start(cached(), inputs=INPUTS)
    call, _ = asked(bench, attempt)
    value = payload.dump_data(MultiTaskData())
    of = Attempt(RunId("ab" * 12 + "/main:1"), 7, 1, 1)
    bench.executor.answer(
        attempt, call, wire.encode(Finished(of, State.COMPLETED, Value(value), ("other",), "", 1.0, 2.0))
    )
    ended = bench.end(attempt)
    assert (ended.state, ended.value.inline, ended.limit) == (State.COMPLETED, value, ("other",))
    assert ended.reason == f"cached: from run {'ab' * 12}"
    assert bench.printed(attempt) == ""
    assert not bench.requests


def test_the_key_is_that_of_the_inputs(bench: ExecutorBench) -> None:
    keys = [first(bench, cached(), inputs=[("parent", None, {"x": x})])[1] for x in (4, 4, 5)]
    assert keys[0] == keys[1] != keys[2]


def test_a_task_without_cache_asks_nothing(bench: ExecutorBench) -> None:
    bench.run(PythonTask("work", work))
    assert not bench.requests


def test_failures_and_stops_are_not_kept(bench: ExecutorBench) -> None:
    def fail(*_: Given) -> None:
        raise ValueError("broken")

    def stop(*_: Given) -> None:
        raise StopTask("enough")

    for callback, state in ((fail, State.FAILED), (stop, State.STOPPED)):
        ended, _, more = first(bench, cached(callback))
        assert (ended.state, more) == (state, [])


def test_the_result_of_a_task_that_asks_its_run_for_something_is_not_kept(bench: ExecutorBench) -> None:
    def read(data: Given, store: Given, *_: Given) -> None:
        data["x"] = store.get("path")

    attempt = bench.start(cached(read))
    call, _ = asked(bench, attempt)
    bench.executor.answer(attempt, call, None)
    call, request = asked(bench, attempt)
    assert isinstance(request, GetField)
    bench.executor.answer(attempt, call, (True, "here"))
    assert data_of(bench.end(attempt)) == {"x": "here"}
    assert not bench.requests


def test_a_node_that_does_not_answer_is_not_waited_for(bench: ExecutorBench) -> None:
    """Its late answer is not taken for one to the next task either."""
    attempt = bench.start(cached())
    call, _ = asked(bench, attempt)
    assert data_of(bench.end(attempt)) == {"x": 1}
    bench.executor.answer(attempt, call, b"late")
    bench.requests.clear()
    assert data_of(first(bench, cached())[0]) == {"x": 1}


def test_what_is_no_result_is_not_taken_for_one(bench: ExecutorBench) -> None:
    for answer, error in ((b"nonsense", ""), (wire.encode(GetBlob(RunId("x"), "y")), ""), (None, "the store is away")):
        attempt = bench.start(cached())
        call, _ = asked(bench, attempt)
        bench.executor.answer(attempt, call, answer, error)
        assert data_of(bench.end(attempt)) == {"x": 1}
        bench.requests.clear()


def test_a_large_result_comes_whole(bench: ExecutorBench) -> None:
    attempt = bench.start(cached())
    call, _ = asked(bench, attempt)
    value = bytes(5_000_000)
    bench.executor.answer(attempt, call, wire.encode(Finished(attempt, State.COMPLETED, Value(value), None, "", 0, 0)))
    assert bench.end(attempt).value.inline == value


def test_a_task_is_told_to_stop_while_its_result_is_looked_for(bench: ExecutorBench) -> None:
    def wait(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        data["x"] = bool(select.select([signal.stop_fileno()], [], [], 10.0)[0])

    attempt = bench.start(cached(wait))
    call, _ = asked(bench, attempt)
    bench.executor.tell_stopping(attempt)
    bench.executor.answer(attempt, call, None)
    assert data_of(bench.end(attempt)) == {"x": True}
    assert not bench.requests, "what a task makes of being stopped is not what it makes of its inputs"


def test_a_task_runs_in_a_process_of_one_thread_also_if_its_result_was_looked_for(single: ExecutorBench) -> None:
    def threads(data: Given, *_: Given) -> None:
        import threading

        data["count"] = threading.active_count()

    assert data_of(first(single, cached(threads))[0]) == {"count": 1}
