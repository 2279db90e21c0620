"""How runs leave MongoDB: taken out by a few writes, removed bit by bit.

An entry in `removals` comes first, then the record goes, then the document; so who is killed in between has removed
nothing, or leaves an entry that the next sweep acts on. Sweeps remove the rest in parts, each a few writes.

Invariants:
1. The record of an open workflow run is never removed. If one is there, its entry was a mistake (a submission that took
   longer than anybody waited) and goes.
2. An entry leaves `removals` after the last document of its run.
3. The log of a run is removed from its end: who still reads it sees a run that was cut short, not one with gaps.
4. Documents without a run are not orphans: Lightflow left such, and programs may keep their own (`datastore.py`).

Kinds of entries: `all` and `output` say what is to go; `orphan` is a note that there was something without a record.
"""

from collections.abc import Mapping, Sequence

from meshflow.core.requests import RemoveOrphans, Swept
from meshflow.ids import RunId, workflow_of
from meshflow.store.mongo_document import MongoDocuments
from meshflow.store.mongo_table import Files, Form, Table
from meshflow.store.rules import OPEN_STATES, SWEEP_BYTES, SWEEP_ROWS, dag_runs_of

_LOOKED_AT = 100
"""Runs that one search for orphans looks at; each takes about six short reads."""

_RUNS_AT_ONCE = 10
"""Runs that one sweep removes at most; each takes about ten writes."""

_CHUNKS = "chunks:"
"""Begins the `after` of a search that is through with the runs. No run id begins so."""

_IS_OPEN: Form = {"$in": list(OPEN_STATES)}
_HAS_ENDED: Form = {"$nin": list(OPEN_STATES)}


class MongoRemovals:
    """Performs the requests that remove runs."""

    def __init__(self, tables: Mapping[str, Table], files: Files, documents: MongoDocuments) -> None:
        self._runs, self._removals = tables["runs"], tables["removals"]
        self._output = tables["output"]
        self._bodies = (tables["log"], self._output, tables["blobs"])
        self._files = files
        self._documents = documents

    def remove(self, run: RunId) -> bool:
        """Answer RemoveRun."""
        if run != workflow_of(run):
            return False
        is_there = self._runs.read({"_id": run, "state": _HAS_ENDED}) is not None
        if is_there or self._removals.read({"_id": run, "kind": "all"}) is not None:
            self._condemn(run)
        return is_there

    def remove_output(self, run: RunId) -> bool:
        """Answer RemoveRun for the output alone."""
        if run != workflow_of(run) or self._runs.read({"_id": run, "state": _HAS_ENDED}) is None:
            return False
        if self._output.read({"_id": ids_of(run)}) is None:
            return False
        self._removals.insert({"_id": run, "kind": "output"})
        return True

    def remove_orphans(self, request: RemoveOrphans) -> str:
        """Answer RemoveOrphans."""
        position = request.after
        if position.startswith(_CHUNKS):
            last = self._files.delete_unfinished(request.noted_before, position.removeprefix(_CHUNKS))
            return _CHUNKS + last if last else ""
        for _ in range(_LOOKED_AT):
            ahead = [form["_id"]["run"] for table in self._bodies for form in _next(table, {"run": position})]
            ahead += [form["_id"] for form in _next(self._runs, position)]
            if not ahead:
                return _CHUNKS
            run = workflow_of(min(ahead))
            position = dag_runs_of(run)[1]
            self._judge(run, request)
        return position

    def sweep(self) -> Swept:
        """Answer Sweep."""
        row_count = size_bytes = 0
        entries = list(self._removals.find({"kind": {"$ne": "orphan"}}, limit=_RUNS_AT_ONCE))
        for run, kind in [(RunId(entry["_id"]), entry["kind"]) for entry in entries]:
            is_left = kind == "output" or self._is_gone(run)
            while is_left:
                if row_count >= SWEEP_ROWS or size_bytes >= SWEEP_BYTES:
                    return Swept(row_count, size_bytes, is_done=False)
                sizes = self._remove_part(run, kind, SWEEP_ROWS - row_count, SWEEP_BYTES - size_bytes)
                row_count += len(sizes)
                size_bytes += sum(sizes)
                is_left = bool(sizes)
            self._removals.remove({"_id": run, "kind": kind})
        return Swept(row_count, size_bytes, is_done=not entries)

    # --- parts ---

    def _condemn(self, run: RunId) -> None:
        self._removals.put({"_id": run, "kind": "all"})
        low, high = dag_runs_of(run)
        # Records of dag runs go with the sweeps, but for those that somebody might claim.
        open_dags = {"_id": {"$gte": low, "$lt": high}, "state": _IS_OPEN}
        self._runs.remove({"$or": [{"_id": run, "state": _HAS_ENDED}, open_dags]})
        self._documents.remove(run)

    def _is_gone(self, run: RunId) -> bool:
        """Whether the record of a run is not there; what was cut short before it went is done again."""
        if self._runs.read({"_id": run, "state": _IS_OPEN}) is not None:
            return False
        self._condemn(run)
        return True

    def _judge(self, run: RunId, request: RemoveOrphans) -> None:
        """Note a run that has no record, or take it out if it was noted long enough ago."""
        entry = self._removals.read({"_id": run}, ["kind", "noted_at"])
        is_noted = entry is not None and entry["kind"] == "orphan"
        if self._runs.read({"_id": run}) is not None:
            if is_noted:
                self._removals.remove({"_id": run, "kind": "orphan"})
        elif entry is not None and is_noted and entry["noted_at"] < request.noted_before:
            self._removals.put({"_id": run, "kind": "all"})
        elif entry is None:
            self._removals.insert({"_id": run, "kind": "orphan", "noted_at": request.at})

    def _remove_part(self, run: RunId, kind: str, max_rows: int, max_bytes: int) -> list[int]:
        """Remove documents of one collection; their sizes, or an empty list if nothing of the run is left."""
        for table in (self._output,) if kind == "output" else self._bodies:
            found = table.find({"_id": ids_of(run)}, [("_id", -1)], max_rows, ["bytes", "file"])
            part = _as_far_as(list(found), max_bytes)
            if part:
                table.remove({"_id": {"$in": [form["_id"] for form in part]}})
                self._files.delete([form["file"] for form in part if "file" in form])
                return [form.get("bytes", 0) for form in part]
        if kind == "output":
            return []
        low, high = dag_runs_of(run)
        records = list(self._runs.find({"_id": {"$gte": low, "$lt": high}}, limit=max_rows, fields=["_id"]))
        if records:
            self._runs.remove({"_id": {"$in": [form["_id"] for form in records]}})
            return [0] * len(records)
        return self._files.delete_some(run, max_bytes)


def ids_of(run: RunId) -> Form:
    """Every `_id` with a run in front: of this run and, if it is a workflow run, of its dag runs."""
    after = dag_runs_of(run)[1] if run == workflow_of(run) else run + "\0"
    return {"$gte": {"run": run}, "$lt": {"run": after}}


def _next(table: Table, position: object) -> list[Form]:
    return list(table.find({"_id": {"$gte": position}}, [("_id", 1)], 1, ["_id"]))


def _as_far_as(forms: Sequence[Form], max_bytes: int) -> Sequence[Form]:
    """The first of these documents: about so many bytes, and at least one document."""
    size_bytes = 0
    for count, form in enumerate(forms, 1):
        size_bytes += form.get("bytes", 0)
        if size_bytes >= max_bytes:
            return forms[:count]
    return forms
