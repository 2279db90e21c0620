"""All stores give the same answers to the same requests about documents, whatever these are."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshflow.core.requests import (
    ExtendField,
    GetField,
    Pickled,
    Refused,
    RemoveDocument,
    Request,
    SetFields,
)
from meshflow.ids import RunId
from meshflow.store.base import Store
from meshflow.store.memory import MemoryStore
from meshflow.store.mongo import MongoStore
from meshflow.store.mongo_forms import FILE_MARK, PICKLE_MARK, escaped, references_in, restored, stored, unescaped
from meshflow.store.rules import LARGE_BYTES
from meshflow.store.sqlite import SqliteStore
from meshflow.store.values import Kept
from tests.store.contract_base import create

# Few and nasty, so that paths meet what is there.
names = st.sampled_from(["a", "b", "0", "$", "__meshflow_pickle__", "%2E"])
keys = st.lists(names, min_size=1, max_size=3).map(".".join)
leaves = st.one_of(
    st.sampled_from([None, True, 0, 1, 2**63 - 1, 2.5, "", "text", b"\0", datetime(2024, 1, 1), Pickled(b"p")]),
    st.sampled_from([b"x" * (LARGE_BYTES + 1), Pickled(b"y" * (LARGE_BYTES + 1))]),
    st.sampled_from([2**63, (), object]),  # not native
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
sections = st.sampled_from(["data", "data", "data", "meta", "other"])


def requests_on(run: RunId) -> st.SearchStrategy[list[Request]]:
    """Requests about the document of a run; mostly ones that make sense."""
    tokens = st.sampled_from(["one", "two", "three"])
    request: st.SearchStrategy[Request] = st.one_of(
        st.builds(GetField, st.just(run), sections, keys | st.sampled_from(["", ".", "a..b"])),
        st.builds(SetFields, st.just(run), sections, st.dictionaries(keys, trees, max_size=3)),
        st.builds(ExtendField, st.just(run), sections, keys, st.lists(trees, max_size=2).map(tuple), tokens),
        st.just(RemoveDocument(run)) if run.endswith("0") else st.just(create(run)),
    )
    return st.lists(request, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def stores(mongod: Any) -> Iterator[dict[str, Store]]:
    """One of each."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Store] = {
            "memory": MemoryStore(),
            "sqlite": SqliteStore(Path(folder, "store.sqlite")),
            "mongo": MongoStore(f"mongodb://{mongod.address}/agree"),
        }
        yield found
        for store in found.values():
            store.close()


_next_run = iter(range(10**9))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), one_by_one=st.booleans())
def test_all_stores_answer_alike(stores: dict[str, Store], data: st.DataObject, one_by_one: bool) -> None:
    run = RunId(f"{next(_next_run):024x}")
    batch = [create(run, data={"a": {"b": [1]}}), *data.draw(requests_on(run)), GetField(run, "data", "")]
    answers: dict[str, list[object]] = {}
    for name, store in stores.items():
        parts = [[request] for request in batch] if one_by_one else [batch]
        given = [answer for part in parts for answer in store.perform(part)]
        answers[name] = ["refused" if isinstance(answer, Refused) else answer for answer in given]
    assert answers["sqlite"] == answers["memory"]
    assert answers["mongo"] == answers["memory"]


@given(name=st.text() | st.text(st.sampled_from("%$.2E450_F\0")) | st.sampled_from([PICKLE_MARK, FILE_MARK]))
def test_any_name_survives_escaping_and_can_be_a_field_of_mongodb(name: str) -> None:
    field = escaped(name)
    assert unescaped(field) == name
    assert not field.startswith("$")
    assert not {".", "\0"} & set(field)
    assert field not in (PICKLE_MARK, FILE_MARK)


@given(one=st.text(st.sampled_from("%$.2E450_F\0")), other=st.text(st.sampled_from("%$.2E450_F\0")))
def test_no_two_names_become_one_field(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) is (one == other)


@given(
    tree=st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.binary().map(Pickled),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_any_tree_comes_back_from_its_form(tree: object) -> None:
    assert restored(stored(tree, lambda data: "file"), lambda value: False) == tree


def test_large_values_are_put_into_files_and_referred_to() -> None:
    files: list[bytes | Kept] = []

    def put(data: bytes | Kept) -> str:
        files.append(data)
        return f"file-{len(files)}"

    large = b"x" * (LARGE_BYTES + 1)
    tree = restored(stored({"a": [large, {"b": Pickled(large)}], "c": large[1:]}, put), lambda value: False)
    assert tree == {"a": [Kept("file-1", False), {"b": Kept("file-2", True)}], "c": large[1:]}
    assert references_in(tree) == ["file-1", "file-2"]
    assert files == [large, large]
