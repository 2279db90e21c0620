"""The contract, held by each store that works by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshflow.store.memory import MemoryStore
from meshflow.store.mongo import MongoStore
from meshflow.store.sqlite import SqliteStore
from tests.store.contract import StoreContract, StoreFactory
from tests.store.contract_base import handles


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store_factory(self) -> StoreFactory:
        store = MemoryStore()
        return lambda: store


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> Iterator[StoreFactory]:
        yield from handles(lambda: SqliteStore(tmp_path / "store.db"))


class TestMongoStore(StoreContract):
    """Through pymongo and a socket, to the stand-in."""

    @pytest.fixture
    def store_factory(self, mongo_url: str) -> Iterator[StoreFactory]:
        yield from handles(lambda: MongoStore(mongo_url))
