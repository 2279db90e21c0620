"""Tasks as bytes, and tasks made again of them.

A task is pickled on its own, without the functions and classes it uses: these are pickled once for all tasks that use
the same ones. Tasks and code travel in *bundles*, `(Python version, code, {task name: task})`, each self-contained and
about 64 KiB large. Of tasks that differ from the one before them in nothing but their names, there is only one pickle:
`task` is then that pickle with the attribute that holds the name. So ten thousand tasks with one callback cost ten
thousand names, two small pickles and a few payloads.

Invariants:
1. A bundle and a task's name are all that is needed to make the task again.
2. Making a task twice gives two tasks that share nothing but classes, not even the globals of their functions. Of a
   class there is one per process, also if data brings it along, so that `isinstance` means what it should.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from operator import is_
from typing import Any

from meshflow.errors import PickleFailed, WorkflowImportError
from meshflow.models.action import Named
from meshflow.models.payload import (
    MAX_PAYLOAD_BYTES,
    CodePickler,
    TaskPickler,
    TaskUnpickler,
    check_size,
    dump_simple,
    dump_with,
    loads,
    reason_of,
    refusal_of,
)
from meshflow.models.remaking import is_simple, moulded, remaker

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The byte code in a pickled function is that of one Python version."""

_DIGEST_BYTES = 16

_REFERENCE_BYTES = 8
"""What a pickle that is there already adds to a bundle."""

_BUNDLE_BYTES = 64 * 1024
"""Raising it means fewer payloads to store but more bytes that a node is sent for the first task of a bundle."""


def pack_tasks(tasks: Sequence[Named], *, max_bytes: int = MAX_PAYLOAD_BYTES) -> tuple[list[str], dict[str, bytes]]:
    """The digest of the bundle that holds each task, in the order of `tasks`, and the bundles by digest.

    The names of the tasks must be unique.

    Raises:
        PickleFailed: a task cannot be pickled or is too large; the message names the task and what is to blame in it.
    """
    digests: dict[str, str] = {}
    bundles: dict[str, bytes] = {}
    for code, group in _by_code(tasks):
        shared = _dump_code(code, group[0][0])
        for members in _chunks(group, len(shared), max_bytes):
            bundle = dump_simple((_PYTHON, shared, members))
            digest = blake2b(bundle, digest_size=_DIGEST_BYTES).hexdigest()
            bundles[digest] = bundle
            digests.update(dict.fromkeys(members, digest))
    return [digests[task.name] for task in tasks], bundles


def load_task(data: bytes, name: str) -> Any:
    """The task `name` of a bundle, made anew; see `Bundle` for making several of one bundle."""
    return Bundle(data).task(name)


class Bundle:
    """Tasks as `pack_tasks` packed them. Keeping it saves some of the work for the next task of the same digest."""

    def __init__(self, data: bytes) -> None:
        self._python: str
        self._code: bytes
        self._tasks: dict[str, _Packed]
        self._python, self._code, self._tasks = loads(data)
        self._make_code: Callable[[], list[object]] | None = None
        """None before the first task is made."""
        self._moulds: dict[bytes, Callable[[Sequence[object]], object] | None] = {}
        """How to make tasks that share a pickle; None: it has to be unpickled."""

    def task(self, name: str) -> Any:
        """The task `name`, made anew with functions of its own.

        Raises:
            WorkflowImportError: it cannot be made here, most often because a module is missing.
        """
        try:
            if self._make_code is None:
                self._make_code = remaker(loads(self._code)) or partial(loads, self._code)
            packed = self._tasks[name]
            if isinstance(packed, bytes):
                return TaskUnpickler(packed, self._make_code()).load()
            return self._alike(*packed, name, self._make_code())
        except Exception as exc:  # Unpickling runs the user's code and imports; anything may come out of it.
            raise WorkflowImportError(
                f"task {name!r} cannot be loaded on this node: {reason_of(exc)}; {self._hint()}"
            ) from exc

    def _alike(self, pickled: bytes, attribute: str, name: str, code: list[object]) -> Any:
        """A task that differs in its name from the one that was pickled."""
        if pickled not in self._moulds:
            self._moulds[pickled] = moulded(TaskUnpickler(pickled, code).load(), code)
        make = self._moulds[pickled]
        task = TaskUnpickler(pickled, code).load() if make is None else make(code)
        vars(task)[attribute] = name
        return task

    def _hint(self) -> str:
        if self._python != _PYTHON:
            return f"it was submitted from Python {self._python} and this node runs {_PYTHON}; use the same on both"
        return (
            "modules that a workflow imports must be installed on every node, or lie next to the workflow's file when "
            "it is submitted"
        )


