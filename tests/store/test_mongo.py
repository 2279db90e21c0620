"""The store in MongoDB: what it leaves there for others to read, and how it asks.

Real pymongo, over a socket, to the stand-in.
"""

import pickle
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import gridfs
import pymongo
import pytest
from bson import ObjectId
from pymongo.database import Database

from meshflow.core.records import Batch, State, Stop, TaskEnded, Value
from meshflow.core.requests import (
    Append,
    AskStop,
    CreateRun,
    ExtendField,
    GetBlob,
    GetField,
    ListRuns,
    LoadRun,
    Pickled,
    PutBlob,
    ReadLog,
    Refused,
    RemoveDocument,
    RemoveRun,
    Request,
    SetFields,
    Sweep,
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import StoreError
from meshflow.ids import RunId
from meshflow.store import mongo_document
from meshflow.store.mongo import MongoStore
from meshflow.store.rules import LARGE_BYTES
from tests.store.contract_base import OTHER, RUN, ask, create, end, load, record
from tests.store.mongod_standin import MongodStandIn

LARGE = b"x" * (LARGE_BYTES + 1)
HUGE = b"x" * (17 * 1024 * 1024)


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


def document(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """The document of the run."""
    found = database["workflow-data"].find_one({"_id": ObjectId(RUN)})
    assert found is not None
    return found


def file_count(database: Database[dict[str, Any]]) -> int:
    """How many files there are in GridFS; that no chunk is without its file is checked on the way."""
    files = [each["_id"] for each in database["fs.files"].find()]
    assert {each["files_id"] for each in database["fs.chunks"].find()} == set(files)
    return len(files)


# --- what others read ---


def test_a_document_lies_as_lightflow_laid_it_out_with_values_as_themselves(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    when = datetime(2024, 2, 29, 12, 0, 0, 1000)
    values: dict[str, Any] = {
        "n": 1,
        "f": 0.5,
        "s": "text",
        "none": None,
        "b": b"\x00",
        "when": when,
        "l": [1, {"x": 2}],
    }
    store.perform([create(data={"sample": values}), SetFields(RUN, "data", {"sample.more": [True]})])
    found = document(database)
    assert type(found.pop("lastModified")) is datetime
    assert found == {"_id": ObjectId(RUN), "meta": {"name": "simple"}, "data": {"sample": {**values, "more": [True]}}}


def test_what_is_not_native_is_marked_and_if_large_lies_in_gridfs_under_the_run(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    store.perform(
        [create(), SetFields(RUN, "data", {"small": Pickled(b"p"), "large": [Pickled(LARGE)], "bytes": LARGE})]
    )
    data = document(database)["data"]
    assert data["small"] == {"__meshflow_pickle__": b"p"}
    assert data["bytes"]["holds"] == "bytes"
    assert data["large"][0]["holds"] == "pickle"
    for mark in (data["bytes"], data["large"][0]):
        file = gridfs.GridFS(database).get(mark["__meshflow_file__"])
        assert file.read() == LARGE
        assert file.workflow_id == RUN


def test_names_that_mongodb_cannot_hold_are_spelled_out(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    names = {"a.b": 1, "$c": 2, "d\0": 3, "100%": 4, "%2E": 5, "__meshflow_pickle__": 6}
    store.perform([create(), SetFields(RUN, "data", {"x": names})])
    assert document(database)["data"]["x"] == {
        **{"a%2Eb": 1, "%24c": 2, "d%00": 3, "100%": 4, "%252E": 5},
        **{"%5F_meshflow_pickle__": 6},
    }


def test_a_run_can_be_found_and_understood_with_any_client(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    store.perform([create(created_at=5.0), UpdateRun(RUN, 2, State.FAILED, "why")])
    found = database["runs"].find_one({"workflow": "simple"})
    assert found is not None
    assert (found["_id"], found["state"], found["reason"], found["epoch"]) == (RUN, "failed", "why", 2)


def test_a_document_that_lightflow_wrote_can_be_read_and_removed(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    pickled = pickle.dumps({1, 2})
    file = gridfs.GridFS(database).put(pickled, workflow_id=RUN)
    other = gridfs.GridFS(database).put(pickled, workflow_id=OTHER)
    data = {"number": 5, "array": file, "list": [file, "x"]}
    database["workflow-data"].insert_one({"_id": ObjectId(RUN), "meta": {}, "data": data})
    assert ask(store, GetField(RUN, "data", "")) == (
        True,
        {"number": 5, "array": Pickled(pickled), "list": [Pickled(pickled), "x"]},
    )
    assert isinstance(ask(store, GetField(RUN, "data", "array.x")), Refused)
    assert ask(store, ExtendField(RUN, "data", "list", (1,), "token")) is True
    assert ask(store, RemoveDocument(RUN)) is True
    assert [each["_id"] for each in database["fs.files"].find()] == [other]


# --- files come and go with what refers to them ---


def test_files_go_when_their_value_is_overwritten_or_removed(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    store.perform([create(data={"a": {"b": LARGE, "c": [LARGE]}, "d": LARGE}), PutBlob(RUN, "key", HUGE)])
    assert file_count(database) == 4
    ask(store, SetFields(RUN, "data", {"a.b": LARGE}))
    assert file_count(database) == 4
    ask(store, SetFields(RUN, "data", {"a": 1}))
    assert file_count(database) == 2
    ask(store, PutBlob(RUN, "key", HUGE))
    assert file_count(database) == 2
    ask(store, PutBlob(RUN, "key", b"small"))
    assert file_count(database) == 1
    ask(store, RemoveDocument(RUN))
    assert file_count(database) == 0


def test_files_of_changes_that_come_to_nothing_go_again(store: MongoStore, database: Database[dict[str, Any]]) -> None:
    assert ask(store, SetFields(RUN, "data", {"x": LARGE})) is False
    assert ask(store, ExtendField(RUN, "data", "x", (LARGE,), "token")) is False
    ask(store, create(data={"x": 5}))
    assert isinstance(ask(store, SetFields(RUN, "data", {"x.y": LARGE})), Refused)
    assert isinstance(ask(store, ExtendField(RUN, "data", "x", (LARGE,), "token")), Refused)
    huge = TaskEnded(0, 1, State.COMPLETED, Value(HUGE))
    assert store.perform([Append(Batch(RUN, 0, token, (huge,))) for token in ("a", "b", "a")]) == [True, False, True]
    assert file_count(database) == 1


# --- limits ---


def test_only_the_latest_tokens_are_remembered(
    store: MongoStore, database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongo_document, "TOKENS_KEPT", 3)
    store.perform([create(), *(ExtendField(RUN, "data", "list", (1,), f"{number}") for number in range(5))])
    assert document(database)["tokens"] == ["2", "3", "4"]


def test_a_document_that_would_get_too_large_is_refused_and_stays_as_it_was(store: MongoStore) -> None:
    text = "x" * (9 * 1024 * 1024)
    assert store.perform([create(), SetFields(RUN, "data", {"a": text})]) == [True, True]
    for request in (SetFields(RUN, "data", {"b": text}), ExtendField(RUN, "data", "list", (text,), "token")):
        answer = ask(store, request)
        assert isinstance(answer, Refused)
        assert "16 MB" in answer.reason
    assert isinstance(ask(store, SetFields(RUN, "data", {"b": text * 2})), Refused)
    assert isinstance(ask(store, create(OTHER, data={"b": text * 2})), Refused)
    assert store.perform([LoadRun(OTHER), GetField(RUN, "data", "b")]) == [None, (False, None)]


def test_a_run_without_a_proper_id_can_have_no_document(store: MongoStore) -> None:
    run = RunId("not-24-hex")
    assert isinstance(ask(store, create(run)), Refused)
    assert ask(store, SetFields(run, "data", {"x": 1})) is False
    assert isinstance(ask(store, GetField(run, "data", "x")), Refused)
    assert ask(store, RemoveDocument(run)) is False


def test_a_value_whose_file_another_program_removed_is_refused(
    store: MongoStore, database: Database[dict[str, Any]]
) -> None:
    store.perform(
        [create(data={"x": LARGE}), Append(Batch(RUN, 0, "t", (TaskEnded(0, 1, State.FAILED, Value(HUGE)),)))]
    )
    database["fs.files"].delete_many({})
    answer = ask(store, GetField(RUN, "data", "x"))
    assert isinstance(answer, Refused)
    assert "missing" in answer.reason
    with pytest.raises(StoreError, match="missing"):
        ask(store, ReadLog(RUN))


@pytest.mark.parametrize("key", ["\udcff", "x" * 10 + "\ud800"])
def test_a_name_that_fits_no_store_is_an_error_of_the_store(store: MongoStore, key: str) -> None:
    with pytest.raises(StoreError, match="cannot hold what was asked"):
        store.perform([PutBlob(RUN, key, b"1")])
    with pytest.raises(StoreError, match="cannot hold what was asked"):
        store.perform([UpdateRun(RUN, 2**64)])
    assert ask(store, PutBlob(RUN, "key", b"1")) is True


# --- how it asks ---


def test_every_write_is_acknowledged_by_a_majority_with_journal_and_reads_see_only_such(
    store: MongoStore, mongod: MongodStandIn
) -> None:
    ask(store, create())
    mongod.commands.clear()
    batch: list[Request] = [
        create(OTHER),
        PutBlob(RUN, "k", HUGE),
        Append(Batch(RUN, 0, "t", ())),
        AskStop(RUN, Stop.STOP, ""),
    ]
    batch += [
        WriteOutput(RUN, "t", 1, "stdout", 0, b""),
        SetFields(RUN, "data", {"x": LARGE}),
        LoadRun(RUN),
        ReadLog(RUN),
    ]
    store.perform([*batch, GetField(RUN, "data", "x"), GetBlob(RUN, "k"), ListRuns(), end(), RemoveRun(RUN), Sweep()])
    by_name: dict[str, list[dict[str, Any]]] = {}
    for command in mongod.commands:
        by_name.setdefault(next(iter(command)), []).append(command)
    assert by_name.keys() >= {"insert", "update", "findAndModify", "delete", "find"}
    for name in ("insert", "update", "findAndModify", "delete"):
        for command in by_name[name]:
            assert command["writeConcern"] == {"w": "majority", "j": True, "wtimeout": 20_000}
    for command in by_name["find"]:
        assert command["readConcern"]["level"] == "majority"


def test_appends_that_follow_each_other_travel_together(store: MongoStore, mongod: MongodStandIn) -> None:
    ask(store, LoadRun(RUN))
    mongod.commands.clear()
    store.perform([Append(Batch(RUN, seq, "token", ())) for seq in range(64)])
    assert [next(iter(command)) for command in mongod.commands] == ["insert"]


def test_options_in_the_url_go_before_the_defaults(mongo_url: str) -> None:
    store = MongoStore(f"{mongo_url}?serverselectiontimeoutms=123&appName=mine")
    options = store._client.options
    assert options.server_selection_timeout == 0.123
    assert options.pool_options.appname == "mine"
    assert options.pool_options.socket_timeout == 30.0
    store.close()


# --- conditional writes ---


def test_a_taken_epoch_fences_also_the_first_start(store: MongoStore) -> None:
    """`started_at` takes a conditional write of its own, which must be fenced too."""
    store.perform([create(), UpdateRun(RUN, 5)])
    assert ask(store, UpdateRun(RUN, 4, started_at=1.0)) is False
    assert load(store).started_at is None


def test_creating_a_run_whose_document_is_there_keeps_the_document(store: MongoStore) -> None:
    """As after an attempt that was cut short before the record was written."""
    store._requests.documents.create(RUN, {"meta": {}, "data": {"x": 1}})
    assert ask(store, CreateRun(record(), {}, {"meta": {}, "data": {"x": 2}})) is True
    assert ask(store, GetField(RUN, "data", "x")) == (True, 1)


# --- others in between ---


def test_of_two_that_create_a_run_at_once_one_wins(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival comes after the look whether the run exists."""
    rival = MongoStore(mongo_url)
    put_all = store._requests._blobs.put_all

    def put_all_after_rival(forms: Sequence[dict[str, Any]]) -> None:
        assert ask(rival, create(name="rival")) is True
        put_all(forms)

    monkeypatch.setattr(store._requests._blobs, "put_all", put_all_after_rival)
    assert ask(store, create(name="mine")) is False
    assert load(store).name == "rival"
    rival.close()


@pytest.mark.parametrize("change", [SetFields(RUN, "data", {"x": b"new" + LARGE}), SetFields(RUN, "data", {"x": 5})])
def test_a_large_value_that_is_overwritten_while_it_is_read_is_read_again(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch, change: SetFields
) -> None:
    rival = MongoStore(mongo_url)
    ask(store, create(data={"x": LARGE}))
    get, changes = store._requests._files.get, [change]

    def get_after_rival(reference: object) -> bytes | None:
        if changes:
            assert ask(rival, changes.pop()) is True
        return get(reference)

    monkeypatch.setattr(store._requests._files, "get", get_after_rival)
    assert ask(store, GetField(RUN, "data", "x")) == (True, change.items["x"])
    rival.close()


def test_a_path_that_becomes_passable_while_it_is_looked_at_is_tried_again(
    store: MongoStore, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = MongoStore(mongo_url)
    ask(store, create(data={"a": 5, "b": 5}))
    read = store._requests.documents._table.read
    changes = [SetFields(RUN, "data", {"a": {}}), SetFields(RUN, "data", {"b": {}})]

    def read_after_rival(query: dict[str, Any], fields: Sequence[str] = ()) -> dict[str, Any] | None:
        if changes:
            assert ask(rival, changes.pop(0)) is True
        return read(query, fields)

    monkeypatch.setattr(store._requests.documents._table, "read", read_after_rival)
    assert ask(store, SetFields(RUN, "data", {"a.x": LARGE})) is True
    assert ask(store, ExtendField(RUN, "data", "b.x", (LARGE,), "token")) is True
    assert ask(store, GetField(RUN, "data", "")) == (True, {"a": {"x": LARGE}, "b": {"x": [LARGE]}})
    rival.close()
