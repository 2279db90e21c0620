"""The stand-in is strict, and does what the tests rely on, seen through pymongo alone."""

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure

from tests.store.mongod_standin import MongodStandIn

Things = Collection[dict[str, Any]]


@pytest.fixture
def things(mongo_url: str) -> Iterator[Things]:
    """An empty collection."""
    with pymongo.MongoClient[dict[str, Any]](mongo_url) as client:
        yield client.get_default_database()["some-things"]


@pytest.mark.parametrize(
    "use",
    [
        lambda things: things.find_one({"x": {"$regex": "a"}}),
        lambda things: things.find_one({"$where": "true"}),
        lambda things: things.update_one({}, {"$rename": {"x": "y"}}),
        lambda things: things.update_one({}, {"$push": {"x": {"$each": [], "$sort": 1}}}),
        lambda things: things.update_one({}, [{"$set": {"x": 1}}]),
        lambda things: list(things.aggregate([])),
        lambda things: things.find_one({}, collation={"locale": "de"}),
        lambda things: things.insert_one({"x": {"$y": 1}}),
        lambda things: things.update_one({}, {"$set": {"x": {"y.z": 1}}}),
        lambda things: things.update_one({}, {"$set": {"x..y": 1}}),
        lambda things: things.update_one({}, {"$set": {"x.$.y": 1}}),
        lambda things: things.update_one({}, {"$set": {"x": 1, "x.y": 2}}),
        lambda things: things.update_one({}, {"$set": {"n.y": 1}}),
        lambda things: things.update_one({}, {"$push": {"n": 1}}),
        lambda things: things.update_one({}, {"$set": {"list.y": 1}}),
        lambda things: things.update_one({}, {"$set": {"_id": 5}}),
    ],
)
def test_what_it_does_not_know_or_mongodb_refuses_is_an_error(things: Things, use: Any) -> None:
    things.insert_one({"_id": 1, "n": 5, "list": [1]})
    with pytest.raises(OperationFailure):
        use(things)
    assert things.find_one() == {"_id": 1, "n": 5, "list": [1]}


def test_an_id_is_unique_in_any_form_of_the_same_number(things: Things) -> None:
    things.insert_one({"_id": {"run": "a", "seq": 1}})
    for same in (1, 1.0):
        with pytest.raises(DuplicateKeyError):
            things.insert_one({"_id": {"run": "a", "seq": same}})
    things.insert_one({"_id": {"seq": 1, "run": "a"}})  # another order of fields is another document


def test_an_ordered_insert_ends_at_the_first_duplicate(things: Things) -> None:
    things.insert_one({"_id": 2})
    with pytest.raises(BulkWriteError) as raised:
        things.insert_many([{"_id": number} for number in (1, 2, 3)])
    assert raised.value.details["writeErrors"][0]["index"] == 1
    assert sorted(each["_id"] for each in things.find()) == [1, 2]


def test_documents_are_compared_field_by_field(things: Things) -> None:
    keys = [("a", 9), ("a/x", 1), ("a/x", 10), ("a0", 0), ("b", 0)]
    things.insert_many([{"_id": {"run": run, "seq": seq}} for run, seq in reversed(keys)])
    assert [tuple(each["_id"].values()) for each in things.find().sort("_id", 1)] == keys
    within = {"_id": {"$gte": {"run": "a/x"}, "$lt": {"run": "a/x", "seq": 10}}}
    assert [tuple(each["_id"].values()) for each in things.find(within)] == [("a/x", 1)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"x": None}, [1, 2]),
        ({"x": {"$exists": False}}, [1]),
        ({"x": {"$type": "array"}}, [4, 5]),
        ({"x": {"$type": "object"}}, [5, 6]),
        ({"x": {"$not": {"$type": "array"}}}, [1, 2, 3, 6]),
        ({"x": 5}, [3, 4]),
        ({"x": {"$ne": 5}}, [1, 2, 5, 6]),
        ({"x.y": 1}, [5, 6]),
        ({"x.0": 5}, [4]),
        ({"x": {"$in": [5, None]}}, [1, 2, 3, 4]),
        ({"x": {"$nin": [5, None]}}, [5, 6]),
        ({"x": {"$gte": 5}}, [3, 4]),
        ({"$nor": [{"x": 5}], "$or": [{"x": None}, {"x.y": 1}]}, [1, 2, 5, 6]),
    ],
)
def test_queries_find_what_the_manual_says(things: Things, query: dict[str, Any], found: list[int]) -> None:
    values: list[dict[str, Any]] = [{}, {"x": None}, {"x": 5}, {"x": [5]}, {"x": [{"y": 1}]}, {"x": {"y": 1}}]
    things.insert_many([{"_id": number, **value} for number, value in enumerate(values, start=1)])
    assert [each["_id"] for each in things.find(query).sort("_id", 1)] == found


def test_a_retried_write_is_done_once(things: Things, mongod: MongodStandIn) -> None:
    things.insert_one({"_id": 1, "n": 0})
    mongod.fail("reply lost")
    assert things.update_one({"_id": 1}, {"$inc": {"n": 1}}).modified_count == 1
    mongod.fail("reply lost", times=2)
    with pytest.raises(AutoReconnect):
        things.update_one({"_id": 1}, {"$inc": {"n": 1}})
    assert things.find_one() == {"_id": 1, "n": 2}


def test_long_results_come_in_batches(things: Things) -> None:
    things.insert_many([{"_id": number, "data": b"x" * 1_000_000} for number in range(40)])
    assert [each["_id"] for each in things.find().sort("_id", -1)] == list(reversed(range(40)))
    cursor = things.find(batch_size=2)
    next(cursor)
    cursor.close()
