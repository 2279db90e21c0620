"""The document of a run in MongoDB, as Lightflow laid it out: `_id` is the run, sections `meta` and `data`, and
`lastModified`. Beside them `tokens`, the tokens of the latest extensions.

Every change is one conditional update of one document. If its conditions do not hold, the document is read to find out
why, and that is the answer; if by then they would hold, it is tried again.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from meshflow.core.requests import CopyDocument, ExtendField, GetField, Pickled, SetFields
from meshflow.errors import StoreUnavailable
from meshflow.ids import RunId, workflow_of
from meshflow.store.document import (
    Path,
    Tree,
    extend,
    find,
    items_to_set,
    no_document,
    path_to_get,
    values_to_add,
)
from meshflow.store.mongo_forms import passable, place, references_in, section_of, stored
from meshflow.store.mongo_table import Files, Form, Table
from meshflow.store.rules import TOKENS_KEPT
from meshflow.store.values import Kept, Refusal

T = TypeVar("T")

_MODIFIED: Form = {"$currentDate": {"lastModified": True}}

_TRIES = 5
"""Against changes by others between an update and the look at why it did not apply."""


DocumentId = Callable[[RunId], object | None]
"""The `_id` of the document of a run; None if the run's id is not of the form that all workflow runs have."""


class MongoDocuments:
    """Performs the requests about documents."""

    def __init__(self, table: Table, files: Files, document_id: DocumentId) -> None:
        self._table = table
        self._files = files
        self._id = document_id

    def create(self, run: RunId, sections: dict[str, Tree]) -> None:
        """Make a document, unless there is one.

        Raises:
            Refusal: it is too large, or the run cannot have one.
        """
        document_id = self._id(run)
        if document_id is None:
            raise Refusal(f"run {run!r} cannot have a document in MongoDB; expected an id of 24 hex digits")
        self._with_files(run, sections, lambda form: self._table.insert({"_id": document_id, **form}) or None)

    def get(self, request: GetField) -> tuple[bool, object]:
        """Answer GetField.

        Raises:
            Refusal: as the request documents.
        """
        path, run = path_to_get(request), workflow_of(request.run)
        for _ in range(_TRIES):
            tree = self._read(run, request.section, [path])
            if tree is None:
                raise no_document(run)
            exists, value = find(tree, path)
            gone: list[object] = []
            value = self._fetched(value, gone)
            if not gone:
                return exists, value
            # Somebody has overwritten the value, and removed its file, between the two looks.
        raise Refusal(f"a large value in {request.key!r} cannot be read: its file {gone[0]} is missing")

    def set(self, request: SetFields) -> bool:
        """Answer SetFields.

        Raises:
            Refusal: as the request documents.
        """
        items, run = items_to_set(request), workflow_of(request.run)
        paths = [path for path, _ in items]
        places = [place(request.section, path) for path in paths]

        def change(values: list[object]) -> Form | None:
            update = {"$set": dict(zip(places, values, strict=True))} if places else {}
            return self._change(run, passable(request.section, paths), update | _MODIFIED, places)

        for _ in range(_TRIES):
            before = self._with_files(run, [value for _, value in items], change)
            if before is not None:
                self._files.delete(references_in(self._section(before, request.section)))
                return True
            tree = self._read(run, request.section, paths)
            if tree is None:
                return False
            for path in paths:
                find(tree, path)
        raise _busy(run)

    def extend(self, request: ExtendField) -> bool:
        """Answer ExtendField.

        Raises:
            Refusal: as the request documents.
        """
        (path, values), run = values_to_add(request), workflow_of(request.run)
        target = place(request.section, path)
        is_list = {"$or": [{target: {"$exists": False}}, {target: {"$type": "array"}}]}
        conditions: list[Form] = [{"tokens": {"$ne": request.token}}, is_list, *passable(request.section, [path])]

        def change(forms: list[object]) -> Form | None:
            tokens = {"$each": [request.token], "$slice": -TOKENS_KEPT}
            push = {"$push": {target: {"$each": forms}, "tokens": tokens}}
            return self._change(run, conditions, push | _MODIFIED)

        for _ in range(_TRIES):
            if values and self._with_files(run, values, change) is not None:
                return True
            if self._change(run, [{"tokens": request.token}], _MODIFIED) is not None:
                return True
            tree = self._read(run, request.section, [path])
            if tree is None:
                return False
            extend(tree, path, [])
            if not values:
                return True
        raise _busy(run)

    def copy(self, request: CopyDocument) -> bool:
        """Answer CopyDocument. Large values are copied one by one.

        Raises:
            Refusal: a large value is missing.
        """
        tree = self._read(request.source, "data", [[]])
        if tree is None:
            return False
        if self._table.read({"_id": self._id(request.run)}) is None:
            self.create(request.run, {"meta": {}, "data": tree})
        return True

    def remove(self, run: RunId) -> bool:
        """Remove a document; its files are left to the caller."""
        return self._table.remove({"_id": self._id(run)}) > 0

    # --- parts ---

    def _change(self, run: RunId, conditions: list[Form], update: Form, fields: Sequence[str] = ()) -> Form | None:
        conditions = [{"_id": self._id(run)}, *conditions]
        return self._table.change({"$and": conditions}, update, fields)

    def _read(self, run: RunId, section: str, paths: Sequence[Path]) -> Tree | None:
        """A section as far as the paths lead into it, without its large values; None if there is no document."""
        document = self._table.read({"_id": self._id(run)}, [place(section, path[:1]) for path in paths])
        return None if document is None else self._section(document, section)

    def _section(self, document: Form, section: str) -> Tree:
        return section_of(document, section, self._files.is_reference)

    def _with_files(self, run: RunId, tree: object, write: Callable[[Any], T | None]) -> T | None:
        """Store the large values of a tree, those of another document too, and write its form; if that comes to
        nothing, the files go again.

        If the outcome of the write is unknown they stay: what is written may refer to them.
        """
        references: list[str] = []

        def put_file(value: bytes | Kept) -> str:
            data = self._files.get(value.reference) if isinstance(value, Kept) else value
            if data is None:
                raise Refusal(f"a large value cannot be copied: its file is missing ({value!r})")
            references.append(self._files.put(run, "document", data))
            return references[-1]

        try:
            outcome = write(stored(tree, put_file))
        except Refusal:
            self._files.delete(references)
            raise
        if outcome is None:
            self._files.delete(references)
        return outcome

    def _fetched(self, tree: object, gone: list[object]) -> object:
        """The tree with all large values in it; references to files that are missing are noted in `gone`."""
        match tree:
            case dict():
                return {name: self._fetched(item, gone) for name, item in tree.items()}
            case list():
                return [self._fetched(item, gone) for item in tree]
            case Kept(reference=reference, is_pickled=is_pickled):
                data = self._files.get(reference)
                if data is None:
                    gone.append(reference)
                    return None
                return Pickled(data) if is_pickled else data
            case _:
                return tree


def _busy(run: RunId) -> StoreUnavailable:
    return StoreUnavailable(f"the document of run {run!r} is being changed by too many at once")
