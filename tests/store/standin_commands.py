"""The commands of the stand-in (`mongod_standin.py`): collections, and what is done to them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import bson
from bson import ObjectId

from tests.store.standin_documents import (
    MAX_DOCUMENT_BYTES,
    Document,
    ServerError,
    check_storable,
    matches,
    order,
    projected,
    unsupported,
    updated,
)

WRITES = ("insert", "update", "delete", "findAndModify")

_FIRST_BATCH = 101
_ENVELOPE = {"$db", "lsid", "txnNumber", "$clusterTime", "$readPreference", "readConcern", "writeConcern", "maxTimeMS"}


@dataclass
class Collection:
    """Documents by `_id`, and the fields of the unique indexes beside it."""

    documents: dict[tuple[Any, ...], Document] = field(default_factory=dict)
    indexes: dict[str, Document] = field(default_factory=dict)

    def keep(self, document: Document, instead_of: Document | None = None) -> None:
        """Insert or replace a document."""
        check_storable(document)
        if len(bson.encode(document)) > MAX_DOCUMENT_BYTES:
            raise ServerError(10334 if instead_of is None else 17419, "the document is larger than 16777216 bytes")
        key = order(document["_id"])
        if instead_of is None and key in self.documents:
            raise _duplicate("_id_", {"_id": document["_id"]})
        if instead_of is not None and key != order(instead_of["_id"]):
            raise ServerError(66, "the (immutable) field '_id' was found to have been altered")
        for name, index in self.indexes.items():
            if index.get("unique"):
                self._check_unique(name, list(index["key"]), document, instead_of)
        self.documents[key] = document

    def _check_unique(self, name: str, fields: list[str], document: Document, instead_of: Document | None) -> None:
        value = [order(document.get(each)) for each in fields]
        for other in self.documents.values():
            if other is not instead_of and [order(other.get(each)) for each in fields] == value:
                raise _duplicate(name, {each: document.get(each) for each in fields})

    def select(self, query: Document, sort: Document | None = None) -> list[Document]:
        """Those that match, in order."""
        found = [document for document in self.documents.values() if matches(document, query)]
        for key, direction in reversed((sort or {}).items()):
            found.sort(key=lambda document, key=key: order(_at(document, key)), reverse=direction < 0)  # type: ignore[misc]
        return found


def _at(document: Document, key: str) -> object:
    value: object = document
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, list):
        raise unsupported("a sort by an array")
    return value


def _duplicate(index: str, key: Document) -> ServerError:
    return ServerError(11000, f"E11000 duplicate key error index: {index} dup key: {key}", keyValue=key)


class Databases:
    """All that the stand-in keeps, and the commands on it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.collections: dict[tuple[str, str], Collection] = {}
        """By database and name."""
        self._cursors: dict[int, list[Document]] = {}
        self._retries: dict[tuple[bytes, int], Document] = {}

    def perform(self, name: str, command: Document) -> Document:
        """The reply to a command."""
        try:
            if name not in COMMANDS:
                raise ServerError(59, f"no such command: '{name}'")
            perform, fields = COMMANDS[name]
            if perform is not Databases._hello:  # with which drivers introduce themselves at length
                _check_fields(name, command, fields | _ENVELOPE | {name})
            _check_concerns(command)
            retry = _retry_of(name, command)
            if retry is not None and retry in self._retries:
                return self._retries[retry]
            reply = {**perform(self, command), "ok": 1.0}
            if retry is not None:
                self._retries[retry] = reply
            return reply
        except ServerError as problem:
            return {"ok": 0.0, "codeName": "Error", **problem.reply}

    def _collection(self, command: Document) -> Collection:
        return self.collections.setdefault((command["$db"], next(iter(command.values()))), Collection())

    def _hello(self, command: Document) -> Document:
        return {
            **{"helloOk": True, "isWritablePrimary": True, "ismaster": True, "secondary": False, "readOnly": False},
            **{"setName": "standin", "setVersion": 1, "hosts": [self.address], "me": self.address},
            **{"primary": self.address, "electionId": ObjectId("7fffffff0000000000000001")},
            **{"maxBsonObjectSize": MAX_DOCUMENT_BYTES, "maxMessageSizeBytes": 48_000_000},
            **{"maxWriteBatchSize": 100_000, "minWireVersion": 0, "maxWireVersion": 21},
            **{"logicalSessionTimeoutMinutes": 30, "localTime": datetime.now(UTC), "connectionId": 1},
        }

    def _nothing(self, command: Document) -> Document:
        return {}

    def _build_info(self, command: Document) -> Document:
        return {"version": "7.0.0", "versionArray": [7, 0, 0, 0], "gitVersion": "stand-in", "bits": 64}

    def _refuse_login(self, command: Document) -> Document:
        raise ServerError(18, "Authentication failed.")

    def _insert(self, command: Document) -> Document:
        collection = self._collection(command)

        def insert(document: Document) -> Document:
            collection.keep(document)
            return {"n": 1}

        return _one_by_one(command, command["documents"], insert)

    def _update(self, command: Document) -> Document:
        collection = self._collection(command)

        def update(statement: Document) -> Document:
            _check_fields("update.updates", statement, {"q", "u", "multi", "upsert"})
            found = collection.select(statement["q"])
            if not found and statement.get("upsert"):
                document = _upserted(statement["q"], statement["u"])
                collection.keep(document)
                return {"n": 1, "upserted": {"_id": document["_id"]}}
            for document in found if statement.get("multi") else found[:1]:
                collection.keep(updated(copy.deepcopy(document), statement["u"]), instead_of=document)
            return {"n": len(found) if statement.get("multi") else len(found[:1])}

        reply = _one_by_one(command, command["updates"], update)
        return {**reply, "nModified": reply["n"] - len(reply.get("upserted", ()))}

    def _delete(self, command: Document) -> Document:
        collection = self._collection(command)

        def delete(statement: Document) -> Document:
            _check_fields("delete.deletes", statement, {"q", "limit"})
            found = collection.select(statement["q"])
            found = found[: statement["limit"]] if statement["limit"] else found
            for document in found:
                del collection.documents[order(document["_id"])]
            return {"n": len(found)}

        return _one_by_one(command, command["deletes"], delete)

    def _find_and_modify(self, command: Document) -> Document:
        collection = self._collection(command)
        found = collection.select(command["query"], command.get("sort"))[:1]
        after: Document | None = None
        if found and command.get("remove"):
            del collection.documents[order(found[0]["_id"])]
        elif found:
            after = updated(copy.deepcopy(found[0]), command["update"])
            collection.keep(after, instead_of=found[0])
        elif command.get("upsert"):
            after = _upserted(command["query"], command["update"])
            collection.keep(after)
        value = after if command.get("new") else found[0] if found else None
        outcome = {"n": int(bool(found or after)), "updatedExisting": bool(found and after)}
        return {
            "value": None if value is None else projected(value, command.get("fields", {})),
            "lastErrorObject": outcome,
        }

    def _find(self, command: Document) -> Document:
        found = self._collection(command).select(command.get("filter", {}), command.get("sort"))
        found = found[: command["limit"]] if command.get("limit") else found
        found = [projected(document, command.get("projection", {})) for document in found]
        cursor = len(self._cursors) + 1
        self._cursors[cursor] = found
        batch = self._next(cursor, command.get("batchSize", _FIRST_BATCH))
        if command.get("singleBatch"):
            self._cursors[cursor] = []
        return {"cursor": {"id": self._open(cursor), "ns": f"{command['$db']}.{command['find']}", "firstBatch": batch}}

    def _get_more(self, command: Document) -> Document:
        cursor = int(command["getMore"])
        if not self._open(cursor):
            raise ServerError(43, f"cursor id {cursor} not found")
        batch = self._next(cursor, command.get("batchSize", 10**9))
        ns = f"{command['$db']}.{command['collection']}"
        return {"cursor": {"id": self._open(cursor), "ns": ns, "nextBatch": batch}}

    def _next(self, cursor: int, count: int) -> list[Document]:
        """As many as asked for, but not more than one message takes, and at least one."""
        rest, batch, size = self._cursors[cursor], list[Document](), 0
        while rest and len(batch) < count:
            size += len(bson.encode(rest[0]))
            if batch and size > MAX_DOCUMENT_BYTES:
                break
            batch.append(rest.pop(0))
        return batch

    def _open(self, cursor: int) -> int:
        return bson.Int64(cursor if self._cursors.get(cursor) else 0)

    def _kill_cursors(self, command: Document) -> Document:
        for cursor in command["cursors"]:
            self._cursors[int(cursor)] = []
        return {"cursorsKilled": command["cursors"]}

    def _create_indexes(self, command: Document) -> Document:
        for index in command["indexes"]:
            _check_fields("createIndexes.indexes", index, {"key", "name", "unique"})
            self._collection(command).indexes[index["name"]] = index
        return {}

    def _list_indexes(self, command: Document) -> Document:
        indexes = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, *self._collection(command).indexes.values()]
        return {"cursor": {"id": bson.Int64(0), "ns": f"{command['$db']}.$cmd", "firstBatch": indexes}}

    def _drop_database(self, command: Document) -> Document:
        for database, name in list(self.collections):
            if database == command["$db"]:
                del self.collections[database, name]
        return {}


