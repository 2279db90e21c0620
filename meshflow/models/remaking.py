"""Functions, and tasks that differ only in their names, made anew without unpickling them again.

Every task gets functions of its own, so that what one task does to a global of its callback is not seen by the next.
Unpickling does that, and takes longer than all else that a short task needs. Of a function that mentions nothing but
what tasks share in any case, a copy with globals of its own is the same.

Invariants:
1. What is copied is never handed out, so that no task can have changed it.
2. In doubt `remaker` refuses, and who asked unpickles.
"""

import copyreg
import functools
import sys
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import cast

_PICKLED_OTHERWISE = (
    *("__reduce_ex__", "__reduce__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__"),
    *("__new__", "__slots__", "reduce_in_payload"),
)
"""What a class has that is not pickled in the plain way."""

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))


def remaker(objects: Sequence[object]) -> Callable[[], list[object]] | None:
    """What makes the functions among these freshly unpickled objects anew, each time it is called, and leaves the rest
    as it is; None if there is anything that unpickling would make anew too."""
    if not all(_is_shared(each) or _is_plain(each) for each in objects):
        return None

    def remake() -> list[object]:
        namespaces: dict[int, dict[str, object]] = {}
        return [_copy(each, namespaces) if not shared else each for each, shared in known]

    known = [(each, _is_shared(each)) for each in objects]
    return remake


@functools.cache
def is_simple(cls: type) -> bool:
    """Whether an object of this class is pickled as the class and the content of its `__dict__`, and nothing else."""
    own = [vars(each) for each in cls.__mro__ if each is not object]
    return not any(name in each for name in _PICKLED_OTHERWISE for each in own) and cls not in copyreg.dispatch_table


def moulded(made: object, code: Sequence[object]) -> Callable[[Sequence[object]], object] | None:
    """What makes more objects like `made`, which was just unpickled with these functions and classes, each with those
    it is given in their places; None if there is anything else in it that unpickling would make anew."""
    cls: type = type(made)
    places = {id(each): place for place, each in enumerate(code)}
    used = {name: places[id(value)] for name, value in vars(made).items() if id(value) in places}
    constants = {name: value for name, value in vars(made).items() if name not in used}
    if not is_simple(cls) or not all(type(value) in _CONSTANTS for value in constants.values()):
        return None
    place = places.get(id(cls))

    def make(code: Sequence[object]) -> object:
        new: object = object.__new__(cls if place is None else cast(type, code[place]))
        content = vars(new)
        content.update(constants)
        for name, place_of_value in used.items():
            content[name] = code[place_of_value]
        return new

    return make


def _is_shared(value: object) -> bool:
    """Whether all tasks of a process have this very object anyway: a constant, or what is imported by its name."""
    if isinstance(value, ModuleType):
        return sys.modules.get(value.__name__) is value
    if isinstance(value, type | FunctionType | BuiltinFunctionType):
        module = sys.modules.get(value.__module__ or "")
        return module is not None and vars(module).get(value.__qualname__) is value
    return type(value) in _CONSTANTS


def _is_plain(value: object) -> bool:
    """Whether it is a function that has nothing to itself but its globals, and these hold only what is shared."""
    if type(value) is not FunctionType or value.__closure__ or vars(value):
        return False
    own = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *value.__annotations__.values()]
    own += [each for name, each in value.__globals__.items() if name != "__builtins__"]
    return all(map(_is_shared, own))


def _copy(function: object, namespaces: dict[int, dict[str, object]]) -> FunctionType:
    """`namespaces` holds the globals made so far: functions that shared theirs do so again."""
    assert isinstance(function, FunctionType), function
    shared = function.__globals__
    namespace = namespaces.get(id(shared))
    if namespace is None:
        namespace = namespaces[id(shared)] = dict(shared)
    copy = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__)
    copy.__qualname__, copy.__module__, copy.__doc__ = function.__qualname__, function.__module__, function.__doc__
    if function.__kwdefaults__:
        copy.__kwdefaults__ = dict(function.__kwdefaults__)
    if function.__annotations__:
        copy.__annotations__ = dict(function.__annotations__)
    return copy
