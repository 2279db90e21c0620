"""What a running task may ask of its run.

A signal is one request and one answer. The client that carries them is the task process's own (`runtime/child.py`);
here only `send` is known of it. Nothing polls: `join_dags` waits in the client until the run answers, and
`stop_fileno` lets a waiting task sleep until it is told to stop.

A refusal is a response without success whose payload has `error`, the sentence for the user, and maybe `kind`, the
name of the exception to raise. A response without success and without `error` is an answer like any other.
"""

from collections.abc import Iterable, Mapping
from os import urandom
from typing import Any, Protocol

from meshflow.errors import DagNameUnknown, RequestActionUnknown, RequestFailed
from meshflow.models.action import Named, name_of
from meshflow.models.task_data import MultiTaskData

_UID_BYTES = 8


class Request:
    """Something asked of the run: an action with its payload, and a uid that the response repeats."""

    def __init__(self, action: str, *, payload: Mapping[str, Any] | None = None) -> None:
        self.action = action
        self.payload: dict[str, Any] = dict(payload or {})
        self.uid = urandom(_UID_BYTES).hex()


class Response:
    """The answer to the request of the same uid."""

    def __init__(self, success: bool, uid: str, *, payload: Mapping[str, Any] | None = None) -> None:
        self.success = success
        self.uid = uid
        self.payload: dict[str, Any] = dict(payload or {})


class SignalClient(Protocol):
    """Carries requests to the run. It may also have a method `stop_fileno`, see `TaskSignal.stop_fileno`."""

    def send(self, request: Request) -> Response:
        """Return the answer to `request`, however long it takes to come."""


class TaskSignal:
    """The `signal` that every task and callback is given.

    Each method raises RequestFailed if the run refuses.
    """

    def __init__(self, client: SignalClient, dag_name: str) -> None:
        """`dag_name` is the name of the task's own dag run, for example `main_dag:1`."""
        self._client = client
        self._dag_name = dag_name

    def start_dag(self, dag: str | Named, *, data: MultiTaskData | None = None) -> str | None:
        """Start a new run of a dag of this workflow and return its name, for example `sub_dag:1`.

        `dag` is a Dag or its name; `data` becomes the input of its root tasks (anything but a MultiTaskData is left
        out, as in Lightflow). None is returned if the workflow is stopping, so that nothing new starts.

        Raises:
            DagNameUnknown: the workflow has no dag of that name.
        """
        given = data if isinstance(data, MultiTaskData) else None
        name: str | None = self._ask("start_dag", name=name_of(dag), data=given)["dag_name"]
        return name

    def join_dags(self, names: str | Iterable[str | None] | None = None) -> bool:
        """Wait until none of the dag runs `names` is running, then return True.

        A single name may be given as it is. Unknown and finished names count as done, and so does a None in the list,
        which stands for a dag that `start_dag` did not start. No names at all, None, waits for all dag runs of the
        workflow but those whose running tasks all wait like this themselves.
        """
        listed: list[str] | None = None
        if names is not None:
            listed = [name for name in ([names] if isinstance(names, str) else names) if name is not None]
        self._ask("join_dags", names=listed)
        return True

    def is_completed(self, name: str) -> bool:
        """Whether the dag run `name` (as returned by `start_dag`) has ended, in whatever way; an unknown one has."""
        return bool(self._ask("is_dag_completed", name=name)["is_completed"])

    def stop_dag(self, name: str | None = None) -> bool:
        """Ask the dag run `name` (None: the task's own) to start nothing new; returns True, also for unknown names."""
        self._ask("stop_dag", name=self._dag_name if name is None else name)
        return True

    def stop_workflow(self) -> bool:
        """Ask the workflow and all its dag runs to start nothing new; returns True."""
        self._ask("stop_workflow")
        return True

    @property
    def is_stopped(self) -> bool:
        """Whether the task's own dag run has been asked to stop; a long task should look now and then, and return."""
        return bool(self._ask("is_dag_stopped", dag_name=self._dag_name)["is_stopped"])

    def stop_fileno(self) -> int | None:
        """A file descriptor that becomes readable when the task's own dag run is asked to stop, for `select` and the
        like: what a task that waits for something else should watch instead of polling `is_stopped`. It belongs to
        the client: don't read from it, don't close it. None if this client has no such thing.
        """
        fileno = getattr(self._client, "stop_fileno", None)
        return None if fileno is None else fileno()

    def _ask(self, action: str, **payload: Any) -> dict[str, Any]:
        return _send(self._client, Request(action, payload=payload))


class DagSignal:
    """What may be asked on behalf of a dag run."""

    def __init__(self, client: SignalClient, dag_name: str) -> None:
        self._client = client
        self._dag_name = dag_name

    def stop_workflow(self) -> bool:
        """Ask the workflow and all its dag runs to start nothing new; returns True."""
        _send(self._client, Request("stop_workflow"))
        return True

    @property
    def is_stopped(self) -> bool:
        """Whether the dag run has been asked to stop."""
        request = Request("is_dag_stopped", payload={"dag_name": self._dag_name})
        return bool(_send(self._client, request)["is_stopped"])


def _send(client: SignalClient, request: Request) -> dict[str, Any]:
    response = client.send(request)
    if not response.success and "error" in response.payload:
        reason = str(response.payload["error"])
        match response.payload.get("kind"):
            case "DagNameUnknown":
                raise DagNameUnknown(reason)
            case "RequestActionUnknown":
                raise RequestActionUnknown(reason)
            case _:
                raise RequestFailed(reason)
    return response.payload
