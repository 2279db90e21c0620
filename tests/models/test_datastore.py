"""The workflow's document: what is asked of the store, and that what was set comes back."""

import enum
import math
import threading
import traceback
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshflow.core.requests import Answer, ExtendField, GetField, Pickled, Refused, Request, SetFields
from meshflow.errors import DataStoreDecodeUnknownType, DataStoreKeyError, DataStoreValueError, StoreUnavailable
from meshflow.models.datastore import DataStoreDocument, DataStoreDocumentSection, decode, encode, is_field_name

META = DataStoreDocumentSection.Meta

Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    """An integer that is more than one."""

    RED = 1


class Store:
    """Answers as the stores do, from one dictionary per section; keeps what it was asked."""

    def __init__(self) -> None:
        self.document: dict[str, dict[str, Any]] | None = {"data": {}, "meta": {}}
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        assert isinstance(request, GetField | SetFields | ExtendField)
        if self.document is None:
            return Refused("there is no document") if isinstance(request, GetField) else False
        key = next(iter(request.items)) if isinstance(request, SetFields) else request.key
        *above, last = key.split(".")
        level = self.document[request.section]
        for name in above:
            level = level.setdefault(name, {})
            if not isinstance(level, dict):
                return Refused(f"{name!r} is a {type(level).__name__}")
        match request:
            case GetField():
                return (last in level, level.get(last))
            case SetFields():
                level[last] = request.items[key]
            case ExtendField():
                if not isinstance(level.setdefault(last, []), list):
                    return Refused(f"{last!r} is not a list")
                level[last].extend(request.values)
        return True


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def document(store: Store) -> DataStoreDocument:
    return DataStoreDocument(store, "5f" * 12)


# --- calls ---


def test_a_value_is_set_and_got_by_a_dotted_key(document: DataStoreDocument, store: Store) -> None:
    assert document.set("sample.name", "x") is True
    assert document.get("sample.name") == "x"
    assert document.get("sample") == {"name": "x"}
    assert store.asked[:2] == [
        SetFields("5f" * 12, "data", {"sample.name": "x"}),  # type: ignore[arg-type]
        GetField("5f" * 12, "data", "sample.name"),  # type: ignore[arg-type]
    ]


def test_sections_are_apart(document: DataStoreDocument, store: Store) -> None:
    document.set("k", 1)
    document.set("k", 2, section=META)
    document.push("l", 3, section=META)
    document.extend("l", [4], section=META)
    assert (document.get("k"), document.get("k", section=META), document.get("l", section=META)) == (1, 2, [3, 4])
    assert store.document == {"data": {"k": 1}, "meta": {"k": 2, "l": [3, 4]}}


def test_sections_may_be_named_by_text_but_there_are_only_two(document: DataStoreDocument, store: Store) -> None:
    document.set("k", 1, section="meta")  # type: ignore[arg-type]
    assert store.document == {"data": {}, "meta": {"k": 1}}
    assert all(type(request.section) is str for request in store.asked if isinstance(request, SetFields))
    with pytest.raises(ValueError, match="'log' is not a valid DataStoreDocumentSection"):
        document.get("k", section="log")  # type: ignore[arg-type]


def test_a_missing_key_gives_the_default(document: DataStoreDocument) -> None:
    assert document.get("x") is None
    assert document.get("x", 5) == 5
    document.set("x", None)
    assert document.get("x", 5) is None


def test_push_appends_one_element_whatever_it_is(document: DataStoreDocument) -> None:
    assert document.push("l", 1) is True
    assert document.push("l", [2, 3]) is True
    assert document.get("l") == [1, [2, 3]]


def test_extend_appends_each_element_of_a_list(document: DataStoreDocument) -> None:
    assert document.extend("l", [1, (2, 3)]) is True
    assert document.extend("l", []) is True
    assert document.get("l") == [1, (2, 3)]


@pytest.mark.parametrize("values", [(1, 2), "ab", None, {1: 2}])
def test_extend_with_anything_but_a_list_does_nothing(values: Any, document: DataStoreDocument, store: Store) -> None:
    assert document.extend("l", values) is False
    assert store.asked == []


def test_each_append_has_a_token_of_its_own(document: DataStoreDocument, store: Store) -> None:
    for _ in range(50):
        document.push("l", 1)
    assert len({request.token for request in store.asked if isinstance(request, ExtendField)}) == 50


