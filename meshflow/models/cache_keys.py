"""What names the result of a task or call by all that it is made of: code, arguments, inputs, version of Python.

What a function defined by the user does is told by its byte code, constants, defaults, closure, and the globals that it
mentions, down through the functions and classes among these. What is installed is told by its name only. Where the code
stands, file and line, is left out.

Invariants:
1. Equal keys mean equal code and equal bytes of inputs. The opposite need not hold: sets, for one, may be pickled in
   another order, and then there is one result more.
2. A key is made before the task begins, which may change itself.
"""

import pickletools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from types import CodeType, FunctionType
from typing import Any

from meshflow.core.messages import Job
from meshflow.models.payload import CodePickler, dump_with
from meshflow.models.task import BaseTask

_DIGEST_BYTES = 24
_MADE_WITH = f"1 {sys.version_info.major}.{sys.version_info.minor}"
"""The version of the keys, to be raised when what a kept result looks like changes; and that of Python."""

_LOOKED_INTO_BYTES = 256 * 1024
"""To look into a larger pickle would take longer than it is worth."""
_TEXTS = dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), "text") | dict.fromkeys(
    ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"), "bytes"
)
"""Operations of a pickle that are a text, or bytes, which nobody can change."""

_TRACKER = re.compile("[0-9a-f]{32}")
"""What cloudpickle names a class by, at random in each process."""
_TRACKER_FROM = 3
"""Among the arguments that make a class again, it comes behind name and bases."""
_OF_THE_PROCESS = ("__module__", "_cloudpickle_submodules")
_WHERE = ("__firstlineno__", "__static_attributes__")
"""What Python 3.13 notes in a class of its source."""


def task_key(task: BaseTask) -> str:
    """What names the task as it comes out of its bundle, apart from its inputs.

    Raises whatever a user's `__reduce__` raises.
    """
    state = [(name, value) for name, value in vars(task).items() if name not in task.NOT_IN_KEY]
    return _digest([_MADE_WITH.encode(), *_told((type(task), state))])


def attempt_key(key: str, job: Job) -> str:
    """What names the result of that task with the inputs of `job`, all of which are inline."""
    parts = [key.encode(), b"" if job.initial is None else job.initial.inline]
    for index, item in enumerate(job.inputs):
        is_row = bool(job.mapped) and index == 0
        name = "" if is_row or item.is_item else item.task
        parts += [f"{name}/{item.slot}/{item.is_item}".encode(), item.value.inline]
    return f"task/{_digest(parts)}"


def call_key(function: Callable[..., object]) -> str:
    """What names a function that is called. Raises as `task_key`."""
    return _digest([_MADE_WITH.encode(), *_told(function)])


def arguments_key(key: str, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> str:
    """What names the result of that function with these arguments. Raises as `task_key`."""
    return _digest([key.encode(), *_told((arguments, sorted(keywords.items())))])


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    whole = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.hexdigest()


def _told(value: object) -> Iterator[bytes]:
    """What a pickle of the value says, however often the same text in it is one object: that depends on what else has
    happened in a process."""
    data = dump_with(_KeyPickler, value)
    if len(data) > _LOOKED_INTO_BYTES:
        yield data
        return
    object_count = 0
    remembered: list[bytes] = []
    """What stands for each object that is referred to again."""
    last = b""
    """The text or bytes that the last operation was, if it was one."""
    for operation, argument, _ in pickletools.genops(data):
        match operation.name:
            case "FRAME":
                continue
            case "MEMOIZE":
                object_count += not last
                remembered.append(last or f"object {object_count}".encode())
                continue
            case "BINGET" | "LONG_BINGET":
                assert isinstance(argument, int)
                yield remembered[argument]
                last = b""
            case name:
                told = f"{_TEXTS.get(name, name)} {argument!r}".encode("utf-8", "backslashreplace")
                last = told if name in _TEXTS else b""
                yield told


class _KeyPickler(CodePickler):
    """Makes bytes of code that are the same in every process, and are not there to be unpickled."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, CodeType):
            return _code, _parts_of(obj)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple):
            return _without_chance(reduced)
        if isinstance(obj, FunctionType) and isinstance(reduced, tuple):
            return _without_place(reduced)
        return reduced


def _code(*parts: object) -> object:
    raise AssertionError("a key is not to be unpickled")


def _parts_of(code: CodeType) -> tuple[object, ...]:
    """All of it that tells what it does."""
    constants = tuple(
        ("frozenset", sorted(map(repr, each))) if isinstance(each, frozenset) else each for each in code.co_consts
    )
    return (
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags, code.co_code, constants),
        *(code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_name),
        getattr(code, "co_exceptiontable", b""),
    )


def _without_place(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """How a function is made again, without name and file of its module, and what else is imported here by now."""
    make, (code, namespace, *arguments), (content, slots), *more = reduced
    assert isinstance(namespace, dict), namespace
    told = {name: value for name, value in slots.items() if name not in _OF_THE_PROCESS}
    return (make, (code, {}, *arguments), (content, told), *more)


def _without_chance(reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """How a class is made again, without what differs from process to process."""
    make, arguments, *more = reduced
    fixed = [
        "" if place >= _TRACKER_FROM and isinstance(each, str) and _TRACKER.fullmatch(each) else each
        for place, each in enumerate(arguments)
    ]
    if more and isinstance(more[0], tuple) and more[0] and isinstance(more[0][0], dict):
        content, *slots = more[0]
        more[0] = ({name: value for name, value in content.items() if name not in _WHERE}, *slots)
    return (make, tuple(fixed), *more)
