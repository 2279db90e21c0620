"""What MeshFlow's values look like in MongoDB: documents, queries and updates, as plain data.

A user reads the document of a run with any MongoDB client, so native values stand there as themselves. What is not
native stands as a marked subdocument:

    {"__meshflow_pickle__": bytes}                              a Pickled
    {"__meshflow_file__": id, "holds": "pickle" or "bytes"}     a large Pickled, or large bytes, in GridFS

Field names of MongoDB cannot hold everything that a key of a dict can. Where a name has a dot, a NUL or a leading `$`,
or is one of the marks, that character becomes `%` and two digits; so does a `%` that looks like one of these.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from meshflow import wire
from meshflow.core.records import RunRecord, State, Stop
from meshflow.core.requests import Pickled, UpdateRun
from meshflow.store.document import Path, Tree
from meshflow.store.mongo_table import Form
from meshflow.store.rules import LARGE_BYTES, PROGRESS, spelled_out
from meshflow.store.values import Kept

PICKLE_MARK, FILE_MARK = "__meshflow_pickle__", "__meshflow_file__"

_TO_ESCAPE = re.compile(r"^\$|\.|\x00|%(?=25|24|2E|00|5F)|^_(?=_meshflow_(?:pickle|file)__$)")
_ESCAPED = re.compile(r"%(25|24|2E|00|5F)")


# --- names ---


def escaped(name: str) -> str:
    """A key of a dict as a field name."""
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def unescaped(name: str) -> str:
    """The key of a dict that became this field name."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), name) if "%" in name else name


def place(section: str, path: Path) -> str:
    """Where a value is in the document, as queries and updates name it."""
    return ".".join([section, *map(escaped, path)])


# --- trees ---


def stored(tree: object, put_file: Callable[[bytes | Kept], str]) -> Any:
    """A tree as it is stored; `put_file` stores a large value, or a copy of one that is kept, and returns its id."""
    match tree:
        case dict():
            return {escaped(name): stored(item, put_file) for name, item in tree.items()}
        case list():
            return [stored(item, put_file) for item in tree]
        case Pickled(data) if len(data) > LARGE_BYTES:
            return {FILE_MARK: put_file(data), "holds": "pickle"}
        case Pickled(data):
            return {PICKLE_MARK: data}
        case bytes() if len(tree) > LARGE_BYTES:
            return {FILE_MARK: put_file(tree), "holds": "bytes"}
        case Kept(is_pickled=is_pickled):
            return {FILE_MARK: put_file(tree), "holds": "pickle" if is_pickled else "bytes"}
        case _:
            return tree


def restored(form: Any, is_reference: Callable[[Any], bool]) -> object:
    """The tree that is stored so, with a Kept for each value in GridFS.

    `is_reference` recognises the way Lightflow referred to a pickle in GridFS.
    """
    match form:
        case {"__meshflow_pickle__": data}:
            return Pickled(data)
        case {"__meshflow_file__": reference, "holds": holds}:
            return Kept(reference, is_pickled=holds == "pickle")
        case dict():
            return {unescaped(name): restored(item, is_reference) for name, item in form.items()}
        case list():
            return [restored(item, is_reference) for item in form]
        case bool():
            return form
        case int():
            return int(form)  # numbers of 64 bits come as a subclass
        case _ if is_reference(form):
            return Kept(form, is_pickled=True)
        case _:
            return form


def section_of(document: Form, section: str, is_reference: Callable[[Any], bool]) -> Tree:
    """The tree of a section, as far as the document was read."""
    tree = restored(document.get(section, {}), is_reference)
    return tree if isinstance(tree, dict) else {}


def references_in(tree: object) -> list[object]:
    """What finds the values in GridFS that belong to a tree."""
    match tree:
        case Kept(reference=reference):
            return [reference]
        case dict():
            return [reference for item in tree.values() for reference in references_in(item)]
        case list():
            return [reference for item in tree for reference in references_in(item)]
        case _:
            return []


# --- queries on documents ---


def passable(section: str, paths: Iterable[Path]) -> list[Form]:
    """Conditions under which every path leads through dicts alone.

    An update by itself would go into lists by index, into marked subdocuments by name, and be an error at the rest.
    """
    levels = {place(section, path[:depth]): None for path in paths for depth in range(1, len(path))}
    conditions: list[Form] = []
    for level in levels:
        conditions += [
            {"$or": [{level: {"$exists": False}}, {level: {"$type": "object"}}]},
            {level: {"$not": {"$type": "array"}}},  # an array of objects is of type object too
            {f"{level}.{PICKLE_MARK}": {"$exists": False}},
            {f"{level}.{FILE_MARK}": {"$exists": False}},
        ]
    return conditions


# --- run records ---


def run_form(record: RunRecord) -> Form:
    """A run record as it is stored: as it was created, encoded; beside it what is searched by, shown, and changes."""
    form: Form = {"_id": record.run, "name": record.name, "queue": record.queue}
    form |= {name: getattr(record, name) for name in ("workflow", "parent", "created_at", *PROGRESS)}
    form |= {"state": record.state.value, "stop": record.stop.value}
    form |= {name: spelled_out(form[name]) for name in ("name", "reason", "stop_reason")}
    return form | {"created": wire.encode(record)}


def run_record(form: Form) -> RunRecord:
    """The run record that is stored so."""
    changes = {name: restored(form[name], lambda _: False) for name in PROGRESS}
    changes |= {"state": State(form["state"]), "stop": Stop(form["stop"])}
    return replace(wire.decode(RunRecord, form["created"]), **changes)  # type: ignore[arg-type]


def run_changes(request: UpdateRun) -> Form:
    """What an update sets, `started_at` aside."""
    values = {name: getattr(request, name) for name in ("epoch", "owner", "ended_at", "total", "done")}
    values["state"] = request.state and request.state.value
    values["reason"] = request.reason and spelled_out(request.reason)
    return {name: value for name, value in values.items() if value is not None}
