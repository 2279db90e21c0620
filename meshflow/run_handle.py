"""One workflow run, as programs see it: its state, its end, what happened, what was printed, what came of its tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshflow.core.graph import DagDefinition
from meshflow.core.messages import RunOpen
from meshflow.core.records import RunRecord, State, Stop
from meshflow.core.requests import AskStop, ReadOutput
from meshflow.follow import Follower, News
from meshflow.following import Following, Listening
from meshflow.ids import RunId
from meshflow.mesh import Mesh
from meshflow.printed import Line, Printed
from meshflow.queue.models import JobEvent
from meshflow.results import find_result
from meshflow.run_view import RunView
from meshflow.store.remote import TooLargeForMesh
from meshflow.wait import Waiter

if TYPE_CHECKING:
    from meshflow.client import Client
    from meshflow.models.datastore import DataStoreDocument


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
        """The document of the run: what its tasks kept. When the run has completed it is there only if
        `keep_data` was asked for."""
        from meshflow.models.datastore import DataStoreDocument

        return DataStoreDocument(self._client.ask, self.id)

    def follow(self, *, with_output: bool = True, mesh: Mesh | None = None) -> Following:
        """The run as it goes on, from its beginning; for those who want to do something else meanwhile. `mesh` is a
        connection to use; None: that of the client."""
        mesh = mesh or self._client.mesh
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

    def result(self, task: str, dag: str | None = None) -> Any:
        """What a task that has ended has handed on: its MultiTaskData, or, of a decorated one, what it returned; of a
        mapped one the list of that.
        `dag` is the name of its dag run, such as `main_dag:1`; None: the only one in which a task of that name has a
        result.

        Raises:
            NotFound: no such task has a result (yet), or it was removed with the run.
            Ambiguous: several dag runs have one; the text names them.
        """
        from meshflow.models.payload import load_data
        from meshflow.models.task_data import add_item, no_items, value_of

        found = find_result(self._client.ask, self.view(), task, dag)
        if isinstance(found, bytes):
            return value_of(load_data(found))
        items = no_items()
        for each in found:
            add_item(items, load_data(each))
        return value_of(items)

    def results(self, timeout_s: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Of a run that `map_durable` has started: what each call returned, in order, once the run has ended.

        Raises:
            WaitTimeout: it has not ended after so many seconds; it goes on.
            RunFailed: it ended otherwise than completed, so some calls were not made.
            NotFound: it is no such run, or was removed.
            Whatever the first call raised that did. With `return_exceptions`, errors stand in the place of results.
        """
        from meshflow.durable import results_of

        self.wait(timeout_s)
        return results_of(self._client.ask, self.view(), return_exceptions=return_exceptions)

    def stop(self, reason: str = "") -> bool:
        """End the run gently: nothing new starts, running tasks end by themselves. False if it has ended already."""
        return self._end(Stop.STOP, reason)

    def cancel(self, reason: str = "") -> bool:
        """End the run at once: running tasks are killed. False if it has ended already."""
        return self._end(Stop.CANCEL, reason)

    def retry(self, *, rerun_at_most_once: bool = False) -> "RunHandle":
        """Run again what did not complete, and what hangs on it, as a new run; as `Client.retry`."""
        return self._client.retry(self, rerun_at_most_once=rerun_at_most_once)

    def _end(self, stop: Stop, reason: str) -> bool:
        accepted = self._client.ask(AskStop(self.id, stop, reason)) is True
        self._client.mesh.hint(RunOpen(self.id))
        return accepted
