"""The store in MongoDB: for meshes of more than one host, or where a MongoDB is already there.

Every request comes down to conditional writes of single documents, which is what MongoDB promises to do atomically;
there are no transactions of several documents. A request that needs several writes orders them so that what can be seen
is complete (the record of a new run comes last), and so that sending it again finishes what was begun.

Invariants:
1. A write is acknowledged by a majority, with journal, before it is answered; reads see only such writes.
2. Where an answer rests on what an earlier write left (an entry is there already), that is written to once more
   (TOUCH), for the earlier one may not have reached a majority yet. So no failover undoes an answer.
3. Inserting under an `_id` is the compare-and-set of the log: MongoDB keeps it unique without any index of ours.
4. No secret of the URL is in a name, a log line or an error.

The database must not be sharded: 2 speaks of one sequence of writes.
"""

import secrets
from collections.abc import Generator, Sequence
from typing import Any

import gridfs
import pymongo
from bson import ObjectId
from bson.errors import BSONError
from gridfs.errors import CorruptGridFile, NoFile
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from meshflow.core.requests import Answer, Request
from meshflow.errors import PeerError, StoreError, StoreRefusal, StoreUnavailable, UsageError
from meshflow.ids import RunId
from meshflow.store.document import new_section
from meshflow.store.mongo_requests import MongoRequests
from meshflow.store.mongo_table import TOUCH, Form
from meshflow.store.mongo_url import database_of, options_of, shown
from meshflow.store.values import Refusal

_OPTIONS: dict[str, Any] = {
    "serverSelectionTimeoutMS": 5_000,  # elections take less where they are set up as MongoDB advises
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,  # a server that hangs must not hold up its caller for ever
    "appName": "meshflow",
}
"""Unless the URL says otherwise."""

_MAJORITY = WriteConcern(w="majority", j=True, wtimeout=20_000)

_INDEXES: dict[str, Sequence[Sequence[tuple[str, int]]]] = {
    "runs": [
        [("created_at", -1), ("_id", -1)],
        [("state", 1), ("created_at", -1)],
        [("parent", 1), ("created_at", -1), ("_id", -1)],
        [("workflow", 1), ("created_at", -1), ("_id", -1)],
    ],
    "fs.files": [[("workflow_id", 1)]],
}
_TABLES = ("runs", "log", "blobs", "output", "workflow-data", "nodes", "removals")

_FILES_AT_ONCE = 100

_DUPLICATE, _LOGIN_FAILED, _UNAUTHORIZED = 11000, 18, 13
_TOO_LARGE = (10334, 17419, 17420)
_PASSING = (6, 7, 50, 64, 89, 91, 100, 112, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436, 14031)
"""Errors of a server that steps down, shuts down, is too slow, has too few members or a full disk."""


