"""What each request is in MongoDB.

    runs            by run; the record as created, and beside it what is searched by, shown, and changes
    log             by {run, seq}; a batch, encoded
    blobs           by {run, key}
    output          by {run, task, attempt, stream, offset}
    workflow-data   by run, as an ObjectId: the documents (`mongo_document.py`)
    nodes           by node
    removals        by run: what was taken out and is to be removed, and notes about orphans (`mongo_removals.py`)

An `_id` of several fields is compared field by field, in that order, so the index on `_id` that MongoDB always has
serves every search but those for runs. Bodies that may be large stand in `data`, or in a GridFS file named by `file`.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from typing import assert_never

from meshflow import wire
from meshflow.core.records import Batch, RunRecord
from meshflow.core.requests import (
    Answer,
    Append,
    AskStop,
    CopyBlob,
    CopyDocument,
    CreateRun,
    ExtendField,
    ForgetNode,
    GetBlob,
    GetField,
    ListNodes,
    ListRuns,
    LoadRun,
    PutBlob,
    ReadLog,
    ReadOutput,
    Refused,
    RegisterNode,
    RemoveDocument,
    RemoveNodes,
    RemoveOrphans,
    RemoveRun,
    Request,
    SetFields,
    Sweep,
    UpdateRun,
    WriteOutput,
)
from meshflow.errors import StoreError, StoreUnavailable
from meshflow.ids import NodeId, RunId, workflow_of
from meshflow.store.document import new_section, sections_to_create
from meshflow.store.mongo_document import DocumentId, MongoDocuments
from meshflow.store.mongo_forms import run_changes, run_form, run_record
from meshflow.store.mongo_removals import MongoRemovals, ids_of
from meshflow.store.mongo_table import TOUCH, Files, Form, Table
from meshflow.store.rules import OPEN_STATES, VALUE_BLOBS, order_of_output, outranked_by, spelled_out
from meshflow.store.values import Refusal, check_blob

_INLINE_BYTES = 8 * 1024 * 1024
"""Bodies above this go to GridFS; MongoDB's documents end at 16 MB."""

_MAX_SEQ = 2**63 - 1


