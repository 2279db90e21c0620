"""The task object and the wrapper that runs it. The first part is what Lightflow's own tests ask for."""

import pickle
from copy import deepcopy
from typing import Any
from unittest.mock import Mock, call, create_autospec

import pytest

from meshflow.errors import (
    AbortWorkflow,
    DataInvalidIndex,
    DataMergeConflict,
    StopTask,
    TaskReturnActionInvalid,
    UsageError,
)
from meshflow.models.action import Action
from meshflow.models.job_options import JobOptions
from meshflow.models.task import BaseTask, TaskState, TaskStatus
from meshflow.models.task_data import MultiTaskData, TaskData


class RaisingTask(BaseTask):
    """Raises what it is given."""

    def __init__(self, name: str, error: BaseException, **options: Any) -> None:
        super().__init__(name, **options)
        self.error = error

    def run(self, data: Any, store: Any, signal: Any, context: Any, **kwargs: Any) -> None:
        data["seen"] = True
        raise self.error


class ReturningTask(BaseTask):
    """Returns what it is given."""

    def __init__(self, name: str, result: Any, **options: Any) -> None:
        super().__init__(name, **options)
        self.result = result

    def run(self, data: Any, store: Any, signal: Any, context: Any, **kwargs: Any) -> Any:
        return self.result


class JobResult:
    """A handle of a queued job."""

    def __init__(self, *, state: str = "SUCCESS", ready: bool = False, failed: bool = False) -> None:
        self.state = state
        self.is_forgotten = False
        self._ready = ready
        self._failed = failed

    def ready(self) -> bool:
        return self._ready

    def failed(self) -> bool:
        return self._failed

    def forget(self) -> None:
        self.is_forgotten = True


@pytest.fixture
def given(data_mock: Mock, store_mock: Mock, signal_mock: Mock, context_mock: Mock) -> tuple[Any, ...]:
    return data_mock, store_mock, signal_mock, context_mock


class Outcome:
    """The three callbacks of `_run`, and which of them was called."""

    def __init__(self) -> None:
        self.success_callback, self.stop_callback, self.abort_callback = Mock(), Mock(), Mock()

    @property
    def called(self) -> list[str]:
        return [name for name, mock in vars(self).items() for _ in range(mock.call_count)]


# --- as in Lightflow ---


def test_a_fresh_task_has_lightflows_defaults() -> None:
    task = BaseTask("task-name")
    assert (task.name, task.queue, task.state) == ("task-name", "task", TaskState.Init)
    assert (task.has_to_run, task.propagate_skip) == (False, True)
    assert not any([task.is_waiting, task.is_running, task.is_completed, task.is_stopped, task.is_aborted])
    assert not any([task.is_skipped, task.has_job_result, task.job_pending, task.job_completed, task.job_failed])
    assert (task.job_state, task.job_result) == ("NOT_QUEUED", None)
    assert (task.workflow_name, task.dag_name) == (None, None)


def test_a_task_has_defaults_for_what_lightflow_lacks() -> None:
    task = BaseTask("t")
    assert task.job_options == JobOptions(0, 0.0, 1.0, None, 0, False)


def test_the_values_of_state_and_status_are_lightflows() -> None:
    assert [(state.name, state.value) for state in TaskState] == [
        ("Init", 1),
        ("Waiting", 2),
        ("Running", 3),
        ("Completed", 4),
        ("Stopped", 5),
        ("Aborted", 6),
    ]
    assert [(status.name, status.value) for status in TaskStatus] == [
        ("Success", 1),
        ("Stopped", 2),
        ("Aborted", 3),
        ("Error", 4),
    ]


def test_is_skipped_can_be_set_apart_from_the_state() -> None:
    task = BaseTask("t")
    task.is_skipped = True
    assert task.is_skipped
    assert task.state == TaskState.Init


@pytest.mark.parametrize("state", [state for state in TaskState if state is not TaskState.Init])
def test_exactly_one_is_property_follows_the_state(state: TaskState) -> None:
    task = BaseTask("t")
    task.state = state
    names = ["is_waiting", "is_running", "is_completed", "is_stopped", "is_aborted"]
    assert [name for name in names if getattr(task, name)] == [f"is_{state.name.lower()}"]


def test_the_job_properties_come_from_the_handle() -> None:
    task = BaseTask("t")
    task.job_result = JobResult(state="PENDING")
    assert (task.job_pending, task.job_completed, task.job_failed) == (True, False, False)
    assert (task.has_job_result, task.job_state) == (True, "PENDING")
    task.job_result = JobResult(ready=True)
    assert (task.job_pending, task.job_completed, task.job_failed) == (False, True, False)
    task.job_result = JobResult(failed=True)
    assert (task.job_pending, task.job_completed, task.job_failed) == (False, False, True)


