"""How runs leave MongoDB: what is left there, and what is nobody's but not ours to remove."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import gridfs
import pymongo
import pytest
from bson import ObjectId
from pymongo.database import Database

from meshflow.core.records import Batch, State, TaskEnded, Value
from meshflow.core.requests import (
    Append,
    GetBlob,
    LoadRun,
    PutBlob,
    RemoveOrphans,
    RemoveRun,
    Request,
    WriteOutput,
)
from meshflow.errors import StoreUnavailable
from meshflow.ids import RunId
from meshflow.store import mongo_removals
from meshflow.store.mongo import MongoStore
from tests.store.contract_base import DAG, OTHER, RUN, ask, create, end, sweep
from tests.store.mongod_standin import MongodStandIn
from tests.store.test_mongo import HUGE, LARGE, file_count


@pytest.fixture
def store(mongo_url: str) -> Iterator[MongoStore]:
    """An empty store."""
    store = MongoStore(mongo_url)
    yield store
    store.close()


@pytest.fixture
def database(mongo_url: str) -> Iterator[Database[dict[str, Any]]]:
    """The same database, as any other program sees it."""
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        yield client.get_default_database()


def test_a_removed_run_leaves_nothing_not_even_chunks_of_files_never_finished(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    huge = TaskEnded(0, 1, State.COMPLETED, Value(HUGE))
    batch: list[Request] = [create(data={"x": LARGE}), create(DAG), Append(Batch(DAG, 0, "token", (huge,)))]
    batch += [PutBlob(DAG, "value/1", HUGE), PutBlob(RUN, "key", HUGE), WriteOutput(DAG, "t", 1, "stdout", 0, HUGE)]
    store.perform(batch)
    database["fs.chunks"].insert_one({"files_id": f"{RUN}:log:abandoned", "n": 0, "data": b"x"})
    assert store.perform([end(), RemoveRun(RUN)]) == [True, True]
    sweep(store)
    assert {name: database[name].find_one() for name in ("runs", "log", "blobs", "output", "workflow-data")} == (
        dict.fromkeys(("runs", "log", "blobs", "output", "workflow-data"))
    )
    assert database["removals"].find_one() is None
    assert file_count(database) == 0


def test_a_removal_that_was_cut_short_is_finished_by_the_next_one(
    store: MongoStore, mongod: MongodStandIn, database: Database[dict[str, Any]]
) -> None:
    store.perform([create(data={"x": LARGE}), create(DAG), create(OTHER), Append(Batch(DAG, 0, "token", ()))])
    assert store.perform([end(), end(DAG)]) == [True, True]
    mongod.fail("request lost", skip=2, times=2)
    with pytest.raises(StoreUnavailable):
        ask(store, RemoveRun(RUN))
    assert ask(store, LoadRun(RUN)) is None
    assert database["log"].find_one() is not None
    assert file_count(database) == 1
    sweep(store)
    assert ask(store, LoadRun(DAG)) is None
    assert database["log"].find_one() is None
    assert file_count(database) == 0
    assert database["workflow-data"].find_one({"_id": ObjectId(RUN)}) is None


def test_what_is_left_of_files_half_written_goes_with_the_orphans_if_it_is_old(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    """Also of a run that is kept; files of other programs are left alone."""
    store.perform([create(), PutBlob(RUN, "key", HUGE)])
    kept = list(database["fs.chunks"].find())
    foreign = {"_id": ObjectId.from_datetime(datetime(2020, 1, 1)), "files_id": ObjectId(), "n": 0, "data": b"x"}
    old = {"_id": ObjectId.from_datetime(datetime(2020, 1, 2)), "files_id": f"{RUN}:blob:1", "n": 0, "data": b"x"}
    new = {"_id": ObjectId(), "files_id": f"{RUN}:blob:2", "n": 0, "data": b"x"}
    database["fs.chunks"].insert_many([foreign, old, new])
    after = ""
    for _ in range(10):
        after = str(ask(store, RemoveOrphans(2e9, datetime(2021, 1, 1).timestamp(), after)))
        if not after:
            break
    assert after == ""
    assert list(database["fs.chunks"].find()) == [*kept, foreign, new]
    assert ask(store, GetBlob(RUN, "key")) == HUGE


def test_documents_of_lightflow_are_no_orphans(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    database["workflow-data"].insert_one({"_id": ObjectId(RUN), "meta": {}, "data": {}})
    file = gridfs.GridFS(database).put(b"pickle", workflow_id=RUN)
    for at in (1.0, 2.0, 3.0):
        for after in ("", "chunks:"):
            ask(store, RemoveOrphans(at, at - 0.5, after))
        sweep(store)
    assert database["workflow-data"].find_one({"_id": ObjectId(RUN)}) is not None
    assert gridfs.GridFS(database).get(file).read() == b"pickle"


def test_a_search_for_orphans_goes_on_where_the_last_one_ended(
    store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_removals, "_LOOKED_AT", 3)
    runs = [RunId(f"{number:024x}") for number in range(7)]
    store.perform([PutBlob(run, "key", b"1") for run in runs])
    for at in (1.0, 2.0):
        after, steps = "", 0
        while steps == 0 or after:
            after, steps = str(ask(store, RemoveOrphans(at, 1.5, after))), steps + 1
        assert steps == 4, "three for the runs, one for files"
    assert sweep(store) == (7, 7)
