"""What a task of a run has handed on, found in its log or among its blobs."""

import pytest

from meshflow.core.records import Batch, Entry, State, TaskEnded, TaskStarted, Value
from meshflow.core.requests import Answer, GetBlob, ReadLog, Request
from meshflow.ids import NodeId, RunId, dag_run_id
from meshflow.references import Ambiguous, NotFound
from meshflow.results import find_result
from meshflow.run_view import DagView, RunView, TaskView

RUN = RunId("5f" * 12)
NAMES = ("first", "second", "waits", "skipped")


class Store:
    """The logs of dag runs, in parts of one batch, and blobs."""

    def __init__(self, **entries: list[list[Entry]]) -> None:
        self.logs = {
            dag_run_id(RUN, f"{name}:1"): [
                Batch(RunId(name), seq, "token", tuple(part)) for seq, part in enumerate(parts)
            ]
            for name, parts in entries.items()
        }
        self.blobs: dict[tuple[RunId, str], bytes] = {}

    def ask(self, request: Request) -> Answer:
        match request:
            case ReadLog(run=run, since=since):
                return tuple(self.logs.get(run, [])[since : since + 1])
            case GetBlob(run=run, key=key):
                return self.blobs.get((run, key))
            case _:
                raise AssertionError(request)


def view(*dags: str) -> RunView:
    """The first two tasks of each dag run have ended, the third has not, the last never ran."""
    run = RunView(RUN)
    states = (State.COMPLETED, State.FAILED, State.RUNNING, State.SKIPPED)
    for name in dags:
        tasks = [TaskView(each, state=state, attempt=1) for each, state in zip(NAMES, states, strict=True)]
        tasks[-1].attempt = 0
        run.dags[f"{name}:1"] = DagView(dag_run_id(RUN, f"{name}:1"), f"{name}:1", name, tasks=tasks)
    return run


def ended(task: int, value: Value = Value(), state: State = State.COMPLETED, **more: object) -> TaskEnded:  # noqa: B008
    return TaskEnded(task, 1, state, value, **more)  # type: ignore[arg-type]


def test_a_small_result_is_in_the_log_behind_others_and_attempts_that_failed() -> None:
    parts: list[list[Entry]] = [
        [TaskStarted(0, 1, 1, NodeId("n")), ended(1, Value(b"other"))],
        [ended(0, Value(), State.FAILED, retry=True)],
        [TaskStarted(0, 2, 1, NodeId("n")), ended(0, Value(b"mine"))],
    ]
    assert find_result(Store(d=parts).ask, view("d"), "first") == b"mine"


def test_a_large_result_is_among_the_blobs_of_the_workflow_run() -> None:
    store = Store(d=[[ended(0, Value(b"", "value/x", 3))]])
    store.blobs[RUN, "value/x"] = b"big"
    assert find_result(store.ask, view("d"), "first", "d:1") == b"big"
    store.blobs.clear()
    with pytest.raises(NotFound, match="keep_data"):
        find_result(store.ask, view("d"), "first")


def test_a_task_that_failed_has_no_result_and_the_reason_is_told() -> None:
    entry = ended(1, Value(), State.FAILED, reason="ValueError: no\ntraceback")
    with pytest.raises(NotFound, match=r"it ended failed \(ValueError: no\)$"):
        find_result(Store(d=[[entry]]).ask, view("d"), "second")
    with pytest.raises(NotFound, match=r"it ended cancelled$"):
        find_result(Store(d=[[ended(1, Value(), State.CANCELLED)]]).ask, view("d"), "second")


@pytest.mark.parametrize("task", ["waits", "skipped", "unknown"])
def test_a_task_that_has_not_run_to_its_end_has_none(task: str) -> None:
    with pytest.raises(NotFound, match=f"no task '{task}'"):
        find_result(Store().ask, view("d"), task)


def test_a_name_that_several_dag_runs_have_must_be_told_apart() -> None:
    store = Store(d=[[ended(0, Value(b"d's"))]], e=[[ended(0, Value(b"e's"))]])
    with pytest.raises(Ambiguous, match="d:1, e:1"):
        find_result(store.ask, view("d", "e"), "first")
    assert find_result(store.ask, view("d", "e"), "first", "e:1") == b"e's"
    with pytest.raises(NotFound, match="of f:1 of run"):
        find_result(store.ask, view("d", "e"), "first", "f:1")


def test_a_log_that_was_removed_is_told_of() -> None:
    with pytest.raises(NotFound, match="has been removed"):
        find_result(Store().ask, view("d"), "first")


def mapped_view(last: State = State.COMPLETED) -> RunView:
    run = view("d")
    tasks = run.dags["d:1"].tasks
    tasks[0].instances = range(4, 6)
    tasks += [TaskView("first[0]", state=State.COMPLETED, attempt=1), TaskView("first[1]", state=last, attempt=1)]
    return run


def test_the_result_of_a_mapped_task_is_that_of_its_instances_in_order() -> None:
    store = Store(d=[[ended(0, Value(b"[]"))], [ended(5, Value(b"", "key", 5))], [ended(4, Value(b"zero"))]])
    store.blobs[RUN, "key"] = b"one"
    assert find_result(store.ask, mapped_view(), "first") == [b"zero", b"one"]
    assert find_result(store.ask, mapped_view(), "first[1]") == b"one"
    store.blobs.clear()
    with pytest.raises(NotFound, match=r"task 'first\[1\]' of run \w+ was larger than 64 KiB"):
        find_result(store.ask, mapped_view(), "first")


def test_a_mapped_task_has_no_result_before_all_its_instances_have_ended() -> None:
    with pytest.raises(NotFound, match="1 of its 2 instances run on"):
        find_result(Store().ask, mapped_view(State.RUNNING), "first")
