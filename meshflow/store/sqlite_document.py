"""Documents in the embedded store: one row per top-level key of a section, large values in rows of their own.

So `set("a.b", …)` rewrites `a` and nothing else, and a large value is written once, whatever is set beside it. Within a
transaction a key is read once and written once, at its end: a batch of many pushes to one list costs one rewrite.

In a stored tree every Pickled begins with a byte that says what it stands for, since pickles of users and references to
large values must not be taken for each other.
"""

import sqlite3
from dataclasses import dataclass

from meshflow import wire
from meshflow.core.requests import CopyDocument, ExtendField, GetField, Pickled, SetFields
from meshflow.errors import PeerError
from meshflow.ids import RunId, workflow_of
from meshflow.store.document import (
    Tree,
    assign,
    extend,
    find,
    items_to_set,
    no_document,
    path_to_get,
    values_to_add,
)
from meshflow.store.rules import LARGE_BYTES, TOKENS_KEPT
from meshflow.store.values import Kept

_INLINE, _LARGE_PICKLED, _LARGE_BYTES = b"p", b"P", b"B"
_REFERENCE_BYTES = 8


@dataclass(slots=True)
class _Field:
    """A top-level key as it is in this transaction."""

    tree: Tree
    """`{key: value}`, or empty if the key is not set: a section as far as this key goes."""
    stored: dict[int, None]
    """The large values that its row refers to."""
    is_changed: bool = False


