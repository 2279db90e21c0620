"""User code and user data as bytes: the only user of cloudpickle.

Nodes never open what is made here; the process that runs a task does.

A task is pickled on its own, without the functions and classes it uses: these are pickled once for all tasks that use
the same ones. Tasks and code travel in *bundles*, `(Python version, code, {task name: task})`, each self-contained and
about 64 KiB large, so that ten thousand tasks with one callback cost ten thousand small pickles, one pickle of the
callback, and a few dozen payloads.

Invariants:
1. A bundle and a task's name are all that is needed to make the task again.
2. Making a task twice gives two tasks that share nothing but classes, not even the globals of their functions. Of a
   class there is one per process, also if data brings it along, so that `isinstance` means what it should.
3. What a script defines is shipped by value, what is installed by reference: this is cloudpickle's rule, since
   `script.py` takes a loaded script and its neighbours out of `sys.modules`.
"""

import inspect
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from meshflow.errors import PickleFailed, WorkflowImportError
from meshflow.models.action import Named
from meshflow.models.remaking import remaker
from meshflow.models.task_data import RETURNED, MultiTaskData, TaskData

MAX_PAYLOAD_BYTES = 512 * 1024 * 1024
"""The largest pickle of one task, or of what it hands on, unless the caller sets another limit: one that a node can
still hold a few times over. Larger data belongs into files or the data store."""

_PROTOCOL = 5
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The byte code in a pickled function is that of one Python version."""
_DIGEST_BYTES = 16
_NOT_SHIPPED = ("__builtins__", "__cached__", "__loader__", "__path__", "__spec__")
"""How a module was found is of no use elsewhere."""

_BUNDLE_BYTES = 64 * 1024
"""Raising it means fewer payloads to store but more bytes that a node is sent for the first task of a bundle."""


class ValueRefused(PickleFailed, pickle.PicklingError):
    """A value cannot be pickled; by the name, too, under which users of Python's own executors know that."""


