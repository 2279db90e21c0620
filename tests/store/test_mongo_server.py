"""The contract, held by the store in MongoDB with a real server, where there is one.

MESHFLOW_TEST_MONGODB_URI names it; a database `meshflow-test-<random>` is made for each test and dropped.
"""

import os
import secrets
from collections.abc import Iterator

import pymongo
import pytest

from meshflow.store.mongo import MongoStore
from tests.store.contract import StoreContract, StoreFactory
from tests.store.contract_base import handles

URI = os.environ.get("MESHFLOW_TEST_MONGODB_URI", "")
if not URI:
    pytest.skip("MESHFLOW_TEST_MONGODB_URI names no MongoDB server to test with", allow_module_level=True)


class TestMongoServer(StoreContract):
    @pytest.fixture
    def store_factory(self) -> Iterator[StoreFactory]:
        database = f"meshflow-test-{secrets.token_hex(4)}"
        yield from handles(lambda: MongoStore(URI, database=database))
        with pymongo.MongoClient[dict[str, object]](URI) as client:
            client.drop_database(database)
