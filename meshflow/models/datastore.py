"""The workflow's document: what tasks keep for each other and for the user, and the run's provenance.

Invariants:
1. Every value is encoded here before it reaches a store, so that all stores keep the same: native values stay readable
   with any MongoDB client, all others become `Pickled`, also deep inside lists and dictionaries.
2. What was set comes back equal and of the same type, with three exceptions that MongoDB forces on native values:
   a datetime comes back naive, in UTC and to the millisecond, so naive ones are taken for UTC; a subclass of float
   (numpy.float64) comes back as float; two references to one object come back as two objects.
3. A call changes one field atomically, or raises and changes nothing. Calling again after a lost answer does no harm:
   an append carries a token.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from os import urandom
from typing import Any

from meshflow.core.requests import Answer, ExtendField, GetField, Pickled, Refused, Request, SetFields
from meshflow.errors import DataStoreDecodeUnknownType, DataStoreKeyError, DataStoreValueError, PickleFailed
from meshflow.ids import RunId
from meshflow.models import payload

_TOKEN_BYTES = 12

_MAX_NATIVE_INT = 2**63
"""MongoDB's integers have 64 bits."""

_MAX_NATIVE_DEPTH = 64
"""MongoDB refuses documents nested deeper than 100 levels; the key itself may take some of them."""

_MAX_NATIVE_TEXT = 1024 * 1024
"""Longer texts and bytes are pickled, so that the store can keep them apart: MongoDB refuses documents over 16 MB."""


class DataStoreDocumentSection(StrEnum):
    """The two halves of a workflow's document."""

    Data = "data"
    """What tasks store, and the arguments of the workflow."""
    Meta = "meta"
    """Provenance: who ran what, when and where."""


class DataStoreDocument:
    """The `store` that every task and callback is given. Keys are dotted paths: `sample.spectra`.

    Every method raises StoreUnavailable if the store cannot be reached, and DataStoreKeyError if the path leads
    through a list or a scalar.
    """

    def __init__(self, store: Callable[[Request], Answer], workflow_id: str) -> None:
        """`store` performs one request and returns its answer (see `meshflow.core.requests`)."""
        self._store = store
        self._run = RunId(workflow_id)

    def get(
        self, key: str, default: Any = None, *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data
    ) -> Any:
        """The value at `key`, or `default` if there is none.

        Raises:
            DataStoreDecodeUnknownType: the value cannot be read here.
        """
        match self._store(GetField(self._run, _name_of(section), _checked(key))):
            case (True, value):
                return decode(value, key)
            case (False, _):
                return default
            case answer:
                raise _refusal(key, answer)

    def set(self, key: str, value: Any, *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data) -> bool:
        """Put `value` at `key`, making the levels between. False if there is no document.

        Raises:
            DataStoreValueError: the value, or one within it, cannot be pickled.
        """
        answer = self._store(SetFields(self._run, _name_of(section), {_checked(key): encode(value, key)}))
        return _accepted(key, answer)

    def push(self, key: str, value: Any, *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data) -> bool:
        """Append `value` as one element to the list at `key`, making the list if there is none. False if there is no
        document. Tasks may push at the same time and lose nothing.

        Raises:
            DataStoreKeyError: what is at `key` is not a list.
            DataStoreValueError: the value, or one within it, cannot be pickled.
        """
        return self._append(key, [value], section)

    def extend(
        self, key: str, values: list[Any], *, section: DataStoreDocumentSection = DataStoreDocumentSection.Data
    ) -> bool:
        """Append each of `values` to the list at `key`, otherwise as `push`. False, and nothing done, unless `values`
        is a list."""
        return isinstance(values, list) and self._append(key, values, section)

    def _append(self, key: str, values: list[Any], section: DataStoreDocumentSection) -> bool:
        encoded = tuple(encode(value, key) for value in values)
        token = urandom(_TOKEN_BYTES).hex()
        return _accepted(key, self._store(ExtendField(self._run, _name_of(section), _checked(key), encoded, token)))


