"""What MeshFlow uses of MongoDB, so that only `mongo.py` depends on pymongo.

Every write is of a single document and atomic; those named `…_all` are so for each document by itself.
"""

from collections.abc import Generator, Sequence
from typing import Any, Protocol

from meshflow.ids import RunId

Form = dict[str, Any]
"""A document of MongoDB, or a part of one, a query or an update."""

TOUCH: Form = {"$inc": {"writes": 1}}
"""A write that changes nothing of meaning: its acknowledgement by a majority covers what stands there already."""


class Table(Protocol):
    """A collection. Where documents are returned, `fields` are the ones wanted; none: only `_id`."""

    def insert(self, form: Form) -> bool:
        """Insert a document; False if there is one of that `_id`.

        Raises:
            Refusal: it is too large.
        """

    def insert_all(self, forms: Sequence[Form]) -> int:
        """Insert documents in order up to the first whose `_id` is taken; how many were inserted."""

    def add_all(self, forms: Sequence[Form]) -> None:
        """Insert those documents whose `_id` is not taken; touch the others."""

    def put_all(self, forms: Sequence[Form]) -> None:
        """Insert documents, or replace those of the same `_id`."""

    def put(self, form: Form, fields: Sequence[str] = ()) -> Form | None:
        """Insert a document, or replace the one of that `_id`, which is returned."""

    def change(self, query: Form, update: Form, fields: Sequence[str] = ()) -> Form | None:
        """Update one document that the query selects, which is returned as it was; None if there is none.

        Raises:
            Refusal: it would be too large.
        """

    def read(self, query: Form, fields: Sequence[str] = ()) -> Form | None:
        """One document that the query selects."""

    def find(
        self, query: Form, sort: Sequence[tuple[str, int]] = (), limit: int = 0, fields: Sequence[str] | None = None
    ) -> Generator[Form, None, None]:
        """All documents that the query selects, in order; a limit of 0 is none. Without `fields` they come whole."""

    def remove(self, query: Form) -> int:
        """Remove all documents that the query selects; how many there were."""


class Files(Protocol):
    """Large values, in GridFS. Each belongs to a workflow run, and is of a kind: what refers to it."""

    def put(self, run: RunId, kind: str, data: bytes) -> str:
        """Store a file; its id."""

    def get(self, reference: object) -> bytes | None:
        """The bytes of a file; None if it is gone."""

    def delete(self, references: Sequence[object]) -> None:
        """Remove files."""

    def delete_all(self, run: RunId, kind: str) -> None:
        """Remove the files of a workflow run of one kind, with what is left of files half written."""

    def delete_some(self, run: RunId, max_bytes: int) -> list[int]:
        """Remove files of a workflow run, about so many bytes; their sizes. If none is left, an empty list: then what
        is left of files half written is removed too."""

    def delete_unfinished(self, before: float, after: str) -> str:
        """Remove what is left of files whose writing began before this instant and never ended. A bounded number of
        files is looked at, from the id `after` on; the last id, empty if there was none."""

    def is_reference(self, value: object) -> bool:
        """Whether a value is the id that Lightflow gave a pickle."""
