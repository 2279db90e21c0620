"""How each class travels: the way between a value and the plain lists that `wire.py` packs.

A dataclass becomes the array of its fields in the order of their definition, without names. How a field travels follows
from its annotation; the functions that do it are built once per class, when it is first met.

    int float bool str bytes        as they are: integers of 64 bits, finite floats
    tuple[X, ...]  list[X]          an array; of tasks and edges columns (see `columns.py`)
    tuple[A, B]                     an array of exactly two
    dict[str, X]                    a map
    X | None                        nil or X
    Enum                            its value
    a dataclass, a NamedTuple       the array of its fields
    a union of dataclasses          `[tag, fields]`
    object                          a native value (see `requests.py`)
    an answer in StoreAnswers       `[nil, native value]`, `[tag, fields]`, or for a tuple `[true, [answer, ...]]`

Invariants:
1. What a codec encodes it also decodes, to an equal value. What would break that is refused where it is encoded.
2. Either way raises Mismatch and nothing else, whatever it is given.
3. Fields missing at the end of an array, or columns, are filled with their defaults, surplus ones are ignored. So the
   log of an older version can be read, and nodes of two releases understand each other while the protocol version is
   the same; `tags.py` says which changes keep it so.
"""

import functools
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum

from meshflow.columns import Column, columns_codec, item_column, leaf_column
from meshflow.core import client_messages, graph, records, requests
from meshflow.leaf_codecs import (
    INT_MAX,
    INT_MIN,
    Codec,
    Step,
    enum_codec,
    exact_codec,
    float_codec,
    integer_codec,
    map_codec,
    native_codec,
    refuse,
    row_codec,
    sequence_codec,
)
from meshflow.tags import TAG_OF

_UNIONS = (types.UnionType, typing.Union)  # the second: what `NewType | None` makes
_REPEATED = ("run", "workflow", "queue", "payload")
"""Fields in which thousands of values say the same text: it is kept once."""
_IN_COLUMNS = (graph.TaskSpec, graph.Edge)
_NATIVE_ANSWER, _TUPLE_ANSWER = None, True  # in the place of a tag

# --- dataclasses and unions of them ---


@functools.cache
def dataclass_codec(cls: type) -> Codec:
    """The array of the fields of `cls`."""
    assert _has_fields(cls), f"{cls!r} has no fields"
    assert not hasattr(cls, "__post_init__"), f"{cls!r} would be decoded without its __post_init__"
    hints = _hints(cls)
    names = list(hints)
    codecs = [_codec(hint, f"{cls.__name__}.{name}") for name, hint in hints.items()]
    given = _defaults(cls)
    defaults = [codec.encode(value) for codec, value in zip(codecs[len(codecs) - len(given) :], given, strict=True)]
    required = len(names) - len(defaults)

    def fit(plain: object) -> list[object]:
        if type(plain) is not list or len(plain) < required:
            refuse(cls.__name__, f"an array of at least {required} fields", plain)
        return [*plain, *defaults[len(plain) - required :]][: len(names)]

    refuse_value = functools.partial(refuse, cls.__name__, cls.__name__)
    scope: dict[str, object] = {"cls": cls, "fit": fit, "refuse": refuse_value}
    scope |= {"new": object.__new__, "new_tuple": tuple.__new__}
    for index, (name, codec) in enumerate(zip(names, codecs, strict=True)):
        scope |= {f"encode{index}": codec.encode, f"decode{index}": codec.decode}
        scope[f"set{index}"] = getattr(cls.__dict__[name], "__set__", None)
    scope["intern"] = sys.intern
    is_repeated = [name in _REPEATED and _is_text(hints[name]) for name in names]
    source = _source(names, [_guard(hints[name]) for name in names], is_repeated, is_tuple=not is_dataclass(cls))
    exec(compile(source, f"<codec of {cls.__name__}>", "exec"), scope)
    return Codec(typing.cast(Step, scope["encode"]), typing.cast(Step, scope["decode"]))


