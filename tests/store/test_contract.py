"""The contract, held by each store that works by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.store.memory import MemoryStore
from meshflow.store.sqlite import SqliteStore
from tests.store.contract import StoreContract, StoreFactory


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store_factory(self) -> StoreFactory:
        store = MemoryStore()
        return lambda: store


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> Iterator[StoreFactory]:
        handles: list[SqliteStore] = []

        def open_handle() -> SqliteStore:
            handles.append(SqliteStore(tmp_path / "store.db"))
            return handles[-1]

        yield open_handle
        for handle in handles:
            handle.close()
