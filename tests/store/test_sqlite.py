"""The embedded store: batches, and how things lie in its tables."""

from pathlib import Path

import pytest

from meshflow.core.records import Batch, Noted
from meshflow.core.requests import (
    Append,
    ExtendField,
    GetBlob,
    GetField,
    ListRuns,
    LoadRun,
    Pickled,
    PutBlob,
    Refused,
    RemoveDocument,
    RemoveRun,
    Request,
    SetFields,
    UpdateRun,
)
from meshflow.errors import StoreError, StoreUnavailable, UsageError
from meshflow.store import rules, values
from meshflow.store.sqlite import SqliteStore
from tests.store.another_program import change, rows
from tests.store.contract_base import DAG, OTHER, RUN, ask, create, end, sweep

LARGE = b"x" * (rules.LARGE_BYTES + 1)


# --- batches ---


def test_a_batch_that_fails_leaves_nothing(store: SqliteStore) -> None:
    fine: list[Request] = [create(), PutBlob(RUN, "key", b"1"), SetFields(RUN, "data", {"x": 1})]
    wrong = Append(Batch(RUN, 0, "token", (Noted(5),)))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        store.perform([*fine, wrong])
    assert store.perform([LoadRun(RUN), GetBlob(RUN, "key")]) == [None, None]
    assert store.perform([*fine, GetField(RUN, "data", "x")]) == [True, True, True, (True, 1)]


