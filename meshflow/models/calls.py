"""Calls as bytes: functions, arguments, results and errors, between a client and the process that runs a function.

A function is pickled once, arguments and results call by call, so that two calls share nothing that was passed to them.
What holds only numbers, texts and the like takes the quick way.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from types import TracebackType
from typing import Any

from meshflow.errors import MeshflowError
from meshflow.models import parcels, payload
from meshflow.models.parcels import Parcel
from meshflow.models.progress import BEGUN, BITS, HALT

_DIGEST_BYTES = 16
_Error = list[bytes | str]
"""A pickled error, what it says, and its traceback."""
Result = bytes | Parcel | _Error
"""What came of a call, pickled."""
_RAISED = (Exception, SystemExit, KeyboardInterrupt)
"""What the user's code may raise where there is nobody to tell; not what ends the process."""
MAX_S = 0.02
"""When the calls of a batch have taken so long, the rest of it is left to others: they were to take a part of that."""
MAX_RESULT_BYTES = 1024 * 1024
"""When a batch has so much to hand on, the rest of it is left to another: a message holds only so much."""

_OWN_MODULES = "meshflow.models."
"""Whose frames are left out at the top of a traceback."""


class RemoteTraceback(Exception):
    """The cause of an error that a call raised: the traceback there, as text."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class RemoteError(MeshflowError):
    """A call raised an error that cannot be brought here: it cannot be pickled, or not be made again."""


class Terminated(BaseException):
    """SIGTERM: raised in the main thread of a task process, so that a task can clean up after itself and what it
    started."""


def dump_function(function: Callable[..., object]) -> tuple[str, bytes]:
    """What names the function, and the function as bytes.

    Raises:
        PickleFailed: it, or something that it uses, cannot be pickled.
    """
    code = payload.dumps(function)
    return blake2b(code, digest_size=_DIGEST_BYTES).hexdigest(), code


def dump_arguments(arguments: tuple[object, ...], keywords: Mapping[str, object] | None = None) -> bytes | Parcel:
    """The arguments of one call as bytes, or as a parcel if they are large.

    Raises:
        PickleFailed: one of them cannot be pickled.
    """
    if not keywords and all(type(argument) in parcels.PLAIN for argument in arguments):
        return payload.dump_simple((arguments, None))
    return parcels.dump((arguments, dict(keywords) if keywords else None))


def pack_flat(results: Sequence[Result]) -> bytes:
    """Results as bytes, for another host; `unpack_flat` reads them."""
    return parcels.pack(values=results)[0]


def unpack_flat(value: bytes) -> list[Any]:
    """The results that `pack_flat` was given, each for `load_results`."""
    return parcels.unpack(value)[1]


def load_results(results: Iterable[Any]) -> Iterator[tuple[bool, Any]]:
    """What came of each call of a batch: whether it returned, and what it returned or raised. The last calls of a batch
    may be missing, see `Callee.run`.

    Raises:
        Exception: one of them is no result.
    """
    for result in results:
        if isinstance(result, list):
            yield False, _load_error(*result)
        elif isinstance(result, bytes | Parcel):
            yield _load_result(result)
        else:
            raise TypeError(f"{type(result).__name__} instead of bytes")


class Callee:
    """Inside a task process: one function, and the calls of it. Whatever a call raises goes to who made it, but for
    `Terminated`."""

    def __init__(self, code: bytes) -> None:
        self._pid = os.getpid()
        self._function: Callable[..., object] | None = None
        self._problem: _Error = []
        try:
            self._function = payload.loads(code)
        except Terminated:
            raise
        except BaseException as exc:  # As above.
            self._problem = _dump_error(exc)

    def run(
        self, calls: Sequence[bytes | Parcel], packet: int = 1, cells: "list[int] | memoryview[int] | None" = None
    ) -> list[Result]:
        """Make the calls, one after the other; what came of each, for `load_results`. Ends before its time, with at
        least one result, when these are large, or the calls long, or when that is wanted: `cells` tell, and are told
        (`progress.py`)."""
        function = self._function
        if function is None:
            return [self._problem] * len(calls)
        results: list[Result] = []
        room_bytes = MAX_RESULT_BYTES
        until = time.perf_counter() + MAX_S
        cells = [0, 0] if cells is None else cells
        begun = packet << BITS
        for data in calls:
            begun += 1
            cells[BEGUN] = begun
            if results and cells[HALT] == packet:  # In this order: see `cells`.
                break
            result = _result(function, data)
            results.append(result)
            room_bytes -= sum(map(len, result)) if isinstance(result, list) else len(result)
            if room_bytes <= 0 or time.perf_counter() >= until:
                break
            if os.getpid() != self._pid:  # The rest is not for a process that the call forked.
                break
        return results


def flat_results(function: Callable[..., object], packed: bytes) -> bytes:
    """What came of calls that are packed by `pack_flat`, packed in the same way. Raises nothing but Terminated."""
    return pack_flat([_result(function, data) for data in unpack_flat(packed)])


def _result(function: Callable[..., object], data: bytes | Parcel) -> Result:
    try:
        arguments, keywords = parcels.load(data)
        return parcels.dump(function(*arguments, **keywords) if keywords else function(*arguments))
    except Terminated:
        raise
    except BaseException as exc:  # Also SystemExit: a call does not end its process.
        return _dump_error(exc)


def _dump_error(exc: BaseException) -> _Error:
    """The error if it can be pickled and made again, what it says, and its traceback, from the user's code on."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
        trace = trace.tb_next
    return [_pickled(exc), _sendable(_summary(exc)), _sendable(_text(exc, trace))]


def _pickled(exc: BaseException) -> bytes:
    try:
        data = payload.dumps(exc)
        payload.loads(data)  # Errors that want more arguments than they keep fail only here.
    except _RAISED:  # By the user's __reduce__ and __init__.
        return b""
    return data


def _summary(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except _RAISED as broken:  # By the user's __str__.
        return f"{type(exc).__name__} (its text cannot be shown: {type(broken).__name__})"


def _text(exc: BaseException, trace: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, trace))
    except _RAISED:  # By what the user's class has in the places of attributes that are looked at.
        return f"{_summary(exc)}\n"


def _sendable(text: str) -> str:
    """The text without what UTF-8 has no place for, such as half of a character in the name of a file."""
    return text.encode("utf-8", "backslashreplace").decode()


def _load_result(data: bytes | Parcel) -> tuple[bool, Any]:
    try:
        return True, parcels.load(data, is_own=True)
    except BaseException as exc:  # Unpickling runs the user's code and imports; anything may come out of it.
        return False, exc


def _load_error(data: bytes, message: str, text: str) -> BaseException:
    error: BaseException = RemoteError(message)
    if data:
        try:
            made = payload.loads(data)
        except BaseException:  # What it needs is not here, or raises what it likes.
            made = None
        if isinstance(made, BaseException):
            error = made
    BaseException.__setattr__(error, "__cause__", RemoteTraceback(text))  # The error may be a frozen dataclass.
    return error