def test_without_a_document_nothing_is_set_and_getting_is_refused(document: DataStoreDocument, store: Store) -> None:
    store.document = None
    assert document.set("k", 1) is False
    assert document.push("k", 1) is False
    assert document.extend("k", [1]) is False
    with pytest.raises(DataStoreKeyError, match="refused the key 'k': there is no document"):
        document.get("k", 5)


@pytest.mark.parametrize("value", [[1], "text", 5, None])
def test_a_path_through_a_list_or_a_scalar_is_a_clear_error(value: Any, document: DataStoreDocument) -> None:
    document.set("x", value)
    for ask in (
        lambda: document.get("x.0"),
        lambda: document.get("x.0", 7),
        lambda: document.set("x.0", 1),
        lambda: document.push("x.0", 1),
    ):
        with pytest.raises(DataStoreKeyError, match=r"refused the key 'x\.0': 'x' is a"):
            ask()
    assert document.get("x") == value


def test_appending_to_something_else_is_a_clear_error(document: DataStoreDocument) -> None:
    document.set("x", 5)
    with pytest.raises(DataStoreKeyError, match="'x' is not a list"):
        document.push("x", 1)


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", "$set", "a.$x", "a\0b", "\udcff", None, 5])
def test_what_is_no_key_is_refused_before_the_store_is_asked(
    key: Any, document: DataStoreDocument, store: Store
) -> None:
    for ask in (
        lambda: document.get(key),
        lambda: document.set(key, 1),
        lambda: document.push(key, 1),
        lambda: document.extend(key, [1]),
    ):
        with pytest.raises(DataStoreKeyError, match="is no key; a key is one or more names joined by dots"):
            ask()
    assert store.asked == []


def test_a_store_that_does_not_answer_is_the_callers_business() -> None:
    def fail(request: Request) -> Answer:
        raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        DataStoreDocument(fail, "5f" * 12).get("k")


# --- values ---


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(2**63),
        2**63 - 1,
        1.5,
        -math.inf,
        "",
        "text",
        "nul \0 inside",
        b"",
        b"\xff\0",
        [],
        {},
        [1, [2, None, {"a": b"x"}]],
        {"a": {"b": [True]}, "with space": 1, "ümlaut": 2},
        datetime(2026, 11, 21, 12, 30, 15, 123000),
    ],
)
def test_native_values_are_stored_as_they_are(value: Any) -> None:
    assert encode(value, "k") == value
    assert type(encode(value, "k")) is type(value)
    assert decode(encode(value, "k"), "k") == value


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        1j,
        (1, 2),
        {1, 2},
        frozenset([1]),
        {1: "int key"},
        {"a.b": "dotted key"},
        {"$a": "operator"},
        {"": "empty key"},
        {"a\0": "nul in key"},
        {"\udcff": "no text"},
        "\udcff",
        "x" * (1024 * 1024 + 1),
        b"x" * (1024 * 1024 + 1),
        OrderedDict(a=1),
        Point(1, 2),
        Colour.RED,
        date(2026, 11, 21),
        timedelta(seconds=5),
        Path("/data"),
        range(3),
        np.int64(5),
        ValueError,
    ],
)
def test_all_other_values_come_back_from_a_pickle(value: Any) -> None:
    encoded = encode(value, "k")
    assert isinstance(encoded, Pickled)
    assert decode(encoded, "k") == value
    assert type(decode(encoded, "k")) is type(value)


def test_arrays_and_functions_come_back_too() -> None:
    array = np.arange(12, dtype="float32").reshape(3, 4)
    back = decode(encode(array, "k"), "k")
    assert (back == array).all()
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    offset = 3
    assert decode(encode(lambda x: x + offset, "k"), "k")(4) == 7


def test_only_what_is_not_native_is_pickled_within_containers() -> None:
    value = {"list": [1, (2, 3), {"deep": {4}}], "plain": "x"}
    encoded = encode(value, "k")
    assert isinstance(encoded, dict)
    assert encoded["plain"] == "x"
    assert encoded["list"][0] == 1
    assert isinstance(encoded["list"][1], Pickled)
    assert isinstance(encoded["list"][2]["deep"], Pickled)
    assert decode(encoded, "k") == value


def test_a_float_of_numpy_is_a_float() -> None:
    encoded = encode(np.float64(1.5), "k")
    assert type(encoded) is float
    assert encoded == 1.5
    assert math.isnan(encode(math.nan, "k"))  # type: ignore[arg-type]


