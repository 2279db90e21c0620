"""Lightflow's DataStore, on the stand-in."""

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson.errors import InvalidId

from meshflow.errors import StoreUnavailable, UsageError
from meshflow.models.datastore import DataStoreDocument, DataStoreDocumentSection
from meshflow.models.exceptions import DataStoreNotConnected
from meshflow.store.datastore import DataStore
from tests.store.mongod_standin import MongodStandIn


@pytest.fixture
def place(mongod: MongodStandIn, mongo_url: str) -> tuple[str, int, str]:
    """Host, port and database."""
    host, _, port = mongod.address.partition(":")
    return host, int(port), mongo_url.rpartition("/")[2]


@pytest.fixture
def store(place: tuple[str, int, str]) -> Iterator[DataStore]:
    """Connected."""
    with DataStore(*place) as store:
        yield store


class Hurried(DataStore):
    """Sleeps in no time, and notes it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.slept: list[float] = []
        self._sleep = self.slept.append
        self._clock = lambda: sum(self.slept)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_documents_are_added_found_used_and_removed(store: DataStore) -> None:
    workflow_id = store.add({"name": "simple"})
    assert len(workflow_id) == 24
    assert int(workflow_id, 16)
    assert store.exists(workflow_id) is True
    document = store.get(workflow_id)
    assert isinstance(document, DataStoreDocument)
    assert document.get("name", section=DataStoreDocumentSection.Meta) == "simple"
    assert document.set("a.b", {1, 2}) is True
    assert document.push("list", 1) is True
    assert document.extend("list", [2, None]) is True
    assert (document.get("a.b"), document.get("list"), document.get("x", 7)) == ({1, 2}, [1, 2, None], 7)
    assert store.remove(workflow_id) is True
    assert store.exists(workflow_id) is False
    assert store.remove(workflow_id) is False


def test_a_document_may_begin_empty(store: DataStore) -> None:
    document = store.get(store.add())
    assert document.get("x") is None
    assert store.add() != store.add()


def test_ids_that_are_none(store: DataStore) -> None:
    assert store.exists(None) is False
    assert store.exists("5f" * 12) is False
    with pytest.raises(InvalidId):
        store.exists("nonsense")
    assert store.remove("nonsense") is False


def test_what_mongodb_cannot_hold_is_no_payload(store: DataStore) -> None:
    with pytest.raises(UsageError, match="set is not a native type"):
        store.add({"x": {1}})


def connections(store: DataStore) -> list[bool]:
    """Whether it is connected: before, between and after."""
    found = [store.is_connected]
    store.connect()
    found.append(store.is_connected)
    store.disconnect()
    store.disconnect()
    return [*found, store.is_connected]


def test_it_is_connected_between_connect_and_disconnect(place: tuple[str, int, str]) -> None:
    store = DataStore(*place)
    assert (store.host, store.port, store.database) == place
    assert connections(store) == [False, True, False]
    assert connections(DataStore(*place, auto_connect=True)) == [True, True, False]
    with store:
        assert store.server_info["version"]
    assert store.is_connected is False


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.server_info,
        lambda store: store.add(),
        lambda store: store.exists("5f" * 12),
        lambda store: store.remove("5f" * 12),
        lambda store: store.get("5f" * 12).get("x"),
    ],
)
def test_nothing_can_be_done_before_it_is_connected(
    place: tuple[str, int, str], use: Callable[[DataStore], Any]
) -> None:
    with pytest.raises(DataStoreNotConnected, match=r"call its connect\(\)"):
        use(DataStore(*place, handle_reconnect=False))


def test_a_host_may_be_a_whole_url(place: tuple[str, int, str]) -> None:
    host, port, database = place
    with DataStore(f"mongodb://{host}:{port}/other", 0, database) as store, DataStore(*place) as same:
        assert same.exists(store.add())


def test_without_a_server_it_says_so_at_once_if_told_not_to_be_patient() -> None:
    with DataStore("127.0.0.1", closed_port(), "db", connect_timeout=30, handle_reconnect=False) as store:
        assert store.is_connected is False
        with pytest.raises(DataStoreNotConnected, match="Connection refused"):
            store.add()


def test_without_a_server_it_tries_for_five_minutes(caplog: pytest.LogCaptureFixture) -> None:
    with Hurried("127.0.0.1", closed_port(), "db", connect_timeout=1) as store:
        assert store.is_connected is False  # asks, and does not wait
        assert store.slept == []
        with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable):
            store.exists("5f" * 12)
    assert store.slept[:6] == [1, 2, 4, 8, 10, 10]
    assert 300 <= sum(store.slept) < 311
    assert caplog.messages[2] == "reconnecting to MongoDB, attempt 3 (3 seconds elapsed)"


def test_it_goes_on_when_the_server_is_back(place: tuple[str, int, str], mongod: MongodStandIn) -> None:
    with Hurried(*place) as store:
        document = store.get(store.add())
        mongod.fail("reply lost", times=6)
        assert document.push("list", 1) is True
        assert store.slept == [1, 2, 4]
        assert document.get("list") == [1]


def test_a_login_is_tried_with_the_given_name(place: tuple[str, int, str]) -> None:
    """The stand-in lets nobody in; without a name there is no login."""
    secret = "hunter2"
    with DataStore(*place, username="me", password=secret, auth_mechanism="PLAIN", connect_timeout=500) as store:
        assert store.is_connected is False
        with pytest.raises(Exception, match="refuses the user name") as raised:
            store.add()
    assert secret not in str(raised.value)