Perform = Callable[[Databases, Document], Document]
COMMANDS: dict[str, tuple[Perform, set[str]]] = {
    **dict.fromkeys(("hello", "ismaster", "isMaster"), (Databases._hello, set[str]())),
    "ping": (Databases._nothing, set()),
    "endSessions": (Databases._nothing, set()),
    "buildInfo": (Databases._build_info, set()),
    "buildinfo": (Databases._build_info, set()),
    "saslStart": (Databases._refuse_login, {"mechanism", "payload", "autoAuthorize", "options"}),
    "insert": (Databases._insert, {"documents", "ordered"}),
    "update": (Databases._update, {"updates", "ordered"}),
    "delete": (Databases._delete, {"deletes", "ordered"}),
    "findAndModify": (
        Databases._find_and_modify,
        {"query", "update", "remove", "new", "upsert", "fields", "sort"},
    ),
    "find": (Databases._find, {"filter", "projection", "sort", "limit", "batchSize", "singleBatch"}),
    "getMore": (Databases._get_more, {"collection", "batchSize"}),
    "killCursors": (Databases._kill_cursors, {"cursors"}),
    "createIndexes": (Databases._create_indexes, {"indexes"}),
    "listIndexes": (Databases._list_indexes, {"cursor"}),
    "dropDatabase": (Databases._drop_database, set()),
}
"""What each command is performed by, and the fields it may have."""


