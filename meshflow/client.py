"""Submitting, watching and ending runs: what the command line and Python programs do with a mesh.

    with Client() as client:
        run = client.submit("simple")
        run.wait()
        for line in run.logs():
            print(line.task, line.text)

All reading and writing of runs goes through the store of the mesh, by way of any node. When `submit` returns, the run
is durable; what a client sends to nodes besides are hints that may be lost. Everything a client waits for it can leave:
the run goes on without it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from meshflow.config import Config
from meshflow.core.messages import RunOpen
from meshflow.core.records import RunRecord
from meshflow.core.requests import Answer, ListRuns, LoadRun, Refused, Request
from meshflow.errors import StoreUnavailable, UsageError
from meshflow.following import FollowingAll
from meshflow.ids import RunId, new_run_id
from meshflow.mesh import Mesh, NodeReport, NoMesh
from meshflow.queue.models import JobEvent
from meshflow.references import LAST, NotFound, find_node, find_run
from meshflow.run_handle import RunHandle
from meshflow.store.base import perform_steps

if TYPE_CHECKING:
    from meshflow.call_future import CallFuture
    from meshflow.calls import Calling, Calls
    from meshflow.models.submission import Submission
    from meshflow.models.workflow import Workflow
    from meshflow.models.workflow_function import WorkflowFunction

P = ParamSpec("P")
T = TypeVar("T")

_ID_DIGITS = 24


class Client:
    """A way into a mesh, to be used in a `with` block or closed by hand."""

    def __init__(self, config: Config | None = None, connect: str | None = None, *, mesh: Mesh | None = None) -> None:
        """`connect` is `host:port` of a node; None: as the configuration says, else a node of this host. `mesh` is a
        connection that is made already.

        Raises:
            NoMesh: no node answered.
            WrongKey: one is there and refuses the key of this client.
        """
        if config is None:
            config = Config.from_file(None, strict=False)
        self.config = config
        if mesh is None:
            from meshflow.connect import open_mesh

            mesh = open_mesh(config.settings, connect)
        self.mesh = mesh
        self.mesh.connect()
        self._calls: Calls | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the mesh. Runs go on; calls that have not ended are ended."""
        if self._calls is not None:
            self._calls.close()
        self.mesh.close()

    # --- functions ---

    @property
    def calling(self) -> "Calling":
        """Submits functions as this client does without further options."""
        from meshflow.calls import Calling, CallOptions, Calls

        if self._calls is None:
            self._calls = Calls(self.mesh.hire, connect=self.mesh.another)
        return Calling(self._calls, CallOptions())

    def options(self, **changes: Any) -> "Calling":
        """What submits functions with these options: `client.options(queue="gpu").submit(train, 7)`. They are the
        fields of `calls.CallOptions`."""
        return self.calling.options(**changes)

    def map(self, function: Callable[..., T], /, *iterables: Iterable[Any]) -> "list[CallFuture[T]]":
        """Call a function for each element, or for each row of several iterables, the shortest of which counts. Its
        future for each call, in order. Short calls travel together.

        Raises: as `submit` of a function.
        """
        return self.calling.map(function, *iterables)

    def map_durable(
        self,
        function: Callable[..., Any],
        /,
        *iterables: Iterable[Any],
        name: str | None = None,
        queue: str = "task",
        retries: int = 2,
        calls_per_task: int | None = None,
    ) -> RunHandle:
        """Call a function for each element, or for each row of several iterables, as a run: when this returns, all
        calls will be made, whatever becomes of this program. `RunHandle.results` has what they returned.

        Each is made at least once. They are made by tasks of up to 256 (`calls_per_task`), and again with those that
        share a task if its process or node dies, up to `retries` times if it is the process.

        Args:
            name: of the run, for `meshflow status`; None: that of the function.

        Raises:
            PickleFailed: the function or an argument cannot be pickled.
            UsageError: an option is out of its range.
            NoMesh, StoreUnavailable: as `submit` of a workflow.
        """
        from meshflow.durable import pack_calls

        rows = zip(*iterables, strict=False)
        return self.submit_packed(
            pack_calls(function, rows, name, calls_per_task=calls_per_task, queue=queue, retries=retries)
        )

    def gather(self, futures: "Iterable[Future[T]]", *, return_exceptions: bool = False) -> list[T]:
        """The results of futures, in their order, once all are there; as `calls.gather`."""
        from meshflow.calls import gather

        return gather(futures, return_exceptions=return_exceptions)

    def as_completed(self, futures: "Iterable[Future[T]]", timeout_s: float | None = None) -> "Iterator[Future[T]]":
        """The futures as they end, the first first; as `calls.as_completed`."""
        from meshflow.calls import as_completed

        return as_completed(futures, timeout_s)

    def cancel(self, futures: "Iterable[CallFuture[Any]]") -> None:
        """End calls, even those that run: their futures are cancelled, their processes ended."""
        if self._calls is not None:
            self._calls.cancel(futures)

    @overload
    def submit(  # type: ignore[overload-overlap]  # A decorated workflow can be called too: it counts as workflow.
        self,
        workflow: "str | Path | Workflow | WorkflowFunction[...]",
        /,
        arguments: Mapping[str, Any] | None = None,
        *,
        queue: str = "workflow",
        keep_data: bool = False,
    ) -> RunHandle: ...

    @overload
    def submit(self, workflow: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> "CallFuture[T]": ...

    def submit(self, workflow: Any, /, *arguments: Any, **keywords: Any) -> Any:
        """Hand a workflow or a function to the mesh.

        A workflow (its name, its file, a decorated function, or a loaded one) may be followed by its `arguments`, a
        mapping; `queue` and `keep_data` are not for a loaded one, which has its own. When this returns, the run will
        finish, or say why not, whichever node dies.

        A function is called with the arguments that follow; its future is returned at once. The call lives as long as
        this client. It is made again if its node dies while it runs, unless `options(at_most_once=True)`.

        Raises:
            PickleFailed: the function or an argument cannot be pickled.
            WorkflowError, WorkflowArgumentError: something is wrong with the workflow or its arguments (see
                `submitting.load_workflow` and `models.submission.pack`); nothing was stored.
            NoMesh, StoreUnavailable: the mesh or its store did not answer.
        """
        from meshflow.models.workflow import Workflow
        from meshflow.models.workflow_function import WorkflowFunction

        if isinstance(workflow, str | Path | Workflow | WorkflowFunction):
            return self._submit_workflow(workflow, *arguments, **keywords)
        return self.calling.submit(workflow, *arguments, **keywords)

    def _submit_workflow(
        self,
        workflow: "str | Path | Workflow | WorkflowFunction[...]",
        arguments: Mapping[str, Any] | None = None,
        *,
        queue: str = "workflow",
        keep_data: bool = False,
    ) -> RunHandle:
        from meshflow.models.submission import pack
        from meshflow.models.workflow import Workflow
        from meshflow.models.workflow_function import WorkflowFunction
        from meshflow.submitting import load_workflow

        if isinstance(workflow, WorkflowFunction):
            workflow = Workflow.from_function(workflow, queue=queue, clear_data_store=not keep_data)
        if isinstance(workflow, str | Path):
            loaded = load_workflow(self.config, workflow, arguments, queue=queue, keep_data=keep_data)
            return self.submit_packed(pack(loaded))
        return self.submit_packed(pack(workflow, arguments))

    def submit_packed(self, submission: "Submission") -> RunHandle:
        """Hand over a workflow that is packed already.

        Raises:
            NoMesh, StoreUnavailable: the mesh or its store did not answer. The store may have taken the run all the
                same: the text has its id.
            UsageError: the store refuses the arguments.
        """
        from meshflow.submitting import creation

        record, requests = creation(submission, new_run_id(random.SystemRandom()), time.time())
        with _telling_of(record.run):
            for request in requests:
                answer = self.ask(request)
                if isinstance(answer, Refused):
                    raise UsageError(f"workflow {record.name!r} cannot be submitted: {answer.reason}")
        self.mesh.hint(RunOpen(record.run))
        return RunHandle(self, record, submission.dags)

    def retry(self, run: str | RunHandle, *, rerun_at_most_once: bool = False) -> RunHandle:
        """Run again what did not complete of a run that has ended, and what hangs on it, as a new run: its handle.

        Tasks and sub-dags that completed keep their results; arguments are those of the old run, which stays as it is.
        Tasks that may run at most once, and may have run, are run again only with `rerun_at_most_once`.

        Raises:
            NotRetryable: the run goes on, has completed, lacks what is needed, or has such tasks; the text says which.
            NotFound, Ambiguous: as `run`.
            NoMesh, StoreUnavailable: the mesh or its store did not answer. The store may have taken the new run all the
                same: the text has its id.
        """
        from meshflow.core.retrying import Retry
        from meshflow.wire import StoredDefinitions

        old = self.load(run.id if isinstance(run, RunHandle) else self.run(run).id)
        new = new_run_id(random.SystemRandom())
        retry = Retry(old, new, StoredDefinitions(), time.time(), rerun_at_most_once=rerun_at_most_once)
        with _telling_of(new):
            record = perform_steps(self.mesh, retry.steps())
        self.mesh.hint(RunOpen(new))
        return RunHandle(self, record)

    def run(self, reference: str = LAST) -> RunHandle:
        """The run that is meant by an id, the beginning of one, `@last`, or the name of a workflow (its newest run).

        Raises:
            NotFound: none is meant.
            Ambiguous: several could be.
        """
        if len(reference) == _ID_DIGITS:
            record = self.ask(LoadRun(RunId(reference)))
            if isinstance(record, RunRecord):
                return RunHandle(self, record)
        limit = 1 if reference == LAST else None
        return RunHandle(self, find_run(reference, self.runs(limit=limit)))

    def handle(self, record: RunRecord) -> RunHandle:
        """The run that a record is of."""
        return RunHandle(self, record)

    def runs(
        self, *, is_open: bool | None = None, workflow: str | None = None, limit: int | None = None
    ) -> list[RunRecord]:
        """Workflow runs, newest first. `is_open`: True those that go on, False those that ended, None all."""
        found = self.ask(ListRuns(is_open=is_open, workflows_only=True, workflow=workflow, limit=limit))
        assert isinstance(found, tuple)
        return self._counted(list(found))

    def _counted(self, records: list[RunRecord]) -> list[RunRecord]:
        """The records, open ones with the counts of their dag runs: their own are written when they end."""
        asked = [record.run for record in records if not record.state.is_final]
        answers = self.mesh.perform([ListRuns(parent=run) for run in asked])
        dags = {run: dags for run, dags in zip(asked, answers, strict=True) if isinstance(dags, tuple)}
        return [
            replace(
                record,
                total=sum(dag.total for dag in dags[record.run]),
                done=sum(dag.done for dag in dags[record.run]),
            )
            if record.run in dags
            else record
            for record in records
        ]

    def open_jobs(self) -> list[RunRecord]:
        """Every workflow run and dag run that goes on, newest first."""
        found = self.ask(ListRuns(is_open=True))
        assert isinstance(found, tuple)
        return list(found)

    def nodes(self) -> list[NodeReport]:
        """The nodes of the mesh and what each is doing now."""
        return self.mesh.nodes()

    def stop_node(self, reference: str) -> bool:
        """Drain a node, named by its name or id: it finishes or gives back what it has, and leaves. Whether it heard.

        Raises:
            NotFound: there is none.
            Ambiguous: several could be meant.
        """
        return self.mesh.drain(find_node(reference, self.mesh.living()))

    def events(self) -> Iterator[JobEvent]:
        """What happens to all runs from now on, without end."""
        return (news for news in FollowingAll(self.mesh).until_done() if isinstance(news, JobEvent))

    def ask(self, request: Request) -> Answer:
        """Have one request performed by the store of the mesh.

        Raises:
            NoMesh, StoreUnavailable: the mesh or its store did not answer.
        """
        return self.mesh.perform((request,))[0]

    def load(self, run: RunId) -> RunRecord:
        """The record of a run.

        Raises:
            NotFound: it was removed.
        """
        record = self.ask(LoadRun(run))
        if not isinstance(record, RunRecord):
            raise NotFound(f"there is no run {run!r}; it may have been removed")
        return record


@contextmanager
def _telling_of(run: RunId) -> Iterator[None]:
    """Have errors say that the run, which is being created, may have been accepted."""
    try:
        yield
    except (NoMesh, StoreUnavailable) as problem:
        problem.message += (
            f"; whether run {run} was accepted is not known, so before you try again, see: meshflow status {run}"
        )
        raise
