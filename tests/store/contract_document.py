"""The contract, part three: documents."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any

import pytest

from meshflow.core.requests import (
    ExtendField,
    GetField,
    Pickled,
    PutBlob,
    Refused,
    RemoveDocument,
    RemoveRun,
    SetFields,
)
from meshflow.store.base import Store
from meshflow.store.document import MAX_KEY_LEVELS
from meshflow.store.rules import LARGE_BYTES, TOKENS_KEPT
from meshflow.store.values import MAX_VALUE_LEVELS
from tests.store.contract_base import DAG, OTHER, RUN, ContractPart, StoreFactory, ask, create, end


def get(store: Store, key: str, section: str = "data") -> object:
    """The answer to GetField."""
    return ask(store, GetField(RUN, section, key))


def put(store: Store, items: Mapping[str, object] | None = None, /, **names: object) -> object:
    """The answer to SetFields in the data section; `__` in a name stands for a dot."""
    more = {name.replace("__", "."): value for name, value in names.items()}
    return ask(store, SetFields(RUN, "data", {**(items or {}), **more}))


def extend(store: Store, key: str, *values: object, token: str = "token") -> object:
    """The answer to ExtendField."""
    return ask(store, ExtendField(RUN, "data", key, values, token))


def nested(levels: int) -> object:
    """Lists and dicts in turn, so deep."""
    value: object = []
    for level in range(levels - 1):
        value = [value] if level % 2 else {"in": value}
    return value


class Grade(IntEnum):
    """A subclass of int, as users have them."""

    GOOD = 7


class Colour(str, Enum):  # noqa: UP042 (its `str` differs from that of a StrEnum)
    """A subclass of str, whose members do not print as their values."""

    RED = "red"


class DocumentContract(ContractPart):
    """Documents."""

    # --- values ---

    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            False,
            0,
            -1,
            2**31,
            2**63 - 1,
            -(2**63),
            0.0,
            -1.5e300,
            math.inf,
            "",
            "text with ünïcode, \x00 and $.",
            b"",
            b"\x00\xff",
            datetime(2024, 2, 29, 12, 30, 15, 123000),
            datetime(1, 1, 1),
            datetime(9999, 12, 31, 23, 59, 59, 999000),
            [],
            {},
            [1, [2, [3, {"x": [None]}]], "4"],
            {"a": {"b": {}}, "c": [{"d": 1}]},
            Pickled(b""),
            Pickled(b"pickle"),
            [Pickled(b"pickle"), {"x": Pickled(b"other")}],
        ],
        ids=repr,
    )
    def test_every_native_value_comes_back_as_it_was(self, store: Store, value: object) -> None:
        ask(store, create())
        assert put(store, key=value, deep__er=[value]) is True
        assert get(store, "key") == (True, value)
        assert type(get(store, "key")[1]) is type(value)  # type: ignore[index]
        assert get(store, "deep.er") == (True, [value])
        assert extend(store, "list", value) is True
        assert get(store, "list") == (True, [value])

    def test_not_a_number_comes_back(self, store: Store) -> None:
        ask(store, create())
        put(store, key=math.nan)
        assert math.isnan(get(store, "key")[1])  # type: ignore[index]

    def test_datetimes_come_back_in_utc_without_zone_and_in_whole_milliseconds(self, store: Store) -> None:
        ask(store, create())
        plus_two = timezone(timedelta(hours=2))
        put(store, aware=datetime(2024, 1, 1, 1, 0, 0, 999999, plus_two), utc=datetime(2024, 1, 1, 0, 0, 0, 1999, UTC))
        assert get(store, "aware") == (True, datetime(2023, 12, 31, 23, 0, 0, 999000))
        assert get(store, "utc") == (True, datetime(2024, 1, 1, 0, 0, 0, 1000))

    def test_subclasses_come_back_as_the_plain_type(self, store: Store) -> None:
        ask(store, create())
        put(store, number=Grade.GOOD, text=Colour.RED, keys={Colour.RED: 1})
        assert get(store, "") == (True, {"number": 7, "text": "red", "keys": {"red": 1}})
        section: Any = ask(store, GetField(RUN, "data", ""))
        assert [type(section[1]["number"]), type(section[1]["text"]), type(*section[1]["keys"])] == [int, str, str]

    @pytest.mark.parametrize("size", [LARGE_BYTES, LARGE_BYTES + 1, 17 * 1024 * 1024])
    @pytest.mark.parametrize("kind", [Pickled, bytes])
    def test_large_values_come_back_also_from_within(self, store: Store, kind: type, size: int) -> None:
        ask(store, create())
        value, other = kind(b"1" * size), kind(b"2" * size)
        assert put(store, top=value, deep={"list": [value, 5, other]}) is True
        assert get(store, "top") == (True, value)
        assert get(store, "deep") == (True, {"list": [value, 5, other]})
        assert extend(store, "deep.list", value) is True
        assert put(store, deep__more=1, top=1) is True
        assert get(store, "deep") == (True, {"list": [value, 5, other, value], "more": 1})
        assert get(store, "top") == (True, 1)

    @pytest.mark.parametrize(
        ("value", "complaint"),
        [
            (2**63, "64 bits"),
            (-(2**63) - 1, "64"),
            (10**10_000, "64"),
            (object(), "object"),
            ((1, 2), "tuple"),
            ({1: 2}, "1"),
            ([{"x": {2.5: 1}}], "2.5"),
            ({"x": {1, 2}}, "set"),
            (nested(MAX_VALUE_LEVELS + 1), "nested"),
            (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "years"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_not_native_is_refused_and_nothing_is_set(
        self, store: Store, value: object, complaint: str
    ) -> None:
        ask(store, create())
        for answer in (put(store, fine=1, wrong=value), extend(store, "wrong", 1, value)):
            assert isinstance(answer, Refused)
            assert "'wrong'" in answer.reason
            assert complaint in answer.reason
        assert get(store, "") == (True, {})

    def test_the_deepest_values_and_keys_can_be_used_together(self, store: Store) -> None:
        ask(store, create())
        key = ".".join(["k"] * MAX_KEY_LEVELS)
        value = nested(MAX_VALUE_LEVELS - 1)
        assert ask(store, SetFields(RUN, "data", {key: [value]})) is True
        assert extend(store, key, [value], [Pickled(b"x")]) is True
        assert get(store, key) == (True, [value, [value], [Pickled(b"x")]])
        assert isinstance(get(store, key + ".k"), Refused)

    def test_a_value_is_a_copy_on_its_way_in_and_out(self, store: Store) -> None:
        ask(store, create())
        value: dict[str, list[int]] = {"list": [1]}
        put(store, key=value)
        value["list"].append(2)
        read: Any = ask(store, GetField(RUN, "data", "key"))
        read[1]["list"].append(3)
        assert get(store, "key") == (True, {"list": [1]})

    @pytest.mark.parametrize(
        "name",
        [
            *(
                "a.b",
                ".",
                "$set",
                "$",
                "a$b",
                "%2E",
                "%",
                "50%25",
                "%%2E",
                "\x00",
                " ",
                "é",
                "0",
                "-1",
                "_id",
                "\udcff",
            ),
            *("__meshflow_pickle__", "__meshflow_file__", "%5F_meshflow_file__", "meta", "\udcff"),
        ],
    )
    def test_any_text_can_be_a_key_inside_a_value(self, store: Store, name: str) -> None:
        ask(store, create())
        value = {name: {name: 1, "other": [{name: None}]}}
        assert put(store, top=value) is True
        expected = eval(repr(value).replace("\\udc", "\\\\udc"))  # lone surrogates are spelled out
        assert get(store, "top") == (True, expected)
        if "." not in name:
            assert ask(store, SetFields(RUN, "data", {f"top.{name}.more": 2, name: 3})) is True
            assert get(store, f"top.{name}.more") == (True, 2)
            assert get(store, name) == (True, 3)
            assert extend(store, f"lists.{name}", 1, 2) is True
            assert get(store, f"lists.{name}") == (True, [1, 2])

    @pytest.mark.parametrize(
        "value",
        [
            {"__meshflow_pickle__": b"not a pickle"},
            {"__meshflow_file__": "5f5f"},
            {"__meshflow_pickle__": b"x", "and": 1},
            [{"__meshflow_file__": {"__meshflow_pickle__": b"x"}}],
        ],
    )
    def test_a_dict_that_looks_like_a_mark_of_the_store_survives(self, store: Store, value: object) -> None:
        ask(store, create())
        assert put(store, key=value) is True
        assert extend(store, "list", value) is True
        assert get(store, "") == (True, {"key": value, "list": [value]})
        assert ask(store, RemoveDocument(RUN)) is True

    # --- keys ---

    def test_dotted_keys_lead_into_dicts_and_levels_are_made_as_needed(self, store: Store) -> None:
        ask(store, create(data={"a": {"b": 1}}))
        assert put(store, a__c__d=2, e__f=3) is True
        assert get(store, "") == (True, {"a": {"b": 1, "c": {"d": 2}}, "e": {"f": 3}})
        assert get(store, "a.c.d") == (True, 2)
        assert put(store, a__b=[9], a__c=None) is True
        assert get(store, "a") == (True, {"b": [9], "c": None})

    def test_a_missing_key_is_not_the_same_as_none(self, store: Store) -> None:
        ask(store, create(data={"none": None, "a": {}}))
        assert get(store, "none") == (True, None)
        for key in ("missing", "a.b", "a.b.c", "x.y"):
            assert get(store, key) == (False, None)

    def test_the_sections_are_apart(self, store: Store) -> None:
        ask(store, create(data={"name": "mine"}))
        assert ask(store, SetFields(RUN, "meta", {"start_time": 1})) is True
        assert get(store, "", "meta") == (True, {"name": "simple", "start_time": 1})
        assert get(store, "") == (True, {"name": "mine"})
        assert isinstance(get(store, "", "tokens"), Refused)
        assert isinstance(ask(store, SetFields(RUN, "_id", {"x": 1})), Refused)

    @pytest.mark.parametrize(
        "value",
        [
            *(None, 5, "text", b"bytes", [], [1, {"x": 1}], [{"0": 1}], datetime(2024, 1, 1), Pickled(b"x")),
            *(b"x" * (LARGE_BYTES + 1), Pickled(b"x" * (LARGE_BYTES + 1))),
        ],
        ids=lambda value: repr(value)[:20],
    )
    def test_a_path_through_anything_but_a_dict_is_refused_and_nothing_is_set(
        self, store: Store, value: object
    ) -> None:
        ask(store, create(data={"a": {"b": value}}))
        for below in ("x", "0", "0.x", "x.y.z", "$", "$[]", "__meshflow_pickle__", "__meshflow_file__"):
            assert isinstance(get(store, f"a.b.{below}"), Refused)
            assert isinstance(put(store, {"fine": 1, f"a.b.{below}": 2}), Refused)
            assert isinstance(extend(store, f"a.b.{below}", 1), Refused)
        assert get(store, "") == (True, {"a": {"b": value}})

    @pytest.mark.parametrize("key", [".", "a.", ".a", "a..b", ".".join(["k"] * (MAX_KEY_LEVELS + 1))])
    def test_a_malformed_key_is_refused(self, store: Store, key: str) -> None:
        ask(store, create())
        for answer in (get(store, key), put(store, {key: 1, "fine": 2}), extend(store, key, 1)):
            assert isinstance(answer, Refused)
        assert isinstance(put(store, {"": {}}), Refused)
        assert isinstance(extend(store, "", 1), Refused)
        assert get(store, "") == (True, {})

    @pytest.mark.parametrize("keys", [("a", "a.b"), ("a.b.c", "a.b"), ("a", "a-b", "a.b")])
    def test_keys_that_overlap_are_refused(self, store: Store, keys: tuple[str, ...]) -> None:
        ask(store, create())
        assert isinstance(put(store, dict.fromkeys(keys, 1)), Refused)
        assert get(store, "") == (True, {})
        assert put(store, a__b=1, a__bc=2, ab=3) is True

    def test_setting_nothing_tells_whether_there_is_a_document(self, store: Store) -> None:
        assert put(store) is False
        ask(store, create())
        assert put(store) is True

    # --- lists ---

    def test_lists_are_made_and_extended(self, store: Store) -> None:
        ask(store, create(data={"there": [0]}))
        assert extend(store, "there", 1, [2], token="1") is True
        assert extend(store, "new.list", {"x": 1}, token="2") is True
        assert extend(store, "new.list", None, token="3") is True
        assert get(store, "") == (True, {"there": [0, 1, [2]], "new": {"list": [{"x": 1}, None]}})

    @pytest.mark.parametrize("value", [None, 5, "text", {"x": 1}, {}, Pickled(b"x"), b"x", b"x" * (LARGE_BYTES + 1)])
    @pytest.mark.parametrize("values", [(1,), ()])
    def test_only_a_list_can_be_extended(self, store: Store, value: object, values: tuple[object, ...]) -> None:
        ask(store, create(data={"a": {"b": value}}))
        answer = extend(store, "a.b", *values)
        assert isinstance(answer, Refused)
        assert "'a.b'" in answer.reason
        assert get(store, "") == (True, {"a": {"b": value}})

    def test_extending_by_nothing_changes_nothing(self, store: Store) -> None:
        assert extend(store, "list") is False
        ask(store, create(data={"list": [1]}))
        assert extend(store, "list") is True
        assert extend(store, "new.list") is True
        assert get(store, "") == (True, {"list": [1]})

    def test_an_extension_sent_again_changes_nothing(self, store_factory: StoreFactory) -> None:
        store, another = store_factory(), store_factory()
        ask(store, create())
        request = ExtendField(RUN, "data", "list", (1, b"x" * (LARGE_BYTES + 1)), "token")
        assert store.perform([request, request]) == [True, True]
        assert ask(another, request) is True
        assert extend(another, "list", 2, token="other") is True
        assert get(store, "list") == (True, [1, b"x" * (LARGE_BYTES + 1), 2])

    def test_tokens_are_remembered_per_run_and_for_a_while(self, store: Store) -> None:
        store.perform([create(), create(OTHER)])
        assert extend(store, "list", 1) is True
        assert ask(store, ExtendField(OTHER, "data", "list", (1,), "token")) is True
        assert ask(store, GetField(OTHER, "data", "list")) == (True, [1])
        others = [ExtendField(RUN, "data", "many", (number,), f"{number}") for number in range(TOKENS_KEPT - 1)]
        assert store.perform(others) == [True] * len(others)
        assert extend(store, "list", 1) is True
        assert get(store, "list") == (True, [1])
        assert get(store, "many") == (True, list(range(len(others))))

    # --- existence ---

    def test_without_a_document_nothing_can_be_read_or_set(self, store: Store) -> None:
        for _ in range(2):
            assert isinstance(get(store, "key"), Refused)
            assert isinstance(get(store, ""), Refused)
            assert put(store, key=1) is False
            assert extend(store, "key", 1) is False
            assert ask(store, RemoveDocument(RUN)) is False
            ask(store, create(DAG))  # a dag run has none of its own
        ask(store, PutBlob(RUN, "key", b"1"))
        assert ask(store, RemoveDocument(RUN)) is False

    @pytest.mark.parametrize("removal", [RemoveDocument(RUN), RemoveRun(RUN)])
    def test_a_removed_document_is_gone(self, store: Store, removal: RemoveDocument | RemoveRun) -> None:
        store.perform([create(data={"x": Pickled(b"x" * (LARGE_BYTES + 1))}), end()])
        answers = store.perform([SetFields(RUN, "data", {"y": 1}), removal, SetFields(RUN, "data", {"z": 1})])
        assert answers == [True, True, False]
        assert isinstance(get(store, "y"), Refused)
        assert extend(store, "list", 1) is False

    def test_a_dag_run_uses_the_document_of_its_workflow_run(self, store: Store) -> None:
        ask(store, create())
        assert ask(store, SetFields(DAG, "data", {"x": 1})) is True
        assert ask(store, ExtendField(DAG, "data", "list", (1,), "token")) is True
        assert get(store, "") == (True, {"x": 1, "list": [1]})
        assert ask(store, GetField(DAG, "data", "x")) == (True, 1)
