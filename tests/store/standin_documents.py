"""What MongoDB documents to do with documents: order, queries, projections and updates.

Part of the stand-in (`mongod_standin.py`), which lists where it deviates. Written after MongoDB's manual: "BSON
comparison order", "Query and projection operators", "Update operators". What MeshFlow does not use is an error, not a
guess.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

Document = dict[str, Any]

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_LEVELS = 100

_NULL, _NUMBER, _STRING, _OBJECT, _ARRAY, _BINARY, _OBJECT_ID, _BOOL, _DATE = range(9)
_TYPES = {"object": _OBJECT, "array": _ARRAY, "string": _STRING, "bool": _BOOL, "null": _NULL, "number": _NUMBER}


class ServerError(Exception):
    """An error reply of the server."""

    def __init__(self, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.reply = {"code": code, "errmsg": message, **more}


def unsupported(what: object) -> ServerError:
    """The stand-in does not know this; the real server may."""
    return ServerError(2, f"the stand-in does not support {what!r}")


# --- order ---


def rank(value: object) -> int:
    """The type of a value in the order of types."""
    match value:
        case None:
            return _NULL
        case bool():
            return _BOOL
        case int() | float():
            return _NUMBER
        case str():
            return _STRING
        case dict():
            return _OBJECT
        case list():
            return _ARRAY
        case bytes():
            return _BINARY
        case ObjectId():
            return _OBJECT_ID
        case datetime():
            return _DATE
    raise unsupported(type(value))


def order(value: object) -> tuple[Any, ...]:
    """A key that sorts as the server does, and is equal for what the server holds equal (1 and 1.0)."""
    match value:
        case dict():
            return (_OBJECT, tuple((rank(item), name, order(item)) for name, item in value.items()))
        case list():
            return (_ARRAY, tuple(order(item) for item in value))
        case bytes():
            return (_BINARY, len(value), value)
        case float() if math.isnan(value):
            return (_NUMBER, -math.inf, "nan")  # below all numbers, and equal to itself
        case None:
            return (_NULL,)
    return (rank(value), value)


# --- queries ---


def matches(document: Document, query: Document) -> bool:
    """Whether the query selects the document."""
    return all(_condition_holds(document, key, condition) for key, condition in query.items())


def _condition_holds(document: Document, key: str, condition: Any) -> bool:
    match key:
        case "$and":
            return all(matches(document, each) for each in condition)
        case "$or":
            return any(matches(document, each) for each in condition)
        case "$nor":
            return not any(matches(document, each) for each in condition)
    if key.startswith("$"):
        raise unsupported(key)
    found = list(_values_at(document, key.split(".")))
    if isinstance(condition, dict) and next(iter(condition), "").startswith("$"):
        return all(_operator_holds(found, operator, operand) for operator, operand in condition.items())
    return _equals(found, condition)


def _values_at(value: object, path: list[str]) -> Iterator[object]:
    """Arrays on the way are entered: by index, and each of their documents."""
    if not path:
        yield value
    elif isinstance(value, dict):
        if path[0] in value:
            yield from _values_at(value[path[0]], path[1:])
    elif isinstance(value, list):
        if path[0].isdigit() and int(path[0]) < len(value):
            yield from _values_at(value[int(path[0])], path[1:])
        for item in value:
            if isinstance(item, dict):
                yield from _values_at(item, path)


def _candidates(found: list[Any]) -> list[Any]:
    """An array is compared as a whole and by its elements."""
    return found + [item for value in found if isinstance(value, list) for item in value]


def _equals(found: list[Any], wanted: object) -> bool:
    if wanted is None and not found:
        return True
    return any(order(value) == order(wanted) for value in _candidates(found))


def _operator_holds(found: list[Any], operator: str, operand: Any) -> bool:
    match operator:
        case "$exists":
            return bool(found) is bool(operand)
        case "$type":
            if operand not in _TYPES:
                raise unsupported({"$type": operand})
            return any(rank(value) == _TYPES[operand] for value in _candidates(found))
        case "$in":
            return any(_equals(found, each) for each in operand)
        case "$nin":
            return not any(_equals(found, each) for each in operand)
        case "$eq":
            return _equals(found, operand)
        case "$ne":
            return not _equals(found, operand)
        case "$not":
            return not all(_operator_holds(found, name, each) for name, each in operand.items())
        case "$gt" | "$gte" | "$lt" | "$lte":
            compared = [order(value) for value in _candidates(found) if rank(value) == rank(operand)]
            bound = order(operand)
            if operator in ("$gte", "$lte") and bound in compared:
                return True
            return any(bound < each if operator.startswith("$g") else each < bound for each in compared)
    raise unsupported(operator)


# --- projections ---


def projected(document: Document, projection: Document) -> Document:
    """The fields that the projection includes, and `_id` unless it is excluded."""
    if not projection:
        return document
    tree: Document = {}
    if projection.get("_id", 1):
        tree["_id"] = {}
    for key, wanted in projection.items():
        if key == "_id":
            continue
        if wanted not in (1, True):
            raise unsupported({key: wanted})
        level = tree
        *above, last = key.split(".")
        for name in above:
            level = level.setdefault(name, {})
            if name and level == {} and ".".join(above) in projection:
                raise ServerError(31249, f"path collision at {key}")
        level[last] = {}
    return _included(document, tree)


def _included(document: Document, tree: Document) -> Document:
    found: Document = {}
    for name, value in document.items():
        if name not in tree:
            continue
        if not tree[name]:
            found[name] = value
        elif isinstance(value, dict):
            found[name] = _included(value, tree[name])
        elif isinstance(value, list):
            found[name] = [_included(item, tree[name]) for item in value if isinstance(item, dict)]
    return found


# --- updates ---


def updated(document: Document, update: Document | list[Document], is_insert: bool = False) -> Document:
    """The document after an update or replacement; `document` itself may be changed on the way."""
    if isinstance(update, list):
        raise unsupported("an update that is a pipeline")
    if not any(key.startswith("$") for key in update):
        return {"_id": document["_id"]} | update
    _check_conflicts(update)
    for operator, fields in update.items():
        if operator == "$setOnInsert" and not is_insert:
            continue
        for key, operand in fields.items():
            _apply(document, operator, _update_path(key), operand)
    return document


def _check_conflicts(update: Document) -> None:
    paths = [key.split(".") for fields in update.values() for key in fields]
    for index, path in enumerate(paths):
        for other in paths[index + 1 :]:
            length = min(len(path), len(other))
            if path[:length] == other[:length]:
                raise ServerError(40, f"Updating the path '{'.'.join(other)}' would create a conflict")


def _update_path(key: str) -> list[str]:
    path = key.split(".")
    if "" in path:
        raise ServerError(56, f"The update path '{key}' contains an empty field name")
    if any(name.startswith("$") for name in path):
        raise ServerError(52, f"The dollar ($) prefixed field in '{key}' is not valid for storage")
    return path


def _apply(document: Document, operator: str, path: list[str], operand: Any) -> None:
    if path[0] == "_id" and operator != "$setOnInsert":
        raise ServerError(66, "Performing an update on the path '_id' would modify the immutable field '_id'")
    holder, name = _holder(document, path)
    present = holder.get(name) if isinstance(holder, dict) else None
    is_there = name in holder if isinstance(holder, dict) else False
    match operator:
        case "$set" | "$setOnInsert":
            _put(holder, name, operand)
        case "$inc":
            if is_there and (isinstance(present, bool) or not isinstance(present, int | float)):
                raise ServerError(14, f"Cannot apply $inc to a value of non-numeric type at '{'.'.join(path)}'")
            _put(holder, name, (present or 0) + operand)
        case "$push":
            if is_there and not isinstance(present, list):
                raise ServerError(2, f"The field '{'.'.join(path)}' must be an array")
            _put(holder, name, _pushed(list(present or []), operand))
        case "$currentDate" if operand is True:
            _put(holder, name, datetime.now(UTC))
        case _:
            raise unsupported(operator)


def _pushed(items: list[Any], operand: Any) -> list[Any]:
    if not isinstance(operand, dict) or not any(key.startswith("$") for key in operand):
        return [*items, operand]
    if not operand.keys() <= {"$each", "$slice"} or "$each" not in operand:
        raise unsupported({"$push": list(operand)})
    items += operand["$each"]
    limit = operand.get("$slice")
    if limit is None:
        return items
    return items[limit:] if limit < 0 else items[:limit]


def _holder(document: Document, path: list[str]) -> tuple[Any, str]:
    """What holds the last name of the path; levels that are missing are made."""
    level: Any = document
    for depth, name in enumerate(path[:-1]):
        level = _entered(level, name) if isinstance(level, list) else level.setdefault(name, {})
        if not isinstance(level, dict | list):
            raise ServerError(28, f"Cannot create field '{path[depth + 1]}' in element '{name}'")
    return level, path[-1]


def _entered(array: list[Any], name: str) -> Any:
    if not name.isdigit():
        raise ServerError(28, f"Cannot create field '{name}' in an array")
    while len(array) <= int(name):
        array.append(None)
    if array[int(name)] is None:
        array[int(name)] = {}
    return array[int(name)]


def _put(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[name] = value
        return
    _entered(holder, name)
    holder[int(name)] = value


def check_storable(value: object, level: int = 1) -> None:
    """Refuse what may not stand in a document: deeper than 100 levels, or field names that queries cannot reach."""
    if level > MAX_LEVELS:
        raise ServerError(15, f"exceeded depth limit: {MAX_LEVELS}")
    if isinstance(value, dict):
        for name, item in value.items():
            if name.startswith("$") or "." in name:
                raise ServerError(52, f"the field name {name!r} is not valid for storage")
            if isinstance(item, dict | list):
                check_storable(item, level + 1)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                check_storable(item, level + 1)
