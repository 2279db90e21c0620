"""Many values of one class as columns: how the tasks and edges of a blueprint travel and are kept.

    tuple[X, ...]   `[count, column, ...]`, a column for each field of X in the order of definition; `[]` if it is empty
    column          an array of one element for each value, or of a single one that all values share

A hundred thousand tasks differ in their names and in little else. As columns what they share is there once, and what
differs is checked and copied by loops in C; an array for each task would take ten times the memory while it is read.
For messages and logs this is nothing: of a few values columns are slower to make than arrays.

Invariants:
1. At least one column has `count` elements, so that what is decoded takes memory in proportion to what was received.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import NamedTuple, cast

from meshflow.leaf_codecs import INT_MAX, INT_MIN, Codec

Refuse = Callable[[str, object], None]


class Column(NamedTuple):
    """Both ways between the values of one field and its column."""

    encode: Callable[[list[object]], list[object]]
    decode: Callable[[list[object]], list[object]]


def leaf_column(cls: type, item: Codec, keep: Callable[[str], str] | None = None) -> Column:
    """The column of a field of a plain type. `keep` gives the one copy of a text that is kept."""

    def encode(values: list[object]) -> list[object]:
        if not _is_whole(values, cls):
            return [item.encode(each) for each in values]
        return values[:1] if values.count(values[0]) == len(values) else values

    def decode(plain: list[object]) -> list[object]:
        values = plain if _is_whole(plain, cls) else [item.decode(each) for each in plain]
        return values if keep is None else list(map(keep, cast(list[str], values)))

    return Column(encode, decode)


def _is_whole(values: list[object], cls: type) -> bool:
    """Whether all values are just right, so that none needs to be looked at by itself."""
    if set(map(type, values)) != {cls}:
        return False
    if cls is int:
        return min(cast(list[int], values)) >= INT_MIN and max(cast(list[int], values)) <= INT_MAX
    if cls is float:
        total = sum(cast(list[float], values))
        return total - total == 0.0  # One that is infinite, or not a number, is so in the sum.
    return True


def item_column(item: Codec) -> Column:
    """The column of any other field, whose values cannot be changed: what is one object stays one."""

    def encode(values: list[object]) -> list[object]:
        is_shared = len(set(map(id, values))) == 1
        return [item.encode(each) for each in (values[:1] if is_shared else values)]

    return Column(encode, lambda plain: [item.decode(each) for each in plain])


def columns_codec(
    cls: type, names: Sequence[str], columns: Sequence[Column], defaults: Sequence[object], refuse: Refuse
) -> Codec:
    """The columns of many `cls`, in a tuple. `defaults`: of the last fields, for columns that are missing."""
    required = len(names) - len(defaults)
    setters: list[Callable[[object, object], None]] = [cls.__dict__[name].__set__ for name in names]

    def encode(value: object) -> object:
        if type(value) is not tuple or set(map(type, value)) - {cls}:
            refuse(f"a tuple of {cls.__name__}", value)
        values = cast(tuple[object, ...], value)
        if not values:
            return []
        fields = zip(names, columns, strict=True)
        made = [column.encode([getattr(each, name) for each in values]) for name, column in fields]
        if all(len(each) == 1 for each in made):
            made[0] = made[0] * len(values)
        return [len(values), *made]

    def decode(plain: object) -> object:
        if plain == []:
            return ()
        if type(plain) is not list or len(plain) <= required or type(plain[0]) is not int or plain[0] < 1:
            refuse(f"a count and at least {required} columns", plain)
        count, *given = cast(list[object], plain)
        for each in given[: len(names)]:
            if type(each) is not list or len(each) not in (1, count):
                refuse(f"a column of 1 or {count} elements", each)
        if not any(len(cast(list[object], each)) == count for each in given[: len(names)]):
            refuse(f"a column of {count} elements", plain)
        values: tuple[object, ...] = tuple(map(object.__new__, repeat(cls, cast(int, count))))
        read = [column.decode(cast(list[object], each)) for column, each in zip(columns, given, strict=False)]
        read += [[each] for each in defaults[len(read) - required :]]
        for set_field, cells in zip(setters, read, strict=True):
            _fill(set_field, values, cells)
        return values

    return Codec(encode, decode)


def _fill(set_field: Callable[[object, object], None], values: Sequence[object], cells: Sequence[object]) -> None:
    """Give each value its cell, or all the only one."""
    each_its_own: Iterable[object] = cells if len(cells) == len(values) else repeat(cells[0])
    for value, cell in zip(values, each_its_own, strict=False):
        set_field(value, cell)