def _hints(cls: type) -> dict[str, object]:
    """The annotation of each field, in order."""
    hints: dict[str, object] = typing.get_type_hints(cls)
    if cls is client_messages.StoreAnswers:
        hints["answers"] = tuple[_AnyAnswer, ...]  # annotated as object, but more may stand there than native values
    return {field.name: hints[field.name] for field in fields(cls)} if is_dataclass(cls) else hints


def _defaults(cls: type) -> list[object]:
    """The defaults of the last fields."""
    return [
        field.default if field.default_factory is MISSING else field.default_factory()
        for field in (fields(cls) if is_dataclass(cls) else ())
        if field.default is not MISSING or field.default_factory is not MISSING
    ]


def _has_fields(hint: object) -> bool:
    """Whether it is a dataclass or a NamedTuple."""
    return is_dataclass(hint) or (isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"))


def _source(names: list[str], guards: list[str], is_repeated: list[bool], *, is_tuple: bool) -> str:
    """Python text of the two functions of a class: twice as fast as loops over the fields, on the hottest path of all.

    A field is handed to its codec only if its guard (see `_guard`) is true. The value is built through the slots,
    since the constructor of a frozen dataclass takes as long as all the rest.
    """
    variables = [f"v{index}" for index in range(len(names))]
    row = ", ".join(variables)
    encode = ["def encode(value):", " if type(value) is not cls: refuse(value)"]
    decode = ["def decode(plain):", f" if type(plain) is not list or len(plain) != {len(names)}: plain = fit(plain)"]
    decode += [f" [{row}] = plain"] + ([] if is_tuple else [" value = new(cls)"])
    for index, (name, guard) in enumerate(zip(names, guards, strict=True)):
        variable = variables[index]
        condition = guard.format(variable)
        encode += [f" {variable} = value.{name}", f" if {condition}: {variable} = encode{index}({variable})"]
        kept = f"intern({variable})" if is_repeated[index] else variable
        decode += [f" if {condition}: {variable} = decode{index}({variable})"]
        decode += [f" {variable} = {kept}" if is_tuple else f" set{index}(value, {kept})"]
    made = f"new_tuple(cls, ({row},))" if is_tuple else "value"
    return "\n".join([*encode, f" return [{row}]", *decode, f" return {made}"])


def _is_text(hint: object) -> bool:
    return _is_text(hint.__supertype__) if isinstance(hint, typing.NewType) else hint is str


def _guard(hint: object) -> str:
    """A condition on `{0}`; where it is false, the codec of `hint` would return the value as it is, both ways."""
    if isinstance(hint, typing.NewType):
        return _guard(hint.__supertype__)
    if typing.get_origin(hint) in _UNIONS:
        first, *others = typing.get_args(hint)
        return f"{{0}} is not None and ({_guard(first)})" if others == [types.NoneType] else "True"
    if hint is int:
        return f"type({{0}}) is not int or not {INT_MIN} <= {{0}} <= {INT_MAX}"
    if hint is float:
        return "type({0}) is not float or {0} - {0} != 0.0"
    return f"type({{0}}) is not {hint.__name__}" if hint in (bool, str, bytes) and isinstance(hint, type) else "True"


@functools.cache
def tagged_codec(classes: tuple[type, ...], where: str) -> Codec:
    """`[tag, fields]` of one of `classes`."""
    choices = {TAG_OF[cls]: cls for cls in classes}
    expected = classes[0].__name__ if len(classes) == 1 else f"one of {len(classes)} classes"

    def encode(value: object) -> object:
        tag = TAG_OF.get(type(value))
        if tag is None or tag not in choices:
            refuse(where, expected, value)
        return [tag, dataclass_codec(choices[tag]).encode(value)]

    def decode(plain: object) -> object:
        if type(plain) is not list or len(plain) != 2:
            refuse(where, "an array of tag and fields", plain)
        tag, row = plain
        if type(tag) is not int or tag not in choices:
            refuse(where, f"the tag of {expected}", tag)
        return dataclass_codec(choices[tag]).decode(row)

    return Codec(encode, decode)


# --- blueprints ---


@functools.cache
def _columns(cls: type) -> Codec:
    """Many of `cls`, as columns. An array for each, as MeshFlow kept them once, is read too."""
    hints = _hints(cls)
    columns = [_column(name, hint, f"{cls.__name__}.{name}") for name, hint in hints.items()]
    encode, decode = columns_codec(cls, list(hints), columns, _defaults(cls), functools.partial(refuse, cls.__name__))
    rows = sequence_codec(tuple, dataclass_codec(cls), cls.__name__)

    def decode_either(plain: object) -> object:
        return (rows.decode if type(plain) is list and plain and type(plain[0]) is list else decode)(plain)

    return Codec(encode, decode_either)


def _column(name: str, hint: object, where: str) -> Column:
    codec = _codec(hint, where)
    if hint not in (int, float, bool, str, bytes):
        return item_column(codec)
    return leaf_column(typing.cast(type, hint), codec, sys.intern if name in _REPEATED else None)


# --- fields, by annotation ---


def _codec(hint: object, where: str) -> Codec:
    """The codec of an annotation; `where` names its place in errors."""
    if isinstance(hint, typing.NewType):
        return _codec(hint.__supertype__, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        return _union_codec(arguments, where)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return row_codec([_codec(each, where) for each in arguments], where)
    if origin in (tuple, list):
        if arguments[0] in _IN_COLUMNS:
            return _columns(arguments[0])
        return sequence_codec(origin, _codec(arguments[0], where), where)
    if origin is dict and arguments[0] is str:
        return map_codec(_codec(arguments[1], where), where)
    assert isinstance(hint, type), f"{where}: there is no way for {hint!r} to travel"
    if _has_fields(hint):
        return dataclass_codec(hint)
    if issubclass(hint, Enum):
        return enum_codec(hint, where)
    return _LEAVES[hint](where)


def _union_codec(choices: tuple[object, ...], where: str) -> Codec:
    """Dataclasses, tagged; or one type; either with or without None."""
    some = [choice for choice in choices if choice is not types.NoneType]
    if len(some) == 1:
        encode_some, decode_some = _codec(some[0], where)
    else:
        encode_some, decode_some = tagged_codec(tuple(cls for cls in some if isinstance(cls, type)), where)
    if len(some) == len(choices):
        return Codec(encode_some, decode_some)
    return Codec(
        lambda value: None if value is None else encode_some(value),
        lambda plain: None if plain is None else decode_some(plain),
    )


# --- native values, and what a store answers ---


class _AnyAnswer:
    """Stands in for the annotation of an answer."""


ANSWERS = (
    *(records.RunRecord, records.Batch, requests.WriteOutput, requests.RegisterNode, requests.Refused),
    requests.Swept,
)
"""The classes that may stand in StoreAnswers, beside native values and tuples."""


def _answer_codec(where: str) -> Codec:
    native, record = native_codec(where), tagged_codec(ANSWERS, where)

    def encode(value: object) -> object:
        return record.encode(value) if type(value) in ANSWERS else [_NATIVE_ANSWER, native.encode(value)]

    def decode(plain: object) -> object:
        if type(plain) is list and len(plain) == 2 and plain[0] is _NATIVE_ANSWER:
            return native.decode(plain[1])
        return record.decode(plain)

    return Codec(encode, decode)


def _any_answer_codec(where: str) -> Codec:
    single = _answer_codec(where)
    several = sequence_codec(tuple, single, where)

    def encode(value: object) -> object:
        return [_TUPLE_ANSWER, several.encode(value)] if type(value) is tuple else single.encode(value)

    def decode(plain: object) -> object:
        if type(plain) is list and len(plain) == 2 and plain[0] is _TUPLE_ANSWER:
            return several.decode(plain[1])
        return single.decode(plain)

    return Codec(encode, decode)


_LEAVES: dict[type, Callable[[str], Codec]] = {
    int: integer_codec,
    float: float_codec,
    bool: functools.partial(exact_codec, bool, "true or false"),
    str: functools.partial(exact_codec, str, "text"),
    bytes: functools.partial(exact_codec, bytes, "bytes"),
    object: native_codec,
    _AnyAnswer: _any_answer_codec,
}
