"""Calls as bytes: functions, arguments, results and errors, between a client and the process that runs a function.

A function is pickled once, arguments and results call by call, so that two calls share nothing that was passed to them.
What holds only numbers, texts and the like takes the quick way.
"""

import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from types import TracebackType
from typing import Any

import msgpack

from meshflow.errors import MeshflowError
from meshflow.models import payload

_PROTOCOL = 5
_DIGEST_BYTES = 16
_PLAIN = frozenset((int, float, str, bytes, bool, type(None), complex))
"""Types whose objects have nothing in them that the receiver might lack."""

_OWN_MODULES = "meshflow.models."
"""Whose frames are left out at the top of a traceback."""


class RemoteTraceback(Exception):
    """The cause of an error that a call raised: the traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class RemoteError(MeshflowError):
    """A call raised an error that cannot be brought here: it cannot be pickled, or not be made again."""


def dump_function(function: Callable[..., object]) -> tuple[str, bytes]:
    """What names the function, and the function as bytes.

    Raises:
        PickleFailed: it, or something that it uses, cannot be pickled.
    """
    code = payload.dumps(function)
    return blake2b(code, digest_size=_DIGEST_BYTES).hexdigest(), code


def dump_arguments(arguments: tuple[object, ...], keywords: Mapping[str, object] | None = None) -> bytes:
    """The arguments of one call as bytes.

    Raises:
        PickleFailed: one of them cannot be pickled.
    """
    if not keywords and all(type(argument) in _PLAIN for argument in arguments):
        return pickle.dumps((arguments, None), _PROTOCOL)
    return payload.dumps((arguments, dict(keywords) if keywords else None))


def load_results(value: bytes) -> Iterator[tuple[bool, Any]]:
    """What came of each call of a batch: whether it returned, and what it returned or raised."""
    for item in msgpack.unpackb(value, use_list=True):
        if type(item) is not bytes:
            yield False, _load_error(*item)
            continue
        try:
            yield True, pickle.loads(item)
        except Exception as exc:  # Unpickling runs the user's code and imports; anything may come out of it.
            yield False, exc


class Callee:
    """Inside a task process: one function, and the calls of it."""

    def __init__(self, code: bytes) -> None:
        self._function: Callable[..., object] | None = None
        self._problem: object = None
        try:
            self._function = pickle.loads(code)
        except Exception as exc:  # As above.
            self._problem = _dump_error(exc)

    def run(self, calls: Sequence[bytes]) -> bytes:
        """Make the calls, one after the other; what came of each, for `load_results`."""
        function = self._function
        results = [self._problem] * len(calls) if function is None else [_result(function, data) for data in calls]
        packed: bytes = msgpack.packb(results)
        return packed


def _result(function: Callable[..., object], data: bytes) -> object:
    try:
        arguments, keywords = pickle.loads(data)
        result = function(*arguments, **keywords) if keywords else function(*arguments)
        return pickle.dumps(result, _PROTOCOL) if type(result) in _PLAIN else payload.dumps(result)
    except (Exception, SystemExit, KeyboardInterrupt) as exc:  # A call does not end its process.
        return _dump_error(exc)


def _dump_error(exc: BaseException) -> list[object]:
    """The error if it can be pickled and made again, what it says, and its traceback, from the user's code on."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
        trace = trace.tb_next
    return [_pickled(exc), f"{type(exc).__name__}: {exc}", _text(exc, trace)]


def _pickled(exc: BaseException) -> bytes:
    try:
        data = payload.dumps(exc)
        pickle.loads(data)  # Errors that want more arguments than they keep fail only here.
    except Exception:  # The user's __reduce__ and __init__ may raise anything.
        return b""
    return data


def _text(exc: BaseException, trace: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, trace))
    except Exception as broken:  # The user's __str__ may raise anything.
        return f"{type(exc).__name__} (its text cannot be shown: {type(broken).__name__})\n"


def _load_error(data: bytes, message: str, text: str) -> BaseException:
    error: BaseException = RemoteError(message)
    if data:
        try:
            made = pickle.loads(data)
        except Exception:  # What it needs is not here.
            made = None
        if isinstance(made, BaseException):
            error = made
    error.__cause__ = RemoteTraceback(text)
    return error