def test_a_full_disk_is_said_and_nothing_is_lost(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of pages stands in for the end of the disk; SQLite answers with the same error."""
    ask(store, create())
    assert store._session is not None
    store._session._connection.execute("PRAGMA max_page_count = 50")
    with pytest.raises(StoreUnavailable, match="disk is full"):
        store.perform([PutBlob(RUN, "small", b"1"), PutBlob(RUN, "key", b"1" * 1_000_000)])
    assert store.perform([GetBlob(RUN, "small"), GetBlob(RUN, "key"), ListRuns()])[:2] == [None, None]
    assert ask(store, PutBlob(RUN, "key", b"1" * 1_000_000)) is True


@pytest.mark.parametrize("request_", [PutBlob(RUN, "key", LARGE), SetFields(RUN, "data", {"key": LARGE})])
def test_what_is_too_large_for_any_row_is_refused(
    store: SqliteStore, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, create())
    monkeypatch.setattr(values, "MAX_BYTES", len(LARGE) - 1)
    answer = ask(store, request_)
    assert isinstance(answer, Refused)
    assert "write it to a file" in answer.reason
    assert ask(store, GetBlob(RUN, "key")) is None


@pytest.mark.parametrize("key", ["\udcff", "x" * 10 + "\ud800"])
def test_a_name_that_fits_no_store_is_an_error_of_the_store(store: SqliteStore, key: str) -> None:
    with pytest.raises(StoreError, match="cannot hold what was asked"):
        store.perform([PutBlob(RUN, key, b"1")])
    with pytest.raises(StoreError, match="cannot hold what was asked"):
        store.perform([UpdateRun(RUN, 2**64)])
    assert ask(store, PutBlob(RUN, "key", b"1")) is True


# --- how things are kept ---


def test_setting_a_field_rewrites_its_top_level_key_alone(store: SqliteStore, path: Path) -> None:
    store.perform([create(data={"a": {"b": 1, "c": 2}, "d": 3}), SetFields(RUN, "data", {"e": 4})])
    change(path, "CREATE TABLE written (key)")
    change(path, "CREATE TRIGGER note AFTER UPDATE ON fields BEGIN INSERT INTO written VALUES (new.key); END")
    store.perform([SetFields(RUN, "data", {"a.b": 5}), SetFields(RUN, "data", {"a.c": 6}), GetField(RUN, "data", "d")])
    assert rows(path, "SELECT key FROM written") == [("a",)]
    assert ask(store, GetField(RUN, "data", "")) == (True, {"a": {"b": 5, "c": 6}, "d": 3, "e": 4})


def test_many_pushes_of_one_batch_write_their_list_once(store: SqliteStore, path: Path) -> None:
    store.perform([create(data={"list": []})])
    change(path, "CREATE TABLE written (key)")
    change(path, "CREATE TRIGGER note AFTER UPDATE ON fields BEGIN INSERT INTO written VALUES (new.key); END")
    store.perform([ExtendField(RUN, "data", "list", (number,), f"{number}") for number in range(100)])
    assert rows(path, "SELECT key FROM written") == [("list",)]


def test_only_the_latest_tokens_are_remembered(store: SqliteStore, path: Path) -> None:
    count = rules.TOKENS_KEPT + 5
    store.perform([create(), create(OTHER), ExtendField(OTHER, "data", "list", (1,), "token")])
    store.perform([ExtendField(RUN, "data", "list", (number,), f"{number}") for number in range(count)])
    kept = rows(path, f"SELECT token FROM tokens WHERE run = '{RUN}' ORDER BY number")
    assert kept == [(f"{number}",) for number in range(5, count)]
    assert rows(path, f"SELECT token FROM tokens WHERE run = '{OTHER}'") == [("token",)]


def test_large_values_lie_apart_and_go_when_they_are_overwritten_or_removed(store: SqliteStore, path: Path) -> None:
    def large_count() -> int:
        ((count,),) = rows(path, "SELECT count(*) FROM large_values")
        assert isinstance(count, int)
        return count

    store.perform([create(data={"a": {"keep": Pickled(LARGE), "go": LARGE}, "b": LARGE})])
    assert large_count() == 3
    assert rows(path, "SELECT max(length(value)) < 1000 FROM fields") == [(1,)]
    kept = rows(path, "SELECT id FROM large_values ORDER BY id LIMIT 1")
    ask(store, SetFields(RUN, "data", {"a.go": 1, "a.new": 2}))
    assert large_count() == 2
    assert rows(path, "SELECT id FROM large_values ORDER BY id LIMIT 1") == kept  # it was not written again
    store.perform([SetFields(RUN, "data", {"b": [LARGE, LARGE]}), SetFields(RUN, "data", {"b": 1})])
    assert large_count() == 1
    ask(store, RemoveDocument(RUN))
    assert large_count() == 0


def test_removing_a_run_leaves_no_row_behind(store: SqliteStore, path: Path) -> None:
    tables = [str(name) for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    batch: list[Request] = [create(data={"x": LARGE}), create(DAG), Append(Batch(DAG, 0, "token", ()))]
    batch += [PutBlob(DAG, "key", b"1"), ExtendField(RUN, "data", "list", (1,), "token"), end(), RemoveRun(RUN)]
    assert store.perform(batch) == [True] * len(batch)
    sweep(store)
    counts = {table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    assert counts == dict.fromkeys(tables, 0)


@pytest.mark.parametrize(
    "filters",
    [
        ListRuns(),
        ListRuns(is_open=True),
        ListRuns(is_open=True, workflows_only=True),
        ListRuns(workflows_only=True, limit=10),
        ListRuns(parent=RUN),
        ListRuns(workflow="simple"),
        ListRuns(is_open=False, workflows_only=True, limit=200),
        ListRuns(is_open=False, workflows_only=True, limit=200, before=5.0),
        ListRuns(is_open=False, workflows_only=True, workflow="simple", limit=200, before=5.0),
    ],
    ids=repr,
)
def test_lists_of_runs_need_no_sort_and_no_scan_of_all_runs(store: SqliteStore, path: Path, filters: ListRuns) -> None:
    assert store._session is not None
    statements: list[str] = []
    store._session._connection.set_trace_callback(statements.append)
    ask(store, filters)
    (select,) = [statement for statement in statements if "FROM runs" in statement]
    plan = str(rows(path, f"EXPLAIN QUERY PLAN {select}"))
    assert "USING INDEX runs_" in plan, plan
    assert "TEMP B-TREE" not in plan, plan