def dumps(value: object, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """`value` as bytes.

    Raises:
        PickleFailed: it, or something in it, cannot be pickled, or the bytes would be more than `max_bytes`.
    """
    what = f"a value of type {type(value).__name__}"
    try:
        data = _dump_plain(value) or _dump(_Pickler, value)
    except Exception as exc:  # A user's __reduce__ may raise anything.
        raise ValueRefused(what, _reason(exc)) from None
    _check_size(what, len(data), max_bytes)
    return data


def dump_parts(value: object, large_bytes: int) -> tuple[list[bytes], list[memoryview]]:
    """`value` as a pickle in parts, and the buffers of at least `large_bytes` that are left out of it (PEP 574).

    Raises:
        PickleFailed: as `dumps`.
    """
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # It is in no one piece.
            return True
        if raw.nbytes < large_bytes:
            return True
        buffers.append(raw)
        return False

    plain = _Parts()
    try:
        _PlainPickler(plain, protocol=_PROTOCOL).dump(value)
        return plain.parts, []
    except (_NotPlain, RecursionError):
        parts = _Parts()
    try:
        _Pickler(parts, protocol=_PROTOCOL, buffer_callback=keep).dump(value)
    except Exception as exc:  # A user's __reduce__ may raise anything.
        raise ValueRefused(f"a value of type {type(value).__name__}", _reason(exc)) from None
    return parts.parts, buffers


class _Parts:
    """Takes what a pickler writes, without copying."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.parts.append(data)
        return len(data)


def _dump_plain(value: object) -> bytes | None:
    """The bytes of what has no code of anybody in it; None if it has, or may have."""
    file = io.BytesIO()
    try:
        _PlainPickler(file, protocol=_PROTOCOL).dump(value)
    except (_NotPlain, RecursionError):
        return None
    return file.getvalue()


def loads(data: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> Any:
    """The value that `dumps` was given, or `dump_parts`, with the buffers that it left out. Raises whatever the pickle
    raises."""
    return pickle.loads(data, buffers=buffers)


def dump_simple(value: object) -> bytes:
    """A value that has nothing in it that the receiver might lack: numbers, and tuples of them."""
    return pickle.dumps(value, _PROTOCOL)


def dump_data(data: MultiTaskData, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """What a task hands on, as bytes.

    Raises:
        PickleFailed: as `dumps`; the message names the key of the value that is to blame.
    """
    try:
        return dumps(data, max_bytes=max_bytes)
    except PickleFailed:
        for dataset in data:
            for key, value in dataset.data.items():
                if reason := _refusal(value):
                    what = f"the value under {key!r} ({type(value).__name__})"
                    if key == RETURNED:
                        what = f"what the task returned ({type(value[0]).__name__})"
                    raise PickleFailed(what, reason) from None
        raise


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
            bundle = pickle.dumps((_PYTHON, shared, members), protocol=_PROTOCOL)
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
        self._tasks: dict[str, bytes]
        self._python, self._code, self._tasks = pickle.loads(data)
        self._make_code: Callable[[], list[object]] | None = None
        """None before the first task is made."""

    def task(self, name: str) -> Any:
        """The task `name`, made anew with functions of its own.

        Raises:
            WorkflowImportError: it cannot be made here, most often because a module is missing.
        """
        try:
            if self._make_code is None:
                self._make_code = remaker(pickle.loads(self._code)) or partial(pickle.loads, self._code)
            return _TaskUnpickler(self._tasks[name], self._make_code()).load()
        except Exception as exc:  # Unpickling runs the user's code and imports; anything may come out of it.
            raise WorkflowImportError(
                f"task {name!r} cannot be loaded on this node: {_reason(exc)}; {self._hint()}"
            ) from exc

    def _hint(self) -> str:
        if self._python != _PYTHON:
            return f"it was submitted from Python {self._python} and this node runs {_PYTHON}; use the same on both"
        return (
            "modules that a workflow imports must be installed on every node, or lie next to the workflow's file when "
            "it is submitted"
        )


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Ships a module by value if it cannot be imported by its name, such as one that lies next to a script.

    cloudpickle would do so too, but not for modules that mention each other, nor for packages without `__init__.py`.
    """

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, ModuleType) and sys.modules.get(obj.__name__) is not obj:
            content = {name: value for name, value in vars(obj).items() if name not in _NOT_SHIPPED}
            return (ModuleType, (obj.__name__,), content)
        return super().reducer_override(obj)


class _CodePickler(_Pickler):
    """Leaves out of a payload what its classes say is not wanted there, by a method `reduce_in_payload`.

    Functions drag along the globals they mention: a callback that starts a sub-dag would bring all tasks of that dag.
    """

    def reducer_override(self, obj: object) -> Any:
        reduce = getattr(type(obj), "reduce_in_payload", None)
        return super().reducer_override(obj) if reduce is None else reduce(obj)


class _NotPlain(Exception):
    """There is something in a value that cloudpickle has to look at."""


class _PlainPickler(pickle.Pickler):
    """Pickles task data of numbers, texts, bytes and the containers that Python has built in, three times as fast as
    cloudpickle, and refuses all else.

    `pickle` asks `reducer_override` about every object whose type is not exactly one of those. So nothing slips through
    that it would pickle by reference although the receiver cannot import it: a function, a class, an object of one.
    """

    def reducer_override(self, obj: object) -> Any:
        if obj is MultiTaskData or obj is TaskData or type(obj) is MultiTaskData or type(obj) is TaskData:
            return NotImplemented
        raise _NotPlain


def _shared(position: int) -> object:
    """Stands in the pickle of a task for whatever has this position in the code; `_TaskUnpickler` puts that there."""
    raise AssertionError(f"position {position} of the code is asked for without the code")