def test_datetimes_come_back_naive_in_utc_to_the_millisecond() -> None:
    naive = datetime(2026, 11, 21, 12, 0, 0, 123999)
    expected = datetime(2026, 11, 21, 12, 0, 0, 123000)
    assert encode(naive, "k") == expected
    assert encode(naive.replace(tzinfo=UTC), "k") == expected
    assert encode(naive.replace(tzinfo=timezone(timedelta(hours=2))), "k") == expected - timedelta(hours=2)
    assert decode(expected.replace(tzinfo=UTC), "k") == expected


def test_a_container_in_itself_is_pickled() -> None:
    value: list[Any] = [1]
    value.append(value)
    back = decode(encode(value, "k"), "k")
    assert back[0] == 1
    assert back[1][1] is back[1]


def test_a_container_that_occurs_twice_is_no_loop() -> None:
    shared = [1]
    assert encode([shared, shared, {"a": shared}], "k") == [[1], [1], {"a": [1]}]


def test_what_lies_deeper_than_mongodb_allows_is_pickled() -> None:
    value: Any = "bottom"
    for _ in range(70):
        value = [value]
    encoded: Any = encode(value, "k")
    depth = 0
    while isinstance(encoded, list):
        encoded, depth = encoded[0], depth + 1
    assert (depth, type(encoded)) == (64, Pickled)
    assert decode(encode(value, "k"), "k") == value


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.characters(categories=["Cs"])
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.frozensets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@settings(derandomize=True, deadline=None)
@given(VALUES)
def test_whatever_is_stored_is_native_and_comes_back_equal(value: object) -> None:
    encoded = encode(value, "k")
    assert is_native(encoded)
    assert decode(encoded, "k") == value
    assert type(decode(encoded, "k")) is type(value)


def is_native(value: object) -> bool:
    """The definition in `meshflow.core.requests`, and what MongoDB asks of names and texts."""
    if isinstance(value, list):
        return all(map(is_native, value))
    if isinstance(value, dict):
        names = all(isinstance(name, str) and name and not name.startswith("$") and "." not in name for name in value)
        return names and all(map(is_native, value.values()))
    if isinstance(value, str):
        return value.encode(errors="replace").decode() == value
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return value is None or isinstance(value, float | bytes | Pickled)


@pytest.mark.parametrize("set_", [DataStoreDocument.set, DataStoreDocument.push])
def test_what_cannot_be_pickled_is_named_and_nothing_is_stored(
    set_: Any, document: DataStoreDocument, store: Store
) -> None:
    with pytest.raises(
        DataStoreValueError, match=r"value for 'a\.b\.lock' cannot be stored: lock cannot be pickled: TypeError: cannot"
    ):
        set_(document, "a.b", {"lock": threading.Lock()})
    with pytest.raises(DataStoreValueError, match=r"'a.b'"):
        document.extend("a.b", [1, threading.Lock()])
    assert store.asked == []


def test_the_traceback_of_what_cannot_be_stored_shows_the_call_and_nothing_of_pickle(
    document: DataStoreDocument,
) -> None:
    """Most of what is below the user's line would otherwise be about how values are encoded."""
    value = {"x": [{"y": [threading.Lock()]}]}
    with pytest.raises(DataStoreValueError) as caught:
        document.set("key", value)
    lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert [line.split(" in ")[-1] for line in lines if line.startswith("  File ")] == [
        test_the_traceback_of_what_cannot_be_stored_shows_the_call_and_nothing_of_pickle.__name__,
        "set",
        "encode",
    ]
    assert "DataStoreValueError: the value for 'key.x.y' cannot be stored: lock cannot be pickled: " in lines[-1]


def test_a_pickle_that_does_not_load_here_is_a_clear_error() -> None:
    with pytest.raises(DataStoreDecodeUnknownType, match=r"value at 'a\.b' cannot be read here: ModuleNotFoundError: "):
        decode({"b": Pickled(b"cno_such_module_anywhere\nx\n.")}, "a")


def test_a_type_that_another_program_stored_is_a_clear_error() -> None:
    with pytest.raises(DataStoreDecodeUnknownType, match="'k' is of type complex, which MeshFlow does not write"):
        decode([1j], "k")


@pytest.mark.parametrize("name", ["a", "a b", "ümlaut", "0", "a$"])
def test_field_names(name: str) -> None:
    assert is_field_name(name)
