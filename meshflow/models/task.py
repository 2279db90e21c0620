"""The base of all tasks, and the wrapper that runs one.

A task object is a blueprint: it is pickled where the workflow is submitted, and each attempt at it runs a copy made
from that pickle. What the mesh must know of it (queue, flags, retries) travels beside the pickle, in a `TaskSpec`.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, Protocol

from meshflow.errors import AbortWorkflow, StopTask, TaskReturnActionInvalid, UsageError
from meshflow.models.action import Action
from meshflow.models.datastore import DataStoreDocument
from meshflow.models.job_options import JobOption, JobOptions
from meshflow.models.signal import TaskSignal
from meshflow.models.task_context import TaskContext
from meshflow.models.task_data import MultiTaskData, compose


class TaskState(IntEnum):
    """Where a task object stands, for code that drives tasks by itself; the mesh keeps its own records."""

    Init = 1
    Waiting = 2
    Running = 3
    Completed = 4
    Stopped = 5
    Aborted = 6


class TaskStatus(IntEnum):
    """How a task ended, as told to `callback_finally`."""

    Success = 1
    Stopped = 2
    """It raised StopTask."""
    Aborted = 3
    """It raised AbortWorkflow."""
    Error = 4
    """It raised anything else, or returned what a task may not return."""


InitCallback = Callable[[MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], object]
FinallyCallback = Callable[[TaskStatus, MultiTaskData, DataStoreDocument, TaskSignal, TaskContext], object]


_Given = tuple[MultiTaskData, DataStoreDocument, TaskSignal, TaskContext]
"""What every callback of a task is given."""


class JobHandle(Protocol):
    """What is known of a task that was queued, for code that drives tasks by itself."""

    @property
    def state(self) -> str:
        """`PENDING` while it waits on its queue."""

    def ready(self) -> bool:
        """Whether it has ended."""

    def failed(self) -> bool:
        """Whether it has ended in failure."""

    def forget(self) -> None:
        """Drop its result."""


class BaseTask:
    """A task: derive from this class and implement `run`.

    `workflow_name` and `dag_name` are filled where the task runs.
    """

    retries = JobOption()
    retry_delay = JobOption()
    backoff = JobOption()
    timeout = JobOption()
    priority = JobOption()
    at_most_once = JobOption()
    cache = JobOption()

    NOT_IN_KEY: ClassVar[tuple[str, ...]] = (
        *("_queue", "_job_options", "_force_run", "_propagate_skip", "workflow_name", "dag_name"),
    )
    """Attributes that make no difference to the result of a task with `cache`."""

    # What most tasks leave as it is stands here and not in each of them, nor in each of their pickles.
    workflow_name: str | None = None
    dag_name: str | None = None
    _job_options = JobOptions()
    _state = TaskState.Init
    _is_skipped = False
    _job_result: JobHandle | None = None

    def __init__(
        self,
        name: str,
        *,
        queue: str = "task",
        callback_init: InitCallback | None = None,
        callback_finally: FinallyCallback | None = None,
        force_run: bool = False,
        propagate_skip: bool = True,
        retries: int = 0,
        retry_delay: float = 0.0,
        backoff: float = 1.0,
        timeout: float | None = None,
        priority: int = 0,
        at_most_once: bool = False,
        cache: bool = False,
    ) -> None:
        """Describe the task; every option but the name has a default.

        Args:
            name: unique within the dag.
            queue: only nodes that serve it run the task.
            callback_init: `(data, store, signal, context)`, called before `run`; what it raises, the task raises.
            callback_finally: `(status, data, store, signal, context)`, called once after `run`, however that ended,
                unless the process died.
            force_run: run even if every parent was skipped or chose other successors.
            propagate_skip: False lets the successors run if this task is skipped.
            retries: how often a failed or lost attempt is tried again, beyond the first.
            retry_delay: seconds before the first of these.
            backoff: each further one waits this many times longer; at least 1.
            timeout: seconds after which an attempt is ended and fails; None is no limit.
            priority: larger goes first; ties go first in, first out.
            at_most_once: never start a second attempt: if the node is lost, the task fails.
            cache: if a task of the same code has had the same inputs, take its result and do not run.

        Raises:
            UsageError: an option is out of its range.
        """
        for option, text in (("name", name), ("queue", queue)):
            if not isinstance(text, str) or not text:
                raise UsageError(f"task {name!r}: {option} is {text!r:.80}, but must be a text that is not empty")
        for option, callback in (("callback_init", callback_init), ("callback_finally", callback_finally)):
            if callback is not None and not callable(callback):
                raise UsageError(f"task {name!r}: {option} is {callback!r:.80}, but must be callable")
        job_options = JobOptions(retries, retry_delay, backoff, timeout, priority, at_most_once, cache)
        job_options.check(name)
        if job_options != self._job_options:
            self._job_options = job_options
        self._name = name
        self._queue = queue
        self._callback_init = callback_init
        self._callback_finally = callback_finally
        self._force_run = force_run
        self._propagate_skip = propagate_skip

    @property
    def name(self) -> str:
        """The name, unique within the dag."""
        return self._name

    @property
    def splits(self) -> tuple[str, ...] | None:
        """Of a mapped task: the parents whose values only it gets, to split them for its instances; else None."""
        return None

    @property
    def queue(self) -> str:
        """The queue on which attempts wait for a node."""
        return self._queue

    @property
    def has_to_run(self) -> bool:
        """Whether the task runs even if every parent was skipped or chose other successors."""
        return self._force_run

    @property
    def propagate_skip(self) -> bool:
        """Whether skipping this task speaks against running its successors."""
        return self._propagate_skip

    @property
    def job_options(self) -> JobOptions:
        """How its attempts are made: retries, timeout, priority."""
        return self._job_options

    @property
    def state(self) -> TaskState:
        """What was last set; `TaskState.Init` at first."""
        return self._state

    @state.setter
    def state(self, state: TaskState) -> None:
        self._state = state

    @property
    def is_waiting(self) -> bool:
        """Whether the state is Waiting."""
        return self._state == TaskState.Waiting

    @property
    def is_running(self) -> bool:
        """Whether the state is Running."""
        return self._state == TaskState.Running

    @property
    def is_completed(self) -> bool:
        """Whether the state is Completed; a skipped task is completed too."""
        return self._state == TaskState.Completed

    @property
    def is_stopped(self) -> bool:
        """Whether the state is Stopped."""
        return self._state == TaskState.Stopped

    @property
    def is_aborted(self) -> bool:
        """Whether the state is Aborted."""
        return self._state == TaskState.Aborted

    @property
    def is_skipped(self) -> bool:
        """Whether the task was skipped; independent of `state`."""
        return self._is_skipped

    @is_skipped.setter
    def is_skipped(self, value: bool) -> None:
        self._is_skipped = value

    @property
    def job_result(self) -> JobHandle | None:
        """The handle of the queued job that was set; None before."""
        return self._job_result

    @job_result.setter
    def job_result(self, result: JobHandle | None) -> None:
        self._job_result = result

    @property
    def has_job_result(self) -> bool:
        """Whether a handle was set."""
        return self._job_result is not None

    @property
    def job_pending(self) -> bool:
        """Whether the job waits on its queue."""
        return self._job_result is not None and self._job_result.state == "PENDING"

    @property
    def job_completed(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self._job_result is not None and self._job_result.ready()

    @property
    def job_failed(self) -> bool:
        """Whether the job has failed."""
        return self._job_result is not None and self._job_result.failed()

    @property
    def job_state(self) -> str:
        """The state of the job, `NOT_QUEUED` before there is one."""
        return "NOT_QUEUED" if self._job_result is None else self._job_result.state

    def clear_job_result(self) -> None:
        """Have the result of the job dropped, if there is a job."""
        if self._job_result is not None:
            self._job_result.forget()

    def run(
        self, data: MultiTaskData, store: DataStoreDocument, signal: TaskSignal, context: TaskContext, **kwargs: Any
    ) -> Action | None:
        """Do the work; this one does nothing.

        Returns None to hand `data` on to all successors, or an Action.
        """

    def _run(
        self,
        data: MultiTaskData | None,
        store: DataStoreDocument,
        signal: TaskSignal,
        context: TaskContext,
        *,
        success_callback: Callable[[], object] | None = None,
        stop_callback: Callable[..., object] | None = None,
        abort_callback: Callable[..., object] | None = None,
    ) -> Action:
        """Run the task with its callbacks and return what it hands on: one dataset with the task in its history.

        At the end exactly one of the callbacks is called: `success_callback()`, `stop_callback(exc=StopTask)` or
        `abort_callback(exc=AbortWorkflow)`; none if the task failed. What a failure or an abort means for the run
        is for its owner to decide, so nothing is signalled from here. `data` None is one empty dataset.

        Raises whatever the task raised but StopTask and AbortWorkflow, and:
            TaskReturnActionInvalid: the task returned neither None nor an Action.
            DataMergeConflict: the datasets cannot be merged into one.
        """
        given = compose([], task_name=self._name) if data is None else data
        action, raised = self._attempt(given, store, signal, context)
        raised = self._finish(raised, given, store, signal, context)
        match raised:
            case None:
                done = self._handed_on(action or Action(given))
                if success_callback is not None:
                    success_callback()
            case StopTask():
                done = self._handed_on(Action(given, limit=[] if raised.skip_successors else None))
                if stop_callback is not None:
                    stop_callback(exc=raised)
            case AbortWorkflow():
                done = self._handed_on(Action(given))
                if abort_callback is not None:
                    abort_callback(exc=raised)
            case _:
                raise raised
        return done

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    def _attempt(self, *given: *_Given) -> tuple[Action | None, BaseException | None]:
        try:
            if self._callback_init is not None:
                self._callback_init(*given)
            action = self.run(*given)
            if action is not None and not isinstance(action, Action):
                raise TaskReturnActionInvalid(
                    f"task {self._name!r} returned {type(action).__name__} {action!r:.80}; "
                    "a task returns None or an Action"
                )
        # SystemExit too is a failure of the task: callback_finally must hear of it.
        except BaseException as exc:
            return None, exc
        return action, None

    def _finish(self, raised: BaseException | None, *given: *_Given) -> BaseException | None:
        """Call `callback_finally`, once, and return what the task has raised in the end: the callback may stop, abort
        or fail a task, but it cannot make a failure undone."""
        if self._callback_finally is None:
            return raised
        status = _status(raised)
        try:
            self._callback_finally(status, *given)
        except BaseException as exc:
            if raised is None or status is not TaskStatus.Error:
                return exc
            raised.add_note(f"callback_finally of task {self._name!r} raised too: {exc!r}")
        return raised

    def _handed_on(self, action: Action) -> Action:
        action.data.flatten(in_place=True)
        action.data.add_task_history(self._name)
        return action


def _status(raised: BaseException | None) -> TaskStatus:
    match raised:
        case None:
            return TaskStatus.Success
        case StopTask():
            return TaskStatus.Stopped
        case AbortWorkflow():
            return TaskStatus.Aborted
        case _:
            return TaskStatus.Error
