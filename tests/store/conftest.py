"""What the store tests share."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pymongo.common
import pytest

from meshflow.store.sqlite import SqliteStore
from tests.store.mongod_standin import MongodStandIn


@pytest.fixture(scope="session")
def mongod() -> Iterator[MongodStandIn]:
    """A stand-in for MongoDB that runs as long as the tests do; take a database of your own."""
    # pymongo looks at a server that has just failed at most twice a second: too slow for hundreds of faults.
    interval = pymongo.common.MIN_HEARTBEAT_INTERVAL
    pymongo.common.MIN_HEARTBEAT_INTERVAL = 0.001
    server = MongodStandIn()
    server.start()
    yield server
    server.stop()
    pymongo.common.MIN_HEARTBEAT_INTERVAL = interval


_numbers = itertools.count()


@pytest.fixture
def mongo_url(mongod: MongodStandIn) -> str:
    """The URL of an empty database."""
    return f"mongodb://{mongod.address}/test-{next(_numbers)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an embedded store is to be."""
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty embedded store with little patience, for tests that have no other store."""
    store = SqliteStore(path, busy_s=0.05)
    yield store
    store.close()
