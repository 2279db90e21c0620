"""User code and user data as bytes: the only user of cloudpickle.

Nodes never open what is made here; the process that runs a task does.

What a script defines is shipped by value, what is installed by reference: this is cloudpickle's rule, since `script.py`
takes a loaded script and its neighbours out of `sys.modules`. How tasks are pickled is in `bundles.py`.
"""

import inspect
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from meshflow.errors import PickleFailed
from meshflow.models.task_data import RETURNED, MultiTaskData, TaskData, put_together, taken_apart

MAX_PAYLOAD_BYTES = 512 * 1024 * 1024
"""The largest pickle of one task, or of what it hands on, unless the caller sets another limit: one that a node can
still hold a few times over. Larger data belongs into files or the data store."""

PROTOCOL = 5
"""Of `pickle`."""
_NOT_SHIPPED = ("__builtins__", "__cached__", "__loader__", "__path__", "__spec__")
"""How a module was found is of no use elsewhere."""


class ValueRefused(PickleFailed, pickle.PicklingError):
    """A value cannot be pickled; by the name, too, under which users of Python's own executors know that."""


def dumps(value: object, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """`value` as bytes.

    Raises:
        PickleFailed: it, or something in it, cannot be pickled, or the bytes would be more than `max_bytes`.
    """
    return _dumped(value, f"a value of type {type(value).__name__}", max_bytes)


def _dumped(value: object, what: str, max_bytes: int) -> bytes:
    try:
        data = _dump_plain(value) or dump_with(_Pickler, value)
    except Exception as exc:  # A user's __reduce__ may raise anything.
        raise ValueRefused(what, reason_of(exc)) from None
    check_size(what, len(data), max_bytes)
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
        _PlainPickler(plain, protocol=PROTOCOL).dump(value)
        return plain.parts, []
    except (_NotPlain, RecursionError):
        parts = _Parts()
    try:
        _Pickler(parts, protocol=PROTOCOL, buffer_callback=keep).dump(value)
    except Exception as exc:  # A user's __reduce__ may raise anything.
        raise ValueRefused(f"a value of type {type(value).__name__}", reason_of(exc)) from None
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
        _PlainPickler(file, protocol=PROTOCOL).dump(value)
    except (_NotPlain, RecursionError):
        return None
    return file.getvalue()


def loads(data: bytes | memoryview, buffers: Sequence[memoryview] = ()) -> Any:
    """The value that `dumps` was given, or `dump_parts`, with the buffers that it left out. Raises whatever the pickle
    raises."""
    return pickle.loads(data, buffers=buffers)


def dump_simple(value: object) -> bytes:
    """A value that has nothing in it that the receiver might lack: numbers, and tuples of them."""
    return pickle.dumps(value, PROTOCOL)


def dump_data(data: MultiTaskData, *, max_bytes: int = MAX_PAYLOAD_BYTES) -> bytes:
    """What a task hands on, as bytes.

    Raises:
        PickleFailed: as `dumps`; the message names the key of the value that is to blame.
    """
    try:
        return _dumped(taken_apart(data), f"a value of type {type(data).__name__}", max_bytes)
    except PickleFailed:
        for dataset in data:
            for key, value in dataset.data.items():
                if reason := refusal_of(value):
                    what = f"the value under {key!r} ({type(value).__name__})"
                    if key == RETURNED:
                        what = f"what the task returned ({type(value[0]).__name__})"
                    raise PickleFailed(what, reason) from None
        raise


def load_data(pickled: bytes | memoryview) -> MultiTaskData:
    """The data that `dump_data` was given. Raises whatever the pickle raises."""
    return put_together(loads(pickled))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Ships a module by value if it cannot be imported by its name, such as one that lies next to a script.

    cloudpickle would do so too, but not for modules that mention each other, nor for packages without `__init__.py`.
    """

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, ModuleType) and sys.modules.get(obj.__name__) is not obj:
            content = {name: value for name, value in vars(obj).items() if name not in _NOT_SHIPPED}
            return (ModuleType, (obj.__name__,), content)
        return super().reducer_override(obj)


class CodePickler(_Pickler):
    """Leaves out of a payload what its classes say is not wanted there, by a method `reduce_in_payload`.

    Functions drag along the globals they mention: a callback that starts a sub-dag would bring all tasks of that dag.
    """

    def reducer_override(self, obj: object) -> Any:
        """How `obj` is pickled, as `pickle` asks it."""
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
    """Stands in the pickle of a task for whatever has this position in the code; `TaskUnpickler` puts that there."""
    raise AssertionError(f"position {position} of the code is asked for without the code")


class TaskPickler(CodePickler):
    """Pickles one task after the other, replacing each function and class by its position in `code`."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=PROTOCOL)
        self.code: list[object] = []

    def dump_task(self, task: object) -> bytes:
        """The bytes of the task; what it uses is in `code` from then on, until the next."""
        self._file.seek(0)
        self._file.truncate()
        self.clear_memo()
        self.code = []
        self.dump(task)
        return self._file.getvalue()

    # Not `persistent_id`, which is called for each number and text too, and so takes as long as all the rest.
    def reducer_override(self, obj: object) -> Any:
        """How `obj` is pickled, as `pickle` asks it."""
        if not isinstance(obj, FunctionType | type):
            return super().reducer_override(obj)
        if obj is _shared:
            return NotImplemented
        self.code.append(obj)
        return _shared, (len(self.code) - 1,)


class TaskUnpickler(pickle.Unpickler):
    """Makes a task of what `TaskPickler` made, with the `code` that it is given."""

    def __init__(self, data: bytes, code: list[object]) -> None:
        super().__init__(io.BytesIO(data))
        self._code = code

    def find_class(self, module: str, name: str) -> Any:
        """What has this name in a pickle, as `pickle` asks it."""
        if name == _shared.__name__ and module == __name__:
            return self._code.__getitem__
        return super().find_class(module, name)


def dump_with(pickler: type[_Pickler], value: object) -> bytes:
    """The bytes that a pickler of this class makes of `value`."""
    file = io.BytesIO()
    pickler(file, protocol=PROTOCOL).dump(value)
    return file.getvalue()


def check_size(what: str, size: int, max_bytes: int) -> None:
    """Raises:
    PickleFailed: `what` has more bytes than it may.
    """
    if size > max_bytes:
        raise PickleFailed(
            what,
            f"it takes {size} bytes, more than the limit of {max_bytes}; keep large data in files or in the data store",
        )


def refusal_of(value: object, seen: tuple[int, ...] = ()) -> str:
    """Why `value` cannot be pickled, down through the functions that mention it; empty if it can be."""
    try:
        dump_with(CodePickler, value)
    except Exception as exc:  # As above.
        seen = (*seen, id(value))
        for name, used in _mentioned(value).items():
            if id(used) not in seen and (reason := refusal_of(used, seen)):
                return f"{getattr(value, '__qualname__', value)} uses {name!r}: {reason}"
        return reason_of(exc)
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


def reason_of(exc: Exception) -> str:
    """An error in one line, with its type."""
    return f"{type(exc).__name__}: {exc}"
