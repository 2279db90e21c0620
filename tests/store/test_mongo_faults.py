"""Promise 3 of a store, for MongoDB: a batch whose outcome is unknown can be sent again.

Each kind of write is made to fail at each of the writes that it consists of, in both ways: the server applies the write
and the connection breaks before the reply, or before the server gets it. pymongo repeats a write once by itself, so a
fault that lasts for one write is healed by it, and one that lasts for two is seen.
"""

from collections.abc import Sequence
from typing import Literal

import pymongo
import pytest

from meshflow.core.records import Batch, State, Stop, TaskEnded, Value
from meshflow.core.requests import (
    Answer,
    Append,
    AskStop,
    CopyBlob,
    CopyDocument,
    CreateRun,
    ExtendField,
    ForgetNode,
    GetBlob,
    GetField,
    ListNodes,
    ListRuns,
    Pickled,
    PutBlob,
    ReadLog,
    ReadOutput,
    RegisterNode,
    RemoveDocument,
    RemoveOrphans,
    RemoveRun,
    Request,
    SetFields,
    Sweep,
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import StoreUnavailable
from meshflow.ids import NodeId, RunId
from meshflow.store import mongo_requests
from meshflow.store.mongo import MongoStore
from meshflow.store.rules import LARGE_BYTES
from tests.store.contract_base import DAG, OTHER, RUN, create, end, record, sweep
from tests.store.mongod_standin import MongodStandIn

LARGE = Pickled(b"x" * (LARGE_BYTES + 1))
HUGE = b"x" * 2000
NODE = NodeId("aa" * 8)
NEW_DAG = create(DAG).record

BEFORE: list[Request] = [
    create(data={"old": LARGE, "list": [0]}),
    create(OTHER),
    PutBlob(RUN, "value/old", HUGE),
    PutBlob(RUN, "key", b"old"),
    Append(Batch(RUN, 0, "token-0", ())),
    RegisterNode(NodeId("bb" * 8), "tcp://192.0.2.1:1", 1.0),
]

WRITES: dict[str, Sequence[Request]] = {
    "create a workflow run": [
        end(OTHER),
        RemoveRun(OTHER),
        CreateRun(record(OTHER), {"code": b"1", "more": HUGE}, {"meta": {}, "data": {"x": LARGE}}),
    ],
    "create a dag run": [CreateRun(NEW_DAG, {"dag/1": b"1"})],
    "update a run": [
        UpdateRun(RUN, 1, State.RUNNING, "r", NODE, started_at=5.0),
        UpdateRun(RUN, 1, started_at=6.0, done=2),
    ],
    "stop a run": [AskStop(RUN, Stop.STOP, "one"), AskStop(RUN, Stop.STOP, "two"), AskStop(RUN, Stop.CANCEL, "three")],
    "append": [
        Append(Batch(RUN, 0, "rival", ())),
        *[Append(Batch(RUN, seq, f"token-{seq}", (TaskEnded(0, 1, State.FAILED, Value(b"x")),))) for seq in (1, 2, 3)],
        Append(Batch(DAG, 0, "token", (TaskEnded(0, 1, State.COMPLETED, Value(HUGE)),))),
        Append(Batch(RUN, 2, "rival", ())),
    ],
    "put blobs": [PutBlob(RUN, "value/old", b"new"), PutBlob(RUN, "key", HUGE)],
    "set fields": [
        SetFields(RUN, "data", {"old": [LARGE, 1], "a.b": LARGE, "c": 5}),
        SetFields(RUN, "data", {"old": 2}),
    ],
    "extend a list": [
        ExtendField(RUN, "data", "list", (1, LARGE), "token-1"),
        ExtendField(RUN, "data", "list", (2,), "token-2"),
        ExtendField(RUN, "data", "new.list", (3,), "token-3"),
        ExtendField(RUN, "data", "old", (3,), "token-4"),
    ],
    "copy from a run": [
        end(OTHER),
        RemoveRun(OTHER),
        SetFields(RUN, "data", {"a.b": LARGE, "c": 5}),
        PutBlob(RUN, "key", HUGE),
        CopyDocument(OTHER, RUN),
        CopyBlob(OTHER, RUN, "key"),
        CopyBlob(OTHER, RUN, "absent"),
    ],
    "remove a document": [RemoveDocument(RUN)],
    "write output": [WriteOutput(DAG, "t", 1, "stdout", offset, b"text", 1.0) for offset in (0, 4, 8, 4)],
    "keep the registry": [RegisterNode(NODE, "tcp://192.0.2.2:1", 2.0), ForgetNode(NodeId("bb" * 8))],
    "remove a run": [end(), RemoveRun(RUN)],
    "remove the output": [WriteOutput(RUN, "t", 1, "stdout", 0, HUGE), end(), RemoveRun(RUN, True)],
    "sweep": [end(), RemoveRun(RUN), Sweep(), Sweep()],
    "look for orphans": [PutBlob(RunId("0" * 24), "k", HUGE), *[RemoveOrphans(at, 1.5) for at in (1.0, 2.0)]],
}


@pytest.fixture(autouse=True)
def _small_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let bodies go to GridFS that are small enough for hundreds of tries."""
    monkeypatch.setattr(mongo_requests, "_INLINE_BYTES", len(HUGE) - 1)


def everything(store: MongoStore) -> list[Answer]:
    """All that can be read of it."""
    reads: list[Request] = [ListRuns(), ReadOutput(RUN), ListNodes()]
    for run in (RUN, OTHER):
        reads += [GetField(run, "data", ""), GetField(run, "meta", "")]
        reads += [GetBlob(run, key) for key in ("code", "more", "dag/1", "value/old", "key")]
    reads += [ReadLog(run) for run in (RUN, DAG, OTHER)]
    return store.perform(reads)


def send_until_answered(store: MongoStore, batch: Sequence[Request]) -> tuple[list[Answer], int]:
    """The answers, and how often there were none."""
    for failed in range(5):
        try:
            return store.perform(batch), failed
        except StoreUnavailable:
            pass
    raise AssertionError("the fault does not end")


def leftovers(mongod: MongodStandIn, database: str) -> dict[str, int]:
    """Documents that are in the database, by collection."""
    with pymongo.MongoClient[dict[str, object]](f"mongodb://{mongod.address}") as client:
        names = ("fs.files", "fs.chunks", "log", "blobs", "output", "workflow-data", "runs", "removals")
        return {name: len(list(client[database][name].find())) for name in names}


@pytest.mark.parametrize("fault", ["reply lost", "request lost"])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_fails_at_any_point_can_be_sent_again(
    mongod: MongodStandIn, mongo_url: str, name: str, fault: Literal["reply lost", "request lost"]
) -> None:
    store = MongoStore(f"{mongo_url}-undisturbed")
    store.perform(BEFORE)
    answers = store.perform(WRITES[name])
    expected = everything(store)
    store.close()

    failed_count = 0
    for skip in range(100):
        database = f"{mongo_url.rpartition('/')[2]}-{skip}"
        store = MongoStore(mongo_url, database=database)
        store.perform(BEFORE)
        mongod.fail(fault, skip=skip, times=2)
        given, failed = send_until_answered(store, WRITES[name])
        was_reached = mongod.fault is None
        mongod.fault = None
        assert everything(store) == expected, f"after a fault at write {skip}"
        if not failed:
            assert given == answers
        failed_count += failed
        store.perform([end(), end(OTHER), RemoveRun(RUN), RemoveRun(OTHER)])
        store.perform([RemoveOrphans(3.0, 4.0), RemoveOrphans(3.0, 4.0)])
        sweep(store)
        store.close()
        assert not any(leftovers(mongod, database).values())
        if not was_reached:
            break
    assert failed_count >= skip > 0


@pytest.mark.parametrize("name", [name for name in WRITES if "remove" not in name and name != "put blobs"])
def test_a_reply_that_is_lost_once_is_not_even_noticed(mongod: MongodStandIn, mongo_url: str, name: str) -> None:
    """pymongo sends the write again under the same number, and the server does not do it twice."""
    batch = [request for request in WRITES[name] if not isinstance(request, RemoveRun | ForgetNode)]
    outcomes: list[tuple[list[Answer], list[Answer]]] = []
    for database in ("undisturbed", "disturbed"):
        store = MongoStore(mongo_url, database=f"{mongo_url.rpartition('/')[2]}-{database}")
        store.perform(BEFORE)
        if database == "disturbed":
            mongod.fail("reply lost")
        outcomes.append((store.perform(batch), everything(store)))
        store.close()
    assert mongod.fault is None
    assert outcomes[0] == outcomes[1]