def encode(value: object, key: str) -> object:
    """`value` as a native value in the sense of `meshflow.core.requests`; `key` is for the error message only.

    Native are None, bool, int of 64 bits, float, str, bytes, datetime, and lists and str-keyed dictionaries, all of
    exactly these types (a named tuple or an ordered dictionary would come back as something else), except that
    subclasses of float become float, since that is what numpy.float64 is. All else is pickled.

    Raises:
        DataStoreValueError: the value, or one within it, cannot be pickled.
    """
    try:
        return _encode(value, key, ())
    except DataStoreValueError as refusal:
        # How it was found is no news to the user: a line for each level within the value, and then those of pickle.
        raise refusal.with_traceback(None) from None


def decode(value: object, key: str) -> Any:
    """What `encode` was given.

    Raises:
        DataStoreDecodeUnknownType: a pickle does not load here, or another program wrote a type unknown to us.
    """
    match value:
        case None | bool() | int() | float() | str() | bytes():
            return value
        case datetime():
            return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        case list():
            return [decode(item, key) for item in value]
        case dict():
            return {name: decode(item, f"{key}.{name}") for name, item in value.items()}
        case Pickled(data=data):
            return _unpickle(data, key)
        case _:
            raise DataStoreDecodeUnknownType(
                f"the value at {key!r} is of type {type(value).__name__}, which MeshFlow does not write; "
                "was it stored by another program?"
            )


def _encode(value: object, key: str, around: tuple[int, ...]) -> object:
    """`around` holds the identities of the containers that `value` lies in: one that contains itself is pickled."""
    if value is None or type(value) is bool:
        return value
    if isinstance(value, float):
        return float(value)
    if type(value) is int and -_MAX_NATIVE_INT <= value < _MAX_NATIVE_INT:
        return value
    if type(value) is bytes and len(value) <= _MAX_NATIVE_TEXT:
        return value
    if type(value) is str and len(value) <= _MAX_NATIVE_TEXT and _is_unicode(value):
        return value
    if type(value) is datetime:
        aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware.replace(tzinfo=None, microsecond=aware.microsecond // 1000 * 1000)
    if id(value) not in around and len(around) < _MAX_NATIVE_DEPTH:
        inside = (*around, id(value))
        if type(value) is list:
            return [_encode(item, key, inside) for item in value]
        if type(value) is dict and all(map(is_field_name, value)):
            return {name: _encode(item, f"{key}.{name}", inside) for name, item in value.items()}
    return _pickle(value, key)


def is_field_name(name: object) -> bool:
    """Whether MongoDB takes `name` as the name of a field, and a dotted key can lead to it."""
    return type(name) is str and bool(name) and name[0] != "$" and not {".", "\0"} & set(name) and _is_unicode(name)


def _is_unicode(text: str) -> bool:
    """False for what UTF-8 cannot write: a lone surrogate, as in a file name of unknown encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pickle(value: object, key: str) -> Pickled:
    try:
        return Pickled(payload.dumps(value))
    except PickleFailed as exc:
        raise DataStoreValueError(
            f"the value for {key!r} cannot be stored: {type(value).__name__} cannot be pickled: {exc.reason}"
        ) from None


def _unpickle(data: bytes, key: str) -> Any:
    try:
        return payload.loads(data)
    except Exception as exc:  # Unpickling runs code of whoever stored the value; anything may come out of it.
        raise DataStoreDecodeUnknownType(
            f"the value at {key!r} cannot be read here: {type(exc).__name__}: {exc}"
        ) from exc


def _name_of(section: str) -> str:
    # Lightflow's sections were plain texts, so those are taken too.
    return DataStoreDocumentSection(section).value


def _checked(key: str) -> str:
    if not isinstance(key, str) or not all(map(is_field_name, key.split("."))):
        raise DataStoreKeyError(f"{key!r} is no key; a key is one or more names joined by dots, such as 'sample.name'")
    return key


def _accepted(key: str, answer: Answer) -> bool:
    if isinstance(answer, bool):
        return answer
    raise _refusal(key, answer)


def _refusal(key: str, answer: Answer) -> DataStoreKeyError:
    assert isinstance(answer, Refused), answer
    return DataStoreKeyError(f"the store refused the key {key!r}: {answer.reason}")