_Packed = bytes | tuple[bytes, str]
"""A pickled task; or that of another one, and the attribute that holds the name."""


def _by_code(tasks: Sequence[Named]) -> list[tuple[list[object], list[tuple[Named, _Packed]]]]:
    """The pickled tasks, grouped by the functions and classes that they use, in order of first appearance."""
    pickler = TaskPickler()
    groups: dict[tuple[int, ...], tuple[list[object], list[tuple[Named, _Packed]]]] = {}
    data, members = b"", list[tuple[Named, _Packed]]()
    for task in tasks:
        attribute = _only_difference(members[-1][0], task) if members else None
        if attribute is not None:
            members.append((task, (data, attribute)))
            continue
        try:
            data = pickler.dump_task(task)
        except Exception as exc:  # A user's __reduce__ may raise anything.
            raise _blame(task, exc) from exc
        # The ids stay unique because the groups keep the code alive.
        members = groups.setdefault(tuple(map(id, pickler.code)), (pickler.code, []))[1]
        members.append((task, data))
        if len(data) > _BUNDLE_BYTES:
            pickler = TaskPickler()  # The memo of the old one has grown, and to clear it takes long from now on.
    return list(groups.values())


def _only_difference(one: Named, other: Named) -> str | None:
    """The attribute that holds the name, if in all else the two tasks have the very same, and so are pickled alike."""
    if type(one) is not type(other) or not is_simple(type(one)):
        return None
    mine, others = vars(one), vars(other)
    are_same = list(map(is_, mine.values(), others.values()))
    if are_same.count(False) != 1 or list(mine) != list(others):
        return None
    attribute = list(mine)[are_same.index(False)]
    name = others[attribute]
    return attribute if mine[attribute] is one.name and name is other.name and type(name) is str else None


def _dump_code(code: list[object], user: Named) -> bytes:
    try:
        return dump_with(CodePickler, code)
    except Exception as exc:  # The code mentions values of the user, with whatever they do when pickled.
        raise _blame(user, exc) from exc


def _chunks(group: list[tuple[Named, _Packed]], code_bytes: int, max_bytes: int) -> Iterator[dict[str, _Packed]]:
    """The group in pieces of about `_BUNDLE_BYTES`, or of the size of the code they all carry if that is larger."""
    chunk: dict[str, _Packed] = {}
    size = 0
    for task, packed in group:
        # One that is there already is pickled as a reference.
        data_bytes = len(packed) if isinstance(packed, bytes) else _REFERENCE_BYTES
        check_size(f"task {task.name!r}", code_bytes + data_bytes, max_bytes)
        if size >= max(_BUNDLE_BYTES, code_bytes):
            yield chunk
            chunk, size = {}, 0
        chunk[task.name] = packed
        size += data_bytes + len(task.name)
    yield chunk


def _blame(task: Named, error: Exception) -> PickleFailed:
    """The error for a task that cannot be pickled, with the attribute that is at fault where one alone is."""
    for attribute, value in vars(task).items():
        if reason := refusal_of(value):
            return PickleFailed(f"task {task.name!r}", f"its {attribute.lstrip('_')}: {reason}")
    return PickleFailed(f"task {task.name!r}", reason_of(error))