def test_clearing_the_job_result_forgets_it() -> None:
    task, result = BaseTask("t"), JobResult()
    task.clear_job_result()
    task.job_result = result
    task.clear_job_result()
    assert result.is_forgotten


def test_run_calls_init_finally_and_success(given: tuple[Any, ...]) -> None:
    init, last, outcome = Mock(), Mock(), Outcome()
    BaseTask("t", callback_init=init, callback_finally=last)._run(*given, **vars(outcome))
    assert init.mock_calls == [call(*given)]
    assert last.mock_calls == [call(TaskStatus.Success, *given)]
    assert outcome.called == ["success_callback"]


@pytest.mark.parametrize("error", [Exception("no"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_is_an_error_and_is_raised_again(error: BaseException, given: tuple[Any, ...]) -> None:
    last, outcome = Mock(), Outcome()
    with pytest.raises(type(error)) as raised:
        RaisingTask("t", error, callback_finally=last)._run(*given, **vars(outcome))
    assert raised.value is error
    assert last.mock_calls == [call(TaskStatus.Error, *given)]
    assert outcome.called == []


def test_stop_task_is_told_to_finally_and_to_the_stop_callback(given: tuple[Any, ...]) -> None:
    last, outcome, error = Mock(), Outcome(), StopTask("enough")
    RaisingTask("t", error, callback_finally=last)._run(*given, **vars(outcome))
    assert last.mock_calls == [call(TaskStatus.Stopped, *given)]
    assert outcome.called == ["stop_callback"]
    assert outcome.stop_callback.mock_calls == [call(exc=error)]


def test_abort_workflow_is_told_to_finally_and_to_the_abort_callback(given: tuple[Any, ...]) -> None:
    last, outcome, error = Mock(), Outcome(), AbortWorkflow("all is lost")
    RaisingTask("t", error, callback_finally=last)._run(*given, **vars(outcome))
    assert last.mock_calls == [call(TaskStatus.Aborted, *given)]
    assert outcome.called == ["abort_callback"]
    assert outcome.abort_callback.mock_calls == [call(exc=error)]


def test_an_invalid_result_is_refused_and_is_an_error_for_finally(given: tuple[Any, ...]) -> None:
    last, outcome = Mock(), Outcome()
    with pytest.raises(TaskReturnActionInvalid, match="task 't' returned str 'whoops'; a task returns None or an"):
        ReturningTask("t", "whoops", callback_finally=last)._run(*given, **vars(outcome))
    assert last.mock_calls == [call(TaskStatus.Error, *given)]
    assert outcome.called == []


def test_a_returned_action_comes_back(given: tuple[Any, ...]) -> None:
    action = Action(create_autospec(MultiTaskData, instance=True))
    assert ReturningTask("t", action)._run(*given) is action


def test_without_data_there_is_one_empty_dataset_named_after_the_task(given: tuple[Any, ...]) -> None:
    _, *rest = given
    data = BaseTask("t")._run(None, *rest).data
    assert [dataset.data for dataset in data] == [{}]
    assert data("t").task_history == ["t"]


# --- what Lightflow did not test ---


def two_datasets() -> MultiTaskData:
    data = MultiTaskData(dataset=TaskData({"x": 1, "only_a": 1}, task_history=["a"]), aliases=["a"])
    data.add_dataset("b", TaskData({"x": 2, "only_b": 2}, task_history=["b"]))
    return data


def test_what_is_handed_on_is_flattened_with_the_name_in_its_history(given: tuple[Any, ...]) -> None:
    _, *rest = given
    action = BaseTask("j")._run(two_datasets(), *rest)
    assert action.limit is None
    assert [dataset.data for dataset in action.data] == [{"x": 1, "only_a": 1, "only_b": 2}]
    assert action.data.default_dataset.task_history == ["b", "a", "j"]


def test_the_action_decides_what_is_handed_on(given: tuple[Any, ...]) -> None:
    _, *rest = given
    other = MultiTaskData(dataset=TaskData({"y": 1}))
    action = ReturningTask("t", Action(other, limit=["next"]))._run(two_datasets(), *rest)
    assert (action.limit_names, action.data["y"]) == (("next",), 1)
    assert action.data.default_dataset.task_history == ["t"]


@pytest.mark.parametrize(("skip", "limit"), [(True, []), (False, None)])
def test_a_stopped_task_hands_on_its_data_and_maybe_skips_its_successors(
    skip: bool, limit: list[str] | None, given: tuple[Any, ...]
) -> None:
    _, *rest = given
    action = RaisingTask("t", StopTask(skip_successors=skip))._run(two_datasets(), *rest)
    assert action.limit == limit
    assert action.data["seen"]
    assert action.data.default_dataset.task_history == ["b", "a", "t"]


def test_an_aborted_task_hands_on_its_data_and_signals_nothing(given: tuple[Any, ...]) -> None:
    """What an abort means for the run is for its owner to decide; a signal of our own would race with the result."""
    _, *rest = given
    action = RaisingTask("t", AbortWorkflow())._run(two_datasets(), *rest)
    assert action.limit is None
    assert action.data["seen"]
    assert given[2].mock_calls == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no"), TaskStatus.Error), (StopTask(), TaskStatus.Stopped), (AbortWorkflow(), TaskStatus.Aborted)],
)
def test_what_callback_init_raises_the_task_raises(
    error: Exception, status: TaskStatus, given: tuple[Any, ...]
) -> None:
    run, last, outcome = Mock(return_value=None), Mock(), Outcome()
    task = BaseTask("t", callback_init=Mock(side_effect=error), callback_finally=last)
    task.run = run  # type: ignore[method-assign]
    if status is TaskStatus.Error:
        with pytest.raises(ValueError, match="no"):
            task._run(*given, **vars(outcome))
    else:
        task._run(*given, **vars(outcome))
    assert last.mock_calls == [call(status, *given)]
    assert run.mock_calls == []


@pytest.mark.parametrize("earlier", [None, StopTask(), AbortWorkflow()])
def test_what_callback_finally_raises_fails_the_task_and_it_is_not_called_again(
    earlier: Exception | None, given: tuple[Any, ...]
) -> None:
    last, outcome = Mock(side_effect=ValueError("from finally")), Outcome()
    task = RaisingTask("t", earlier, callback_finally=last) if earlier else BaseTask("t", callback_finally=last)
    with pytest.raises(ValueError, match="from finally"):
        task._run(*given, **vars(outcome))
    assert last.call_count == 1
    assert outcome.called == []


@pytest.mark.parametrize(("error", "called"), [(StopTask(), "stop_callback"), (AbortWorkflow(), "abort_callback")])
def test_callback_finally_may_stop_or_abort(error: Exception, called: str, given: tuple[Any, ...]) -> None:
    last, outcome = Mock(side_effect=error), Outcome()
    BaseTask("t", callback_finally=last)._run(*given, **vars(outcome))
    assert last.call_count == 1
    assert outcome.called == [called]


@pytest.mark.parametrize("later", [ValueError("from finally"), StopTask("from finally")])
def test_callback_finally_cannot_hide_the_error_of_the_task(later: Exception, given: tuple[Any, ...]) -> None:
    error = KeyError("the cause")
    with pytest.raises(KeyError) as raised:
        RaisingTask("t", error, callback_finally=Mock(side_effect=later))._run(*given)
    assert raised.value is error
    assert raised.value.__notes__ == [f"callback_finally of task 't' raised too: {later!r}"]


def test_changes_that_callback_finally_makes_to_the_data_are_kept(given: tuple[Any, ...]) -> None:
    def last(status: TaskStatus, data: MultiTaskData, *_: object) -> None:
        data["late"] = True

    _, *rest = given
    assert BaseTask("t", callback_finally=last)._run(two_datasets(), *rest).data["late"]


def test_data_that_cannot_be_merged_fails_the_task_before_success_is_told(given: tuple[Any, ...]) -> None:
    _, *rest = given
    data = MultiTaskData(dataset=TaskData({"x": {"deep": 1}}), aliases=["a"])
    data.add_dataset("b", TaskData({"x": 5}))
    outcome = Outcome()
    with pytest.raises(DataMergeConflict):
        BaseTask("t")._run(data, *rest, **vars(outcome))
    assert outcome.called == []


def test_an_action_without_any_dataset_fails_the_task(given: tuple[Any, ...]) -> None:
    outcome = Outcome()
    with pytest.raises(DataInvalidIndex):
        ReturningTask("t", Action(MultiTaskData()))._run(*given, **vars(outcome))
    assert outcome.called == []


def test_the_callbacks_of_run_are_optional(given: tuple[Any, ...]) -> None:
    for task in (BaseTask("t"), RaisingTask("t", StopTask()), RaisingTask("t", AbortWorkflow())):
        assert isinstance(task._run(*given), Action)


@pytest.mark.parametrize(
    ("option", "value"), [("queue", ""), ("queue", None), ("callback_init", 5), ("callback_finally", "f")]
)
def test_an_option_of_the_wrong_kind_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"task 't': {option} is .*, but must be "):
        BaseTask("t", **{option: value})


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_task_needs_a_name(name: Any) -> None:
    with pytest.raises(UsageError, match=r"name is .* but must be a text"):
        BaseTask(name)


def test_a_task_can_be_copied_and_pickled() -> None:
    task = RaisingTask("t", ValueError("no"), retries=2)
    for copy in (deepcopy(task), pickle.loads(pickle.dumps(task))):
        assert (copy.name, copy.job_options.retries) == ("t", 2)


def test_a_task_says_what_it_is() -> None:
    assert repr(ReturningTask("t", None)) == "ReturningTask('t')"
