"""What came of the calls of a durable map, found in the log of its run."""

import math
from collections.abc import Sequence

import pytest

from meshflow.core.records import Batch, Entry, State, TaskEnded, Value
from meshflow.core.requests import Answer, ReadLog, Request
from meshflow.durable import RunFailed, pack_calls, results_of
from meshflow.errors import PickleFailed
from meshflow.ids import RunId, dag_run_id
from meshflow.models.calls import dump_arguments, flat_results, pack_flat
from meshflow.models.payload import dump_data
from meshflow.models.task_data import RETURNED, MultiTaskData, TaskData
from meshflow.references import NotFound
from meshflow.run_view import DagView, RunView, TaskView

RUN = RunId("5f" * 12)
DAG = dag_run_id(RUN, "calls:1")


def value(*numbers: float) -> Value:
    """What a task hands on that has taken the roots of these."""
    results = flat_results(math.sqrt, pack_flat([dump_arguments((number,)) for number in numbers]))
    return Value(dump_data(MultiTaskData(dataset=TaskData({RETURNED: (results,)}))))


def view(state: State = State.COMPLETED, reason: str = "", **tasks: State) -> RunView:
    run = RunView(RUN)
    run.state, run.reason = state, reason
    views = [TaskView(name.strip("_").replace("_", "-"), state=each, attempt=1) for name, each in tasks.items()]
    run.dags["calls:1"] = DagView(DAG, "calls:1", "calls", tasks=views)
    return run


class Log:
    def __init__(self, *entries: Entry) -> None:
        self._entries = entries

    def ask(self, request: Request) -> Answer:
        assert isinstance(request, ReadLog)
        parts: Sequence[Batch] = [Batch(DAG, seq, "", (entry,)) for seq, entry in enumerate(self._entries)]
        return tuple(parts[request.since :])


def ended(task: int, numbers: Sequence[float]) -> TaskEnded:
    return TaskEnded(task, 1, State.COMPLETED, value(*numbers))


def test_results_are_in_the_order_of_the_calls_whatever_ended_first() -> None:
    log = Log(ended(1, [9.0]), ended(0, [1.0, 4.0]))
    assert results_of(log.ask, view(_0_1=State.COMPLETED, _2_2=State.COMPLETED)) == [1.0, 2.0, 3.0]


def test_the_first_error_is_raised_or_stands_in_its_place() -> None:
    log = Log(ended(0, [1.0, -1.0, 4.0]))
    with pytest.raises(ValueError, match="math domain error"):
        results_of(log.ask, view(_0_2=State.COMPLETED))
    one, error, two = results_of(log.ask, view(_0_2=State.COMPLETED), return_exceptions=True)
    assert (one, type(error), two) == (1.0, ValueError, 2.0)


def test_calls_that_were_not_made_fail_with_the_reason_of_the_run() -> None:
    log = Log(ended(0, [1.0]))
    run = view(State.FAILED, "task '1-2' failed: killed\nTraceback", _0_0=State.COMPLETED, _1_2=State.FAILED)
    with pytest.raises(RunFailed, match=f"run {RUN} ended failed: task '1-2' failed: killed$"):
        results_of(log.ask, run)
    assert [type(each) for each in results_of(log.ask, run, return_exceptions=True)] == [float, RunFailed, RunFailed]


def test_a_run_without_calls_has_no_results() -> None:
    assert results_of(Log().ask, view()) == []


def test_a_run_of_a_workflow_is_refused() -> None:
    with pytest.raises(NotFound, match="only runs that map_durable has started"):
        results_of(Log().ask, view(fit=State.COMPLETED))
    with pytest.raises(NotFound, match="only runs that map_durable has started"):
        results_of(Log().ask, RunView(RUN))


def test_a_run_is_called_like_its_function_or_as_told_and_keeps_its_data() -> None:
    packed = pack_calls(math.sqrt, [(1.0,)])
    assert (packed.spec.name, packed.spec.clear_data_store) == ("sqrt", False)
    assert pack_calls(math.sqrt, [(1.0,)], "roots").spec.name == "roots"


def test_what_cannot_be_pickled_is_refused_before_anything_is_sent() -> None:
    import threading

    with pytest.raises(PickleFailed):
        pack_calls(math.sqrt, [(threading.Lock(),)])
