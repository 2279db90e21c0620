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
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshflow.config import Config
from meshflow.core.graph import DagDefinition
from meshflow.core.messages import RunOpen
from meshflow.core.records import RunRecord, State, Stop
from meshflow.core.requests import Answer, AskStop, ListRuns, LoadRun, ReadOutput, Refused, Request
from meshflow.errors import StoreUnavailable, UsageError
from meshflow.follow import Follower, News
from meshflow.following import Following, FollowingAll, Listening
from meshflow.ids import RunId, new_run_id
from meshflow.mesh import Mesh, NodeReport, NoMesh
from meshflow.printed import Line, Printed
from meshflow.queue.models import JobEvent
from meshflow.references import LAST, NotFound, find_node, find_run
from meshflow.run_view import RunView
from meshflow.store.remote import TooLargeForMesh
from meshflow.wait import Waiter

if TYPE_CHECKING:
    from meshflow.models.datastore import DataStoreDocument
    from meshflow.models.submission import Submission
    from meshflow.models.workflow import Workflow

_ID_DIGITS = 24


class RunHandle:
    """One workflow run."""

    def __init__(
        self, client: "Client", record: RunRecord, definitions: Mapping[str, DagDefinition] | None = None
    ) -> None:
        self._client = client
        self._record = record
        self._definitions = definitions

    @property
    def id(self) -> RunId:
        """The run id: 24 hex digits."""
        return self._record.run

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self._record.name

    @property
    def record(self) -> RunRecord:
        """What the store says of the run now; it may lag a moment behind the run."""
        if not self._record.state.is_final:
            self._record = self._client.load(self.id)
        return self._record

    @property
    def state(self) -> State:
        """The state of the run now."""
        return self.record.state

    @property
    def reason(self) -> str:
        """Why the run is in its state; empty where nothing needs saying."""
        return self.record.reason

    @property
    def store(self) -> "DataStoreDocument":
        """The document of the run: what its tasks kept. After the run it is there only if `keep_data` was asked for."""
        from meshflow.models.datastore import DataStoreDocument

        return DataStoreDocument(self._client.ask, self.id)

    def follow(self, *, with_output: bool = True) -> Following:
        """The run as it goes on, from its beginning; for those who want to do something else meanwhile."""
        mesh = self._client.mesh
        follower = Follower(self.id, node_name=mesh.node_name, definitions=self._definitions, with_output=with_output)
        return Following(mesh, follower)

    def view(self) -> RunView:
        """The run as its logs have it now, with its dag runs and tasks."""
        following = self.follow(with_output=False)
        following.catch_up()
        return following.view

    def wait(self, timeout_s: float | None = None) -> State:
        """Wait for the end of the run; its final state. None: for as long as it takes.

        Raises:
            WaitTimeout: the time is over; the run goes on.
        """
        waiter = Waiter(self.id)
        for _ in Listening(self._client.mesh, self.id, [waiter], with_tasks=False).until_done(timeout_s):
            pass
        self._record = waiter.record
        return self._record.state

    def events(self, *, follow: bool = True) -> Iterator[JobEvent]:
        """What happened to the run and its jobs, from the beginning. With `follow`, until the run ends."""
        news = self._followed(with_output=False) if follow else self.follow(with_output=False).catch_up()
        return (event for event in news if isinstance(event, JobEvent))

    def logs(self, *, follow: bool = False, task: str | None = None, attempt: int | None = None) -> Iterator[Line]:
        """What the tasks printed, line by line. With `follow`, until the run ends."""
        if follow:
            lines = (news for news in self._followed() if isinstance(news, Line))
            return (line for line in lines if task in (None, line.task) and attempt in (None, line.attempt))
        try:
            return self._stored_lines(ReadOutput(self.id, task, attempt))
        except TooLargeForMesh:
            if task is not None:
                raise
            asks = [ReadOutput(dag.run, each.name) for dag in self.view().dags.values() for each in dag.tasks]
            return (line for ask in asks for line in self._stored_lines(ask))

    def _stored_lines(self, request: ReadOutput) -> Iterator[Line]:
        chunks = self._client.ask(request)
        assert isinstance(chunks, tuple)
        printed = Printed()
        return iter([*printed.accept(chunks), *printed.flush()])

    def _followed(self, *, with_output: bool = True) -> Iterator[News]:
        following = self.follow(with_output=with_output)
        yield from following.until_done()
        self.ended_as(following.view)

    def ended_as(self, view: RunView) -> None:
        """Take over how the run ended from one who followed it: the logs tell it before the record does."""
        done = sum(1 for task in view.tasks if task.state.is_final)
        self._record = replace(
            self._client.load(self.id),
            state=view.state,
            reason=view.reason,
            started_at=view.started_at,
            ended_at=view.ended_at,
            total=view.task_count,
            done=done,
        )

    def stop(self, reason: str = "") -> bool:
        """End the run gently: nothing new starts, running tasks end by themselves. False if it has ended already."""
        return self._end(Stop.STOP, reason)

    def cancel(self, reason: str = "") -> bool:
        """End the run at once: running tasks are killed. False if it has ended already."""
        return self._end(Stop.CANCEL, reason)

    def _end(self, stop: Stop, reason: str) -> bool:
        accepted = self._client.ask(AskStop(self.id, stop, reason)) is True
        self._client.mesh.hint(RunOpen(self.id))
        return accepted


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

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the mesh; runs go on."""
        self.mesh.close()

    def submit(
        self,
        workflow: "str | Path | Workflow",
        arguments: Mapping[str, Any] | None = None,
        *,
        queue: str = "workflow",
        keep_data: bool = False,
    ) -> RunHandle:
        """Hand a workflow (its name, its file, or a loaded one) to the mesh. When this returns, the run will finish,
        or say why not, whichever node dies.

        `queue` and `keep_data` are for a workflow that is given by name or file; a loaded one has its own.

        Raises:
            WorkflowError, WorkflowArgumentError: something is wrong with the workflow or its arguments (see
                `submitting.load_workflow` and `models.submission.pack`); nothing was stored.
            NoMesh, StoreUnavailable: the mesh or its store did not answer.
        """
        from meshflow.models.submission import pack
        from meshflow.submitting import load_workflow

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
        for request in requests:
            try:
                answer = self.ask(request)
            except (NoMesh, StoreUnavailable) as problem:
                problem.message += (
                    f"; whether run {record.run} was accepted is not known, so before you submit it again, "
                    f"see: meshflow status {record.run}"
                )
                raise
            if isinstance(answer, Refused):
                raise UsageError(f"workflow {record.name!r} cannot be submitted: {answer.reason}")
        self.mesh.hint(RunOpen(record.run))
        return RunHandle(self, record, submission.dags)

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