class MongoRequests:
    """Performs requests on collections and files."""

    def __init__(self, tables: Mapping[str, Table], files: Files, document_id: DocumentId) -> None:
        self._runs, self._log, self._blobs = tables["runs"], tables["log"], tables["blobs"]
        self._output, self._nodes = tables["output"], tables["nodes"]
        self._files = files
        self.documents = MongoDocuments(tables["workflow-data"], files, document_id)
        """For whoever needs documents without runs."""
        self._removals = MongoRemovals(tables, files, self.documents)

    def perform(self, requests: Sequence[Request]) -> list[Answer]:
        """Perform `requests` in order and answer each; appends and output that follow each other travel together."""
        answers: list[Answer] = []
        for kind, group in groupby(requests, key=type):
            if kind is Append:
                answers += self._append([each.batch for each in group if isinstance(each, Append)])
            elif kind is WriteOutput:
                answers += self._write_output([each for each in group if isinstance(each, WriteOutput)])
            else:
                answers += [self._perform(request) for request in group]
        return answers

    def _perform(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Refusal as problem:
            return Refused(str(problem))

    def _answer(self, request: Request) -> Answer:
        match request:
            case UpdateRun():
                return self._update(request)
            case LoadRun(run):
                return next((run_record(form) for form in self._runs.find({"_id": run})), None)
            case ReadLog():
                return self._read_log(request)
            case GetBlob(run, key):
                return self._get_blob(workflow_of(run), key)
            case PutBlob(run, key, data):
                return self._put_blob(workflow_of(run), key, data)
            case CopyBlob(run, source, key):
                blob = self._get_blob(source, key)
                return blob is not None and self._put_blob(run, key, blob)
            case CopyDocument():
                return self.documents.copy(request)
            case GetField():
                return self.documents.get(request)
            case SetFields():
                return self.documents.set(request)
            case ExtendField():
                return self.documents.extend(request)
            case CreateRun():
                return self._create(request)
            case ListRuns():
                return self._list(request)
            case AskStop():
                return self._ask_stop(request)
            case RemoveDocument(run):
                return self._remove_document(run)
            case ReadOutput():
                return self._read_output(request)
            case RegisterNode(node, address, seen_at, name):
                self._nodes.put({"_id": node, "address": address, "seen_at": seen_at, "name": spelled_out(name)})
                return True
            case ForgetNode(node):
                self._nodes.change({"_id": node}, {"$set": {"address": ""}})
                return True
            case ListNodes(since):
                found = self._nodes.find({"seen_at": {"$gte": since}}, [("_id", 1)])
                return tuple(_node_of(form) for form in found)
            case RemoveRun(run, output_only):
                return self._removals.remove_output(run) if output_only else self._removals.remove(run)
            case RemoveOrphans():
                return self._removals.remove_orphans(request)
            case RemoveNodes(before):
                return self._nodes.remove({"seen_at": {"$lt": before}})
            case Sweep():
                return self._removals.sweep()
            case Append() | WriteOutput():
                raise AssertionError("performed in groups")
            case _:
                assert_never(request)

    # --- runs ---

    def _create(self, request: CreateRun) -> bool:
        sections = sections_to_create(request)
        record = replace(request.record, arguments=new_section(request.record.arguments, "arguments"))
        for key, data in request.blobs.items():
            check_blob(key, data)
        if self._runs.change({"_id": record.run}, TOUCH):
            return False
        run = workflow_of(record.run)
        self._blobs.put_all([self._blob(run, key, data) for key, data in request.blobs.items()])
        if sections is not None:
            self.documents.create(run, sections)
        if self._runs.insert(run_form(record)):
            return True
        self._runs.change({"_id": record.run}, TOUCH)
        return False

    def _list(self, request: ListRuns) -> tuple[RunRecord, ...]:
        conditions: list[Form] = []
        if request.is_open is not None:
            conditions.append({"state": {"$in" if request.is_open else "$nin": list(OPEN_STATES)}})
        if request.workflows_only:
            conditions.append({"parent": None})
        if request.before is not None:
            conditions.append({"created_at": {"$lt": request.before}})
        for name, wanted in (("parent", request.parent), ("workflow", request.workflow)):
            if wanted is not None:
                conditions.append({name: wanted})
        if request.limit == 0:  # which means no limit to MongoDB
            return ()
        query = {"$and": conditions} if conditions else {}
        found = self._runs.find(query, [("created_at", -1), ("_id", -1)], request.limit or 0)
        return tuple(run_record(form) for form in found)

    def _update(self, request: UpdateRun) -> bool:
        changes = run_changes(request)
        query: Form = {"_id": request.run, "epoch": {"$lte": request.epoch}}
        if request.started_at is not None:
            first = {"$set": {**changes, "started_at": request.started_at}, **TOUCH}
            if self._runs.change({**query, "started_at": None}, first) is not None:
                return True
        return self._runs.change(query, {"$set": changes, **TOUCH}) is not None

    def _ask_stop(self, request: AskStop) -> bool:
        query = {"_id": request.run, "state": {"$in": list(OPEN_STATES)}}
        lower = {"stop": {"$in": list(outranked_by(request.stop))}}
        asked = {"stop": request.stop.value, "stop_reason": spelled_out(request.reason)}
        if self._runs.change({**query, **lower}, {"$set": asked, **TOUCH}) is not None:
            return True
        return self._runs.change(query, TOUCH) is not None

    def _remove_document(self, run: RunId) -> bool:
        is_removed = self.documents.remove(run)
        self._files.delete_all(run, "document")
        low, high = VALUE_BLOBS
        values = {"_id": {"$gte": {"run": run, "key": low}, "$lt": {"run": run, "key": high}}}
        self._files.delete([form["file"] for form in self._blobs.find({**values, "file": {"$exists": True}})])
        self._blobs.remove(values)
        return is_removed

    # --- log ---

    def _append(self, batches: Sequence[Batch]) -> list[bool]:
        forms = [
            {
                "_id": {"run": batch.run, "seq": batch.seq},
                "token": batch.token,
                "at": batch.at,
                **self._body(workflow_of(batch.run), "log", wire.encode(batch)),
            }
            for batch in batches
        ]
        answers: list[bool] = []
        while len(answers) < len(forms):
            answers += [True] * self._log.insert_all(forms[len(answers) :])
            if len(answers) < len(forms):
                answers.append(self._is_there(forms[len(answers)]))
        return answers

    def _is_there(self, form: Form) -> bool:
        """Whether the entry at the place of this one is this one, of an earlier attempt whose answer was lost."""
        present = self._log.change({"_id": form["_id"]}, TOUCH, ["token", "file"])
        if present is None:
            raise StoreUnavailable(f"the log entry {form['_id']} was there and is not; its run is being removed")
        if "file" in form:
            self._files.delete([form["file"]])
        return bool(present["token"] == form["token"])

    def _read_log(self, request: ReadLog) -> tuple[Batch, ...]:
        since, end = ({"run": request.run, "seq": seq} for seq in (request.since, _MAX_SEQ))
        found: list[Batch] = []
        size_bytes = 0
        with closing(self._log.find({"_id": {"$gte": since, "$lt": end}}, [("_id", 1)])) as forms:
            for form in forms:
                data = self._data_of(form)
                found.append(wire.decode(Batch, data))
                size_bytes += len(data)
                if size_bytes >= request.max_bytes:
                    break
        return tuple(found)

    # --- blobs and output ---

    def _get_blob(self, run: RunId, key: str) -> bytes | None:
        form = self._blobs.read({"_id": {"run": run, "key": key}}, ["data", "file"])
        return None if form is None else self._data_of(form)

    def _put_blob(self, run: RunId, key: str, data: bytes) -> bool:
        check_blob(key, data)
        before = self._blobs.put(self._blob(run, key, data), ["file"])
        if before is not None and "file" in before:
            self._files.delete([before["file"]])
        return True

    def _blob(self, run: RunId, key: str, data: bytes) -> Form:
        return {"_id": {"run": run, "key": key}, **self._body(run, "blob", data)}

    def _write_output(self, chunks: Sequence[WriteOutput]) -> list[bool]:
        self._output.add_all(
            [
                {
                    "_id": {
                        **{"run": chunk.run, "task": spelled_out(chunk.task), "attempt": chunk.attempt},
                        **{"stream": chunk.stream, "offset": chunk.offset},
                    },
                    "at": chunk.at,
                    **self._body(workflow_of(chunk.run), "output", chunk.data),
                }
                for chunk in chunks
            ]
        )
        return [True] * len(chunks)

    def _read_output(self, request: ReadOutput) -> tuple[WriteOutput, ...]:
        query: Form = {"_id": ids_of(request.run)}
        if request.task is not None:
            query["_id.task"] = spelled_out(request.task)
        if request.attempt is not None:
            query["_id.attempt"] = request.attempt
        found = [self._chunk(form) for form in self._output.find(query)]
        return tuple(sorted(found, key=order_of_output))

    def _chunk(self, form: Form) -> WriteOutput:
        key, data = form["_id"], self._data_of(form)
        return WriteOutput(
            key["run"], key["task"], int(key["attempt"]), key["stream"], int(key["offset"]), data, form["at"]
        )

    def _body(self, run: RunId, kind: str, data: bytes) -> Form:
        """How bytes are kept that may be too many for a document."""
        body: Form = {"data": data} if len(data) <= _INLINE_BYTES else {"file": self._files.put(run, kind, data)}
        return {"bytes": len(data), **body}

    def _data_of(self, form: Form) -> bytes:
        if "data" in form:
            return bytes(form["data"])
        data = self._files.get(form["file"])
        if data is None:
            raise StoreError(f"the file {form['file']} of {form['_id']} is missing; was it removed by another program?")
        return data


def _node_of(form: Form) -> RegisterNode:
    return RegisterNode(NodeId(form["_id"]), form["address"], form["seen_at"], form.get("name", ""))
