"""What each signal sends, and what it makes of the answer."""

from typing import Any

import pytest

from meshflow.errors import DagNameUnknown, MeshflowError, RequestActionUnknown, RequestFailed
from meshflow.models.dag import Dag
from meshflow.models.signal import DagSignal, Request, Response, TaskSignal
from meshflow.models.task_data import MultiTaskData


class Client:
    """Keeps the requests and answers each the same."""

    def __init__(self, success: bool = True, **payload: Any) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self._answer = (success, payload)

    def send(self, request: Request) -> Response:
        self.sent.append((request.action, request.payload))
        success, payload = self._answer
        return Response(success, request.uid, payload=payload)


class StoppableClient(Client):
    """A client that has a descriptor to wait on."""

    def stop_fileno(self) -> int:
        return 17


def test_requests_have_uids_of_their_own() -> None:
    assert len({Request("x").uid for _ in range(100)}) == 100
    assert Request("x").payload == Response(True, "u").payload == {}
    response = Response(False, "u", payload={"a": 1})
    assert (response.success, response.uid, response.payload) == (False, "u", {"a": 1})


@pytest.mark.parametrize("dag", ["sub", Dag("sub")])
def test_start_dag_sends_the_name_and_returns_that_of_the_run(dag: Dag | str) -> None:
    client, data = Client(dag_name="sub:1"), MultiTaskData()
    assert TaskSignal(client, "main:1").start_dag(dag, data=data) == "sub:1"
    assert client.sent == [("start_dag", {"name": "sub", "data": data})]


@pytest.mark.parametrize("data", [None, {"x": 1}, 5])
def test_start_dag_passes_on_nothing_but_multi_task_data(data: Any) -> None:
    client = Client(dag_name="sub:1")
    TaskSignal(client, "main:1").start_dag("sub", data=data)
    assert client.sent == [("start_dag", {"name": "sub", "data": None})]


def test_start_dag_returns_none_while_the_workflow_stops() -> None:
    assert TaskSignal(Client(success=False, dag_name=None), "main:1").start_dag("sub") is None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("DagNameUnknown", DagNameUnknown),
        ("RequestActionUnknown", RequestActionUnknown),
        ("Other", RequestFailed),
        (None, RequestFailed),
    ],
)
def test_a_refusal_is_raised_as_what_it_is(kind: str | None, error: type[MeshflowError]) -> None:
    client = Client(success=False, error="no dag 'x'; there are 'a', 'b'", kind=kind)
    with pytest.raises(error, match="no dag 'x'; there are 'a', 'b'") as raised:
        TaskSignal(client, "main:1").start_dag("x")
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("names", "sent"),
    [
        ("sub:1", ["sub:1"]),
        (["a:1", "b:1"], ["a:1", "b:1"]),
        (("a:1",), ["a:1"]),
        ([], []),
        (None, None),
        ([None, "a:1"], ["a:1"]),
    ],
)
def test_join_dags_sends_a_list_of_names(names: Any, sent: list[str] | None) -> None:
    client = Client()
    assert TaskSignal(client, "main:1").join_dags(names) is True
    assert client.sent == [("join_dags", {"names": sent})]


@pytest.mark.parametrize("answer", [True, False])
def test_is_completed_asks_for_a_dag_run(answer: bool) -> None:
    client = Client(is_completed=answer)
    assert TaskSignal(client, "main:1").is_completed("sub:1") is answer
    assert client.sent == [("is_dag_completed", {"name": "sub:1"})]


@pytest.mark.parametrize(("name", "sent"), [(None, "main:1"), ("sub:1", "sub:1")])
def test_stop_dag_means_the_own_run_unless_told_otherwise(name: str | None, sent: str) -> None:
    client = Client()
    assert TaskSignal(client, "main:1").stop_dag(name) is True
    assert client.sent == [("stop_dag", {"name": sent})]


@pytest.mark.parametrize("signal", [TaskSignal, DagSignal])
def test_stop_workflow_and_is_stopped_of_both_kinds_of_signal(signal: Any) -> None:
    client = Client()
    assert signal(client, "main:1").stop_workflow() is True
    assert client.sent == [("stop_workflow", {})]
    client = Client(is_stopped=True)
    assert signal(client, "main:1").is_stopped is True
    assert client.sent == [("is_dag_stopped", {"dag_name": "main:1"})]


def test_the_stop_descriptor_is_that_of_the_client_if_it_has_one() -> None:
    assert TaskSignal(Client(), "main:1").stop_fileno() is None
    assert TaskSignal(StoppableClient(), "main:1").stop_fileno() == 17