class MongoStore:
    """Performs requests on a MongoDB database; connects with the first batch, and again whenever need be.

    `database` takes precedence over the one in the URL; `options` are pymongo's, and take precedence too.

    Raises:
        UsageError: the URL or an option is not one.
        StoreUnavailable: the hosts of a mongodb+srv URL cannot be looked up.
    """

    def __init__(self, url: str, *, database: str | None = None, **options: Any) -> None:
        self._name = shown(url, database)
        given = options_of(url)
        defaults = {name: value for name, value in _OPTIONS.items() if name.lower() not in given}
        try:
            self._client: pymongo.MongoClient[Form] = pymongo.MongoClient(url, **(defaults | options))
            self._database = self._client.get_database(
                database or database_of(url),
                read_preference=pymongo.ReadPreference.PRIMARY,
                write_concern=_MAJORITY,
                read_concern=ReadConcern("majority"),
            )
        except (PyMongoError, ValueError, TypeError) as problem:
            # Neither chained nor quoted: its text may hold parts of a password that was not escaped.
            if isinstance(problem, ConfigurationError) and not isinstance(problem, InvalidURI) and "+srv://" in url:
                raise StoreUnavailable(f"the hosts of {self._name} cannot be looked up in DNS") from None
            raise UsageError(
                f"the MongoDB URL for {self._name} is not valid: expected mongodb://user:password@host:port/database, "
                "with special characters in user and password as %XX, and options that pymongo knows"
            ) from None
        self._is_prepared = False
        tables = {name: _Collection(self._database[name]) for name in _TABLES}
        self._documents = tables["workflow-data"]
        self._requests = MongoRequests(tables, _GridFiles(self._database), _document_id)

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each. Each is atomic by itself; the batch is not.

        Raises:
            StoreUnavailable: MongoDB cannot be reached, or has no majority.
            StoreError: it does not let us in, or refuses what was asked for.
        """
        try:
            self._prepare()
            return self._requests.perform(requests)
        except PyMongoError as problem:
            raise self._error(problem) from problem
        except (BSONError, UnicodeError, OverflowError) as problem:
            raise StoreRefusal(f"{self._name} cannot hold what was asked to be stored: {problem}") from problem
        except PeerError as problem:
            raise StoreRefusal(
                f"{self._name} holds what cannot be read ({problem}); it was written by a later MeshFlow, or is "
                "damaged; upgrade, or restore it from a backup"
            ) from problem

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    # --- for DataStore ---

    def server_info(self) -> dict[str, Any]:
        """What the server says of itself (`buildInfo`).

        Raises:
            StoreUnavailable, StoreError: as `perform`.
        """
        try:
            return self._client.server_info()
        except PyMongoError as problem:
            raise self._error(problem) from problem

    def has_document(self, workflow_id: str) -> bool:
        """Whether there is a document of that id.

        Raises:
            bson.errors.InvalidId: it is not the id of any document (Lightflow let this error through).
            StoreUnavailable, StoreError: as `perform`.
        """
        try:
            return self._documents.read({"_id": ObjectId(workflow_id)}) is not None
        except PyMongoError as problem:
            raise self._error(problem) from problem

    def add_document(self, workflow_id: str, meta: dict[str, Any]) -> None:
        """Make a document without a run, unless there is one of that id, which must be 24 hex digits.

        Raises:
            UsageError: `meta` holds what is not a native value.
            StoreUnavailable, StoreError: as `perform`.
        """
        try:
            sections = {"meta": new_section(meta, "meta"), "data": {}}
            self._requests.documents.create(RunId(workflow_id), sections)
        except Refusal as problem:
            raise UsageError(str(problem)) from problem
        except PyMongoError as problem:
            raise self._error(problem) from problem

    # --- parts ---

    def _prepare(self) -> None:
        if not self._is_prepared:
            for name, indexes in _INDEXES.items():
                self._database[name].create_indexes([pymongo.IndexModel(index) for index in indexes])
            self._is_prepared = True

    def _error(self, problem: PyMongoError) -> StoreError:
        """What an error of pymongo means to whoever asked."""
        text = _text(problem)
        if isinstance(problem, ConnectionFailure):
            return StoreUnavailable(f"{self._name} cannot be reached: {text}")
        code = problem.code if isinstance(problem, OperationFailure) else None
        if code == _LOGIN_FAILED:
            return StoreError(f"{self._name} refuses the user name or the password; check `store.url`")
        if code == _UNAUTHORIZED:
            return StoreError(f"{self._name} does not allow this user what a store needs (role readWrite): {text}")
        if code in _PASSING or problem.has_error_label("RetryableWriteError") or _concerns(problem):
            return StoreUnavailable(f"{self._name} cannot do its work now: {text}")
        return StoreError(f"{self._name} refused a request: {text}")


def _text(problem: PyMongoError) -> str:
    """What an error says, without the picture of the cluster and the raw reply that pymongo adds."""
    if isinstance(problem, BulkWriteError):
        errors = _concerns(problem) or problem.details.get("writeErrors", [])
        return "; ".join(str(error.get("errmsg")) for error in errors[:3])
    return str(problem).partition(", Topology Description")[0].partition(", full error")[0]


def _concerns(problem: PyMongoError) -> list[Any]:
    """Why writes were applied but not acknowledged as asked; empty if this is not what happened."""
    if isinstance(problem, BulkWriteError):
        return list(problem.details.get("writeConcernErrors", []))
    return [problem] if isinstance(problem, WriteConcernError) else []


def _document_id(run: RunId) -> ObjectId | None:
    return ObjectId(run) if ObjectId.is_valid(run) else None


def _fields(names: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1) or {"_id": 1}


class _Collection:
    """A collection as the Table that requests are written for."""

    def __init__(self, collection: Collection[Form]) -> None:
        self._collection = collection

    def insert(self, form: Form) -> bool:
        try:
            self._collection.insert_one(form)
        except DuplicateKeyError:
            return False
        except (DocumentTooLarge, OperationFailure) as problem:
            _refuse_if_too_large(problem)
            raise
        return True

    def insert_all(self, forms: Sequence[Form]) -> int:
        if not forms:
            return 0
        try:
            self._collection.insert_many(forms, ordered=True)
        except BulkWriteError as problem:
            if _first_error(problem)["code"] != _DUPLICATE:
                raise
            return int(_first_error(problem)["index"])
        return len(forms)

    def add_all(self, forms: Sequence[Form]) -> None:
        statements = [
            pymongo.UpdateOne(
                {"_id": form["_id"]},
                {"$setOnInsert": {name: value for name, value in form.items() if name != "_id"}, **TOUCH},
                upsert=True,
            )
            for form in forms
        ]
        self._write(statements)

    def put_all(self, forms: Sequence[Form]) -> None:
        self._write([pymongo.ReplaceOne({"_id": form["_id"]}, form, upsert=True) for form in forms])

    def _write(self, statements: Sequence[pymongo.UpdateOne | pymongo.ReplaceOne[Form]]) -> None:
        if not statements:
            return
        try:
            self._collection.bulk_write(statements, ordered=False)
        except BulkWriteError as problem:
            # Two upserts of one `_id` at once: one inserts, the other finds it there when it is sent again.
            if _first_error(problem)["code"] != _DUPLICATE:
                raise
            self._collection.bulk_write(statements, ordered=False)

    def put(self, form: Form, fields: Sequence[str] = ()) -> Form | None:
        query, wanted = {"_id": form["_id"]}, _fields(fields)
        try:
            return self._collection.find_one_and_replace(query, form, wanted, upsert=True)
        except DuplicateKeyError:  # as in _write
            return self._collection.find_one_and_replace(query, form, wanted, upsert=True)

    def change(self, query: Form, update: Form, fields: Sequence[str] = ()) -> Form | None:
        try:
            return self._collection.find_one_and_update(query, update, _fields(fields))
        except (DocumentTooLarge, OperationFailure) as problem:
            _refuse_if_too_large(problem)
            raise

    def read(self, query: Form, fields: Sequence[str] = ()) -> Form | None:
        return self._collection.find_one(query, _fields(fields))

    def find(
        self, query: Form, sort: Sequence[tuple[str, int]] = (), limit: int = 0, fields: Sequence[str] | None = None
    ) -> Generator[Form, None, None]:
        wanted = None if fields is None else _fields(fields)
        with self._collection.find(query, wanted, sort=list(sort) or None, limit=limit) as cursor:
            yield from cursor

    def remove(self, query: Form) -> int:
        return self._collection.delete_many(query).deleted_count


class _GridFiles:
    """GridFS as the Files that requests are written for. Files are tagged with `workflow_id`, as Lightflow's are."""

    def __init__(self, database: Database[Form]) -> None:
        self._files, self._chunks = database["fs.files"], database["fs.chunks"]
        self._grid = gridfs.GridFS(database)

    def put(self, run: RunId, kind: str, data: bytes) -> str:
        # The id leads from the chunks of a file that was never finished to its run.
        reference = f"{run}:{kind}:{secrets.token_hex(8)}"
        self._grid.put(data, _id=reference, workflow_id=run, kind=kind)
        return reference

    def get(self, reference: object) -> bytes | None:
        try:
            return self._grid.get(reference).read()
        except (NoFile, CorruptGridFile):  # the second: it was being removed
            return None

    def delete(self, references: Sequence[object]) -> None:
        if references:
            self._files.delete_many({"_id": {"$in": list(references)}})
            self._chunks.delete_many({"files_id": {"$in": list(references)}})

    def delete_all(self, run: RunId, kind: str) -> None:
        # Lightflow's files have no kind: they are values of documents.
        query: Form = {"workflow_id": run, "kind": {"$in": [kind, None]}}
        self.delete([form["_id"] for form in self._files.find(query, _fields(()))])
        self._delete_chunks(f"{run}:{kind}:")

    def delete_some(self, run: RunId, max_bytes: int) -> list[int]:
        sizes: list[int] = []
        references: list[object] = []
        with self._files.find({"workflow_id": run}, _fields(["length"]), limit=_FILES_AT_ONCE) as found:
            for form in found:
                references.append(form["_id"])
                sizes.append(int(form["length"]))
                if sum(sizes) >= max_bytes:
                    break
        self.delete(references)
        if not references:
            self._delete_chunks(f"{run}:")
        return sizes

    def delete_unfinished(self, before: float, after: str) -> str:
        query: Form = {"files_id": {"$gt": after}, "n": 0}
        found = list(self._chunks.find(query, _fields(["files_id"]), sort=[("files_id", 1)], limit=_FILES_AT_ONCE))
        ids = [chunk["files_id"] for chunk in found]
        finished = {form["_id"]: None for form in self._files.find({"_id": {"$in": ids}}, _fields(()))}
        lone = [
            chunk["files_id"]
            for chunk in found
            if chunk["files_id"] not in finished and chunk["_id"].generation_time.timestamp() < before
        ]
        if lone:
            self._chunks.delete_many({"files_id": {"$in": lone}})
        return ids[-1] if ids else ""

    def _delete_chunks(self, beginning: str) -> None:
        self._chunks.delete_many({"files_id": {"$gte": beginning, "$lt": beginning[:-1] + ";"}})  # ";" follows ":"

    def is_reference(self, value: object) -> bool:
        return isinstance(value, ObjectId)


def _first_error(problem: BulkWriteError) -> Form:
    """The first write that failed; raises the error again if writes were not acknowledged as asked."""
    errors: list[Form] = problem.details.get("writeErrors", [])
    if not errors or _concerns(problem):
        raise problem
    return errors[0]


def _refuse_if_too_large(problem: Exception) -> None:
    if isinstance(problem, DocumentTooLarge) or (isinstance(problem, OperationFailure) and problem.code in _TOO_LARGE):
        raise Refusal(
            "it would make a document larger than the 16 MB that MongoDB allows; store large values as bytes, pickled, "
            "or in a file of their own"
        ) from problem
