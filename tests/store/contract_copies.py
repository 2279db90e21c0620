"""The contract, part five: what a run takes over from another one, each with copies of its own."""

from datetime import UTC, datetime

import pytest

from meshflow.core.requests import (
    CopyBlob,
    CopyDocument,
    ExtendField,
    GetBlob,
    GetField,
    Pickled,
    PutBlob,
    Refused,
    RemoveRun,
    Request,
    SetFields,
)
from meshflow.store.base import Store
from meshflow.store.rules import LARGE_BYTES
from tests.store.contract_base import DAG, OTHER, RUN, ContractPart, ask, create, end, sweep
from tests.store.contract_removal import look_for_orphans

LARGE = b"x" * (LARGE_BYTES + 1)

DATA: dict[str, object] = {
    "a": {"b.c": 1, "when": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)},
    "list": [1, LARGE, {"deep": Pickled(LARGE)}],
    "small": Pickled(b"p"),
}


def data_of(store: Store, run: str = OTHER) -> object:
    """The whole data section of a run."""
    return store.perform([GetField(run, "data", "")])[0]  # type: ignore[arg-type]


class CopyContract(ContractPart):
    """Copies."""

    @pytest.mark.parametrize("size", [0, 10, 9_000_000])
    def test_a_copied_blob_outlives_its_source(self, store: Store, size: int) -> None:
        store.perform([create(), PutBlob(DAG, "value/k", b"b" * size), end()])
        assert ask(store, CopyBlob(OTHER, RUN, "value/k")) is True
        assert store.perform([create(OTHER), RemoveRun(RUN)]) == [True, True]
        sweep(store)
        assert ask(store, GetBlob(OTHER, "value/k")) == b"b" * size
        assert ask(store, GetBlob(RUN, "value/k")) is None

    def test_a_blob_that_is_not_there_is_not_copied_and_what_stood_there_stays(self, store: Store) -> None:
        store.perform([create(), PutBlob(OTHER, "k", b"mine")])
        assert ask(store, CopyBlob(OTHER, RUN, "k")) is False
        assert ask(store, GetBlob(OTHER, "k")) == b"mine"

    def test_a_copy_takes_the_place_of_what_stood_there(self, store: Store) -> None:
        store.perform([PutBlob(RUN, "k", b"new"), PutBlob(OTHER, "k", b"old"), CopyBlob(OTHER, RUN, "k")])
        assert ask(store, GetBlob(OTHER, "k")) == b"new"

    def test_a_copied_document_has_the_same_data_and_no_meta(self, store: Store) -> None:
        store.perform([create(data=DATA), SetFields(RUN, "meta", {"mine": 1})])
        assert ask(store, CopyDocument(OTHER, RUN)) is True
        assert data_of(store) == data_of(store, RUN)
        assert ask(store, GetField(OTHER, "meta", "")) == (True, {})

    def test_copied_documents_change_and_go_apart_from_each_other(self, store: Store) -> None:
        store.perform([create(data=DATA), ExtendField(RUN, "data", "pushed", (1,), "t"), end()])
        before = data_of(store, RUN)
        changes: list[Request] = [
            CopyDocument(OTHER, RUN),
            create(OTHER),
            SetFields(RUN, "data", {"list": [], "a.b": 2}),
            RemoveRun(RUN),
        ]
        assert store.perform(changes) == [True] * 4
        sweep(store)
        assert data_of(store) == before
        assert ask(store, ExtendField(OTHER, "data", "pushed", (2,), "t")) is True
        assert ask(store, GetField(OTHER, "data", "pushed")) == (True, [1, 2])

    def test_a_copy_does_not_change_its_source_when_it_is_changed(self, store: Store) -> None:
        store.perform([create(data=DATA), CopyDocument(OTHER, RUN)])
        before = data_of(store, RUN)
        store.perform([SetFields(OTHER, "data", {"list": 0, "a": 0}), ExtendField(OTHER, "data", "x", (1,), "t")])
        assert data_of(store, RUN) == before

    def test_a_document_that_is_there_is_kept(self, store: Store) -> None:
        store.perform([create(data=DATA), create(OTHER, {"own": 1})])
        assert store.perform([CopyDocument(OTHER, RUN)] * 2) == [True, True]
        assert data_of(store) == (True, {"own": 1})

    def test_a_run_without_a_document_has_none_to_copy(self, store: Store) -> None:
        assert ask(store, CopyDocument(OTHER, RUN)) is False
        assert ask(store, create(OTHER, {"own": 1})) is True
        assert data_of(store) == (True, {"own": 1})

    def test_copies_of_a_run_that_was_never_made_belong_to_no_run_and_are_removed_as_such(self, store: Store) -> None:
        store.perform([create(data=DATA), PutBlob(RUN, "k", LARGE)])
        store.perform([CopyBlob(OTHER, RUN, "k"), CopyDocument(OTHER, RUN)])
        look_for_orphans(store, 1.0, 0.0)
        sweep(store)
        assert ask(store, GetBlob(OTHER, "k")) == LARGE
        look_for_orphans(store, 2.0, 1.5)
        sweep(store)
        assert ask(store, GetBlob(OTHER, "k")) is None
        assert isinstance(data_of(store), Refused)
        assert isinstance(data_of(store, RUN), tuple)