class SqliteDocuments:
    """Performs the requests about documents within the transaction that its owner has begun. `write_back` must be
    called before the commit, `forget` after it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._fields: dict[tuple[RunId, str, str], _Field] = {}

    def create(self, run: RunId, sections: dict[str, Tree]) -> None:
        """Make a document, unless there is one."""
        cursor = self._connection.execute("INSERT INTO documents VALUES (?) ON CONFLICT DO NOTHING", (run,))
        if cursor.rowcount:
            for section, tree in sections.items():
                for key, value in tree.items():
                    self._fields[run, section, key] = _Field({key: value}, {}, is_changed=True)

    def get(self, request: GetField) -> tuple[bool, object]:
        """Answer GetField.

        Raises:
            Refusal: as the request documents.
        """
        path, run = path_to_get(request), workflow_of(request.run)
        if not self._exists(run):
            raise no_document(run)
        if not path:
            return True, self._fetched(self._section(run, request.section))
        exists, value = find(self._field(run, request.section, path[0]).tree, path)
        return exists, self._fetched(value)

    def set(self, request: SetFields) -> bool:
        """Answer SetFields.

        Raises:
            Refusal: as the request documents.
        """
        items, run = items_to_set(request), workflow_of(request.run)
        if not self._exists(run):
            return False
        fields = [self._field(run, request.section, path[0]) for path, _ in items]
        for (path, _), field in zip(items, fields, strict=True):
            find(field.tree, path)
        for (path, value), field in zip(items, fields, strict=True):
            assign(field.tree, path, value)
            field.is_changed = True
        return True

    def extend(self, request: ExtendField) -> bool:
        """Answer ExtendField.

        Raises:
            Refusal: as the request documents.
        """
        (path, values), run = values_to_add(request), workflow_of(request.run)
        if not self._exists(run):
            return False
        if self._select("SELECT 1 FROM tokens WHERE run = ? AND token = ?", run, request.token):
            return True
        field = self._field(run, request.section, path[0])
        extend(field.tree, path, values)
        if values:
            field.is_changed = True
            self._remember(run, request.token)
        return True

    def copy(self, request: CopyDocument) -> bool:
        """Answer CopyDocument. Large values go from row to row, one by one."""
        run, source = request.run, request.source
        if not self._exists(source):
            return False
        cursor = self._connection.execute("INSERT INTO documents VALUES (?) ON CONFLICT DO NOTHING", (run,))
        if cursor.rowcount:
            for key, value in self._section(source, "data").items():
                self._fields[run, "data", key] = _Field({key: self._duplicated(run, value)}, {}, is_changed=True)
        return True

    def remove(self, run: RunId) -> bool:
        """Remove a document with all that belongs to it."""
        is_there = self.take_out(run)
        for table in ("fields", "large_values", "tokens"):
            self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        return is_there

    def take_out(self, run: RunId) -> bool:
        """Make a document unreachable; what belongs to it is left to the caller."""
        for key in [key for key in self._fields if key[0] == run]:
            del self._fields[key]
        return self._connection.execute("DELETE FROM documents WHERE run = ?", (run,)).rowcount > 0

    def write_back(self) -> None:
        """Write the keys that were changed."""
        for (run, section, key), field in self._fields.items():
            if field.is_changed:
                self._write(run, section, key, field)

    def forget(self) -> None:
        """Forget what was read: another process may change it from now on."""
        self._fields.clear()

    # --- rows ---

    def _select(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _exists(self, run: RunId) -> bool:
        return bool(self._select("SELECT 1 FROM documents WHERE run = ?", run))

    def _field(self, run: RunId, section: str, key: str) -> _Field:
        field = self._fields.get((run, section, key))
        if field is None:
            rows = self._select("SELECT value FROM fields WHERE run = ? AND section = ? AND key = ?", run, section, key)
            field = self._read(key, rows[0][0]) if rows else _Field({}, {})
            self._fields[run, section, key] = field
        return field

    def _section(self, run: RunId, section: str) -> Tree:
        rows = self._select("SELECT key FROM fields WHERE run = ? AND section = ? ORDER BY rowid", run, section)
        keys: dict[object, None] = dict.fromkeys(key for (key,) in rows)
        keys.update(dict.fromkeys(key for of, among, key in self._fields if (of, among) == (run, section)))
        tree: Tree = {}
        for key in keys:
            tree.update(self._field(run, section, str(key)).tree)
        return tree

    def _read(self, key: str, row: object) -> _Field:
        assert isinstance(row, bytes), f"field {key!r} is {row!r}"
        stored: dict[int, None] = {}
        return _Field({key: _restored(wire.decode_value(row), stored)}, stored)

    def _write(self, run: RunId, section: str, key: str, field: _Field) -> None:
        used: dict[int, None] = {}
        value = wire.encode_value(self._shelved(run, field.tree[key], used))
        self._connection.execute(
            "INSERT INTO fields VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (run, section, key, value),
        )
        gone = [(reference,) for reference in field.stored if reference not in used]
        self._connection.executemany("DELETE FROM large_values WHERE id = ?", gone)

    def _remember(self, run: RunId, token: str) -> None:
        ((latest,),) = self._select("SELECT coalesce(max(number), 0) FROM tokens WHERE run = ?", run)
        assert isinstance(latest, int)
        self._connection.execute("INSERT INTO tokens VALUES (?, ?, ?)", (run, latest + 1, token))
        oldest = latest + 1 - TOKENS_KEPT
        self._connection.execute("DELETE FROM tokens WHERE run = ? AND number <= ?", (run, oldest))

    # --- trees ---

    def _shelved(self, run: RunId, tree: object, used: dict[int, None]) -> object:
        """The tree as it is stored; large values that are not in the store yet are put there."""
        match tree:
            case dict():
                return {name: self._shelved(run, item, used) for name, item in tree.items()}
            case list():
                return [self._shelved(run, item, used) for item in tree]
            case Pickled(data) if len(data) > LARGE_BYTES:
                return _reference(_LARGE_PICKLED, self._put_large(run, data), used)
            case Pickled(data):
                return Pickled(_INLINE + data)
            case bytes() if len(tree) > LARGE_BYTES:
                return _reference(_LARGE_BYTES, self._put_large(run, tree), used)
            case Kept(reference=int(reference), is_pickled=is_pickled):
                return _reference(_LARGE_PICKLED if is_pickled else _LARGE_BYTES, reference, used)
            case _:
                return tree

    def _put_large(self, run: RunId, data: bytes) -> int:
        cursor = self._connection.execute("INSERT INTO large_values (run, data) VALUES (?, ?)", (run, data))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _duplicated(self, run: RunId, tree: object) -> object:
        """A copy of the tree with copies of its large values that belong to `run`."""
        match tree:
            case dict():
                return {name: self._duplicated(run, item) for name, item in tree.items()}
            case list():
                return [self._duplicated(run, item) for item in tree]
            case Kept(reference=reference, is_pickled=is_pickled):
                cursor = self._connection.execute(
                    "INSERT INTO large_values (run, data) SELECT ?, data FROM large_values WHERE id = ?",
                    (run, reference),
                )
                if not cursor.rowcount:
                    raise PeerError(f"a field names a large value that is not there: {reference!r}")
                return Kept(cursor.lastrowid, is_pickled)
            case _:
                return tree

    def _fetched(self, tree: object) -> object:
        """A copy of the tree with all large values in it."""
        match tree:
            case dict():
                return {name: self._fetched(item) for name, item in tree.items()}
            case list():
                return [self._fetched(item) for item in tree]
            case Kept(reference=reference, is_pickled=is_pickled):
                for (data,) in self._select("SELECT data FROM large_values WHERE id = ?", reference):
                    if isinstance(data, bytes):
                        return Pickled(data) if is_pickled else data
                raise PeerError(f"a field names a large value that is not there: {reference!r}")
            case _:
                return tree


def _reference(kind: bytes, reference: int, used: dict[int, None]) -> Pickled:
    used[reference] = None
    return Pickled(kind + reference.to_bytes(_REFERENCE_BYTES, "big"))


def _restored(tree: object, stored: dict[int, None]) -> object:
    """The tree of a stored one, with a Kept for each large value; these are noted in `stored`."""
    match tree:
        case dict():
            return {name: _restored(item, stored) for name, item in tree.items()}
        case list():
            return [_restored(item, stored) for item in tree]
        case Pickled(data) if data[:1] == _INLINE:
            return Pickled(data[1:])
        case Pickled(data):
            reference = int.from_bytes(data[1:], "big")
            stored[reference] = None
            return Kept(reference, is_pickled=data[:1] == _LARGE_PICKLED)
        case _:
            return tree