class _TaskPickler(_CodePickler):
    """Pickles one task after the other, replacing each function and class by its position in `code`."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=_PROTOCOL)
        self.code: list[object] = []

    def dump_task(self, task: Named) -> bytes:
        self._file.seek(0)
        self._file.truncate()
        self.clear_memo()
        self.code = []
        self.dump(task)
        return self._file.getvalue()

    # Not `persistent_id`, which is called for each number and text too, and so takes as long as all the rest.
    def reducer_override(self, obj: object) -> Any:
        if not isinstance(obj, FunctionType | type):
            return super().reducer_override(obj)
        if obj is _shared:
            return NotImplemented
        self.code.append(obj)
        return _shared, (len(self.code) - 1,)


class _TaskUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, code: list[object]) -> None:
        super().__init__(io.BytesIO(data))
        self._code = code

    def find_class(self, module: str, name: str) -> Any:
        if name == _shared.__name__ and module == __name__:
            return self._code.__getitem__
        return super().find_class(module, name)


def _by_code(tasks: Sequence[Named]) -> list[tuple[list[object], list[tuple[Named, bytes]]]]:
    """The pickled tasks, grouped by the functions and classes that they use, in order of first appearance."""
    pickler = _TaskPickler()
    groups: dict[tuple[int, ...], tuple[list[object], list[tuple[Named, bytes]]]] = {}
    for task in tasks:
        try:
            data = pickler.dump_task(task)
        except Exception as exc:  # A user's __reduce__ may raise anything.
            raise _blame(task, exc) from exc
        # The ids stay unique because the groups keep the code alive.
        _, members = groups.setdefault(tuple(map(id, pickler.code)), (pickler.code, []))
        members.append((task, data))
        if len(data) > _BUNDLE_BYTES:
            pickler = _TaskPickler()  # The memo of the old one has grown, and to clear it takes long from now on.
    return list(groups.values())


def _dump_code(code: list[object], user: Named) -> bytes:
    try:
        return _dump(_CodePickler, code)
    except Exception as exc:  # The code mentions values of the user, with whatever they do when pickled.
        raise _blame(user, exc) from exc


def _dump(pickler: type[_Pickler], value: object) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol=_PROTOCOL).dump(value)
    return file.getvalue()


def _chunks(group: list[tuple[Named, bytes]], code_bytes: int, max_bytes: int) -> Iterator[dict[str, bytes]]:
    """The group in pieces of about `_BUNDLE_BYTES`, or of the size of the code they all carry if that is larger."""
    chunk: dict[str, bytes] = {}
    size = 0
    for task, data in group:
        _check_size(f"task {task.name!r}", code_bytes + len(data), max_bytes)
        if size >= max(_BUNDLE_BYTES, code_bytes):
            yield chunk
            chunk, size = {}, 0
        chunk[task.name] = data
        size += len(data)
    yield chunk


def _check_size(what: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise PickleFailed(
            what,
            f"it takes {size} bytes, more than the limit of {max_bytes}; keep large data in files or in the data store",
        )


def _blame(task: Named, error: Exception) -> PickleFailed:
    """The error for a task that cannot be pickled, with the attribute that is at fault where one alone is."""
    for attribute, value in vars(task).items():
        if reason := _refusal(value):
            return PickleFailed(f"task {task.name!r}", f"its {attribute.lstrip('_')}: {reason}")
    return PickleFailed(f"task {task.name!r}", _reason(error))


def _refusal(value: object, seen: tuple[int, ...] = ()) -> str:
    """Why `value` cannot be pickled, down through the functions that mention it; empty if it can be."""
    try:
        _dump(_CodePickler, value)
    except Exception as exc:  # As above.
        seen = (*seen, id(value))
        for name, used in _mentioned(value).items():
            if id(used) not in seen and (reason := _refusal(used, seen)):
                return f"{getattr(value, '__qualname__', value)} uses {name!r}: {reason}"
        return _reason(exc)
    return ""


def _mentioned(value: object) -> Mapping[str, object]:
    """The globals and closure variables that a function mentions."""
    if not isinstance(value, FunctionType):
        return {}
    try:
        used = inspect.getclosurevars(value)
    except ValueError:  # A variable of the closure has no value yet.
        return {}
    return {**used.globals, **used.nonlocals}


def _reason(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