def _check_fields(where: str, document: Document, known: set[str]) -> None:
    if unknown := document.keys() - known:
        raise ServerError(40415, f"BSON field '{where}.{min(unknown)}' is an unknown field")


def _check_concerns(command: Document) -> None:
    _check_fields("writeConcern", command.get("writeConcern", {}), {"w", "j", "wtimeout"})
    level = command.get("readConcern", {}).get("level", "local")
    if level not in ("local", "majority", "linearizable"):
        raise unsupported(level)


def _retry_of(name: str, command: Document) -> tuple[bytes, int] | None:
    if "txnNumber" not in command:
        return None
    if any(each.get("multi") for each in command.get("updates", ())) or any(
        each["limit"] != 1 for each in command.get("deletes", ())
    ):
        raise ServerError(72, "a write to many documents cannot be retried")
    if name not in WRITES:
        raise ServerError(50768, f"txnNumber may not be given to {name}")
    return bytes(command["lsid"]["id"]), int(command["txnNumber"])


def _one_by_one(command: Document, statements: list[Document], perform: Callable[[Document], Document]) -> Document:
    """Perform each; the first error ends an ordered command."""
    reply: Document = {"n": 0}
    errors = []
    for index, statement in enumerate(statements):
        try:
            outcome = perform(statement)
        except ServerError as problem:
            errors.append({"index": index, **problem.reply})
            if command.get("ordered", True):
                break
            continue
        reply["n"] += outcome["n"]
        if "upserted" in outcome:
            reply.setdefault("upserted", []).append({"index": index, **outcome["upserted"]})
    return reply | ({"writeErrors": errors} if errors else {})


def _upserted(query: Document, update: Document) -> Document:
    if query.keys() != {"_id"}:
        raise unsupported({"upsert": query})
    return updated({"_id": query["_id"]}, update, is_insert=True)
