"""The store in MongoDB: what it says when something is in the way. Real pymongo, over a socket, to the stand-in."""

import socket
import traceback
from collections.abc import Iterator

import pymongo
import pytest
from pymongo.errors import ConfigurationError

from meshflow.core.records import Batch, Stop
from meshflow.core.requests import (
    Append,
    AskStop,
    LoadRun,
    PutBlob,
    Request,
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import StoreError, StoreUnavailable, UsageError
from meshflow.store.mongo import MongoStore
from tests.store.contract_base import OTHER, RUN, ask, create, load
from tests.store.mongod_standin import MongodStandIn

SECRET = "hunter2-Geheim"


@pytest.fixture
def store(mongo_url: str) -> Iterator[MongoStore]:
    """An empty store."""
    store = MongoStore(mongo_url)
    yield store
    store.close()


def closed_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    store = MongoStore(f"mongodb://me:{SECRET}@127.0.0.1:{closed_port()}/db?serverSelectionTimeoutMS=30")
    with pytest.raises(StoreUnavailable, match=r"mongodb://.*/db cannot be reached: .*Connection refused") as raised:
        store.perform([LoadRun(RUN)])
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert "Topology" not in str(raised.value)
    store.close()


@pytest.mark.parametrize("hosts", ["localhost:{}", "127.0.0.1:{}", "127.0.0.1:{},localhost:{}"])
def test_a_server_that_is_not_there_is_named_as_its_user_wrote_it(hosts: str) -> None:
    """Not by the name of this host, which is how stores are told apart, and which the user never wrote."""
    written = hosts.format(closed_port(), closed_port())
    replica_set = "&replicaSet=rs" if "," in hosts else ""
    store = MongoStore(f"mongodb://me:{SECRET}@{written}/db?serverSelectionTimeoutMS=30{replica_set}")
    with pytest.raises(StoreUnavailable) as raised:
        store.perform([LoadRun(RUN)])
    store.close()
    assert str(raised.value).startswith(f"mongodb://{written}/db cannot be reached: ")
    for host in written.split(","):
        assert f"{host}: [Errno 111] Connection refused" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_a_password_after_which_the_host_was_forgotten_is_not_shown() -> None:
    with pytest.raises(UsageError) as raised:
        MongoStore(f"mongodb://me:{SECRET}")
    assert SECRET not in str(raised.value)
    assert "mongodb://me:.../meshflow" in str(raised.value)


def test_a_wrong_password_is_said_without_it(mongod: MongodStandIn) -> None:
    store = MongoStore(f"mongodb://me:{SECRET}@{mongod.address}/db?authMechanism=PLAIN&serverSelectionTimeoutMS=500")
    with pytest.raises(StoreError, match="user name or the password") as raised:
        store.perform([LoadRun(RUN)])
    assert not isinstance(raised.value, StoreUnavailable)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    store.close()


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        f"mongodb://me:{SECRET}/x@host/db",
        f"mongodb://me:{SECRET}:x@host/db",
        f"mongodb://me:{SECRET}?x@host/db",
        f"mongodb://me:{SECRET}@x@host/db",
        f"mongodb://me:{SECRET}@host:port/db",
        f"mongodb://me:{SECRET}@host/d b.c",
    ],
)
def test_a_malformed_url_is_said_without_the_password(url: str) -> None:
    with pytest.raises(UsageError, match="is not valid: expected mongodb://") as raised:
        MongoStore(url)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("code", [91, 189, 10107, 11600, 14031, 50, 262])
def test_errors_that_pass_are_unavailability(store: MongoStore, mongod: MongodStandIn, code: int) -> None:
    ask(store, create())
    mongod.fail("error", times=5, ok=0.0, code=code, errmsg="for the time being")
    with pytest.raises(StoreUnavailable, match="for the time being"):
        ask(store, AskStop(RUN, Stop.STOP, ""))
    mongod.fault = None
    assert ask(store, AskStop(RUN, Stop.STOP, "")) is True


@pytest.mark.parametrize(("code", "says"), [(13, "readWrite"), (9, "refused a request")])
def test_errors_that_stay_are_not(store: MongoStore, mongod: MongodStandIn, code: int, says: str) -> None:
    ask(store, create())
    mongod.fail("error", ok=0.0, code=code, errmsg="never")
    with pytest.raises(StoreError, match=says) as raised:
        ask(store, AskStop(RUN, Stop.STOP, ""))
    assert not isinstance(raised.value, StoreUnavailable)


@pytest.mark.parametrize(
    "request_",
    [create(), Append(Batch(RUN, 0, "t", ())), WriteOutput(RUN, "t", 1, "stdout", 0, b""), PutBlob(RUN, "k", b"")],
    ids=lambda request: type(request).__name__,
)
def test_a_write_that_no_majority_acknowledged_is_unavailability(
    store: MongoStore, mongod: MongodStandIn, request_: Request
) -> None:
    ask(store, create(OTHER))
    concern = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out"}
    mongod.fail("error", ok=1.0, n=1, nModified=0, value=None, writeConcernError=concern)
    with pytest.raises(StoreUnavailable, match="timed out"):
        ask(store, request_)


def test_broken_connections_are_made_again_without_a_word(store: MongoStore, mongod: MongodStandIn) -> None:
    ask(store, create())
    for done in range(1, 4):
        mongod.hang_up()
        assert ask(store, UpdateRun(RUN, 1, done=done)) is True
        mongod.hang_up()
        assert load(store).done == done


def test_hosts_that_cannot_be_looked_up_are_not_taken_for_a_malformed_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConfigurationError("The DNS query name does not exist")

    monkeypatch.setattr(pymongo, "MongoClient", fail)
    with pytest.raises(StoreUnavailable, match=r"mongodb\+srv://cluster\.example/x cannot be looked up") as raised:
        MongoStore(f"mongodb+srv://me:{SECRET}@cluster.example/x")
    assert SECRET not in "".join(traceback.format_exception(raised.value))
