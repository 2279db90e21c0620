"""A retry leaves the same in every store."""

from pathlib import Path

from meshflow.core.requests import GetBlob, GetField, ListRuns, LoadRun, PutBlob, ReadLog, Request, SetFields
from meshflow.ids import dag_run_id
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore
from meshflow.store.mongo import MongoStore
from meshflow.store.sqlite import SqliteStore
from tests.core.builders import WF, ended, workflow
from tests.core.test_retrying import FAILED, NEW, Old, key, large

PUT: dict[str, object] = {"large": b"x" * 100_000, "deep.list": [1, {"more": b"y" * 200_000}]}


def left_by_a_retry(store: Store) -> list[object]:
    """All that can be read of the new run."""
    old = Old(workflow("d", "sub", clear_data_store=False), (large(0), large(1), ended(2, FAILED)), store)
    for index, size in enumerate((100_000, 9_000_000)):
        old.perform(PutBlob(WF, key(index), bytes([index]) * size))
    old.perform(SetFields(WF, "data", PUT))
    old.retry()
    reads: list[Request] = [LoadRun(NEW), ListRuns(parent=NEW), GetField(NEW, "data", "")]
    reads += [ReadLog(NEW), *(ReadLog(dag_run_id(NEW, name)) for name in ("d:1", "sub:1"))]
    reads += [GetBlob(NEW, each) for each in (key(0), key(1), "workflow", "dag/d", "dag/sub")]
    return old.perform(*reads)


def test_a_retry_leaves_the_same_in_every_store(tmp_path: Path, mongo_url: str) -> None:
    stores: list[Store] = [MemoryStore(), SqliteStore(tmp_path / "store.db"), MongoStore(mongo_url)]
    left = [left_by_a_retry(store) for store in stores]
    for store in stores:
        store.close()
    assert left[0] == left[1] == left[2]
    assert all(each is not None for each in left[0])
