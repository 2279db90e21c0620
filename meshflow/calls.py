"""Calling functions on the mesh from a program.

    with Client() as client:
        future = client.submit(math.factorial, 20)
        squares = client.map(lambda x: x * x, range(1000))
        print(future.result(), sum(client.gather(squares)))

A call is worth as much as the program that waits for it: when the client is closed, its calls are ended. What is to
outlive the program is a workflow.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from meshflow.call_cache import CachedFuture, CallCache
from meshflow.call_future import CallFuture
from meshflow.call_maker import CallMaker
from meshflow.core.calling import Arguments, Call, Function
from meshflow.errors import UsageError
from meshflow.mesh import Mesh
from meshflow.models.calls import dump_arguments, dump_function

P = ParamSpec("P")
T = TypeVar("T")

_PORTION = 1024
"""Calls that are handed over at a time: nodes begin with the first while the last are pickled."""

_LOOKED_UP = 256
"""Results that are looked for at a time."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How calls are made."""

    queue: str = "task"
    """Only nodes that serve it make the call."""
    priority: int = 0
    """Of the calls of one client that wait on a queue, the larger goes first."""
    timeout_s: float | None = None
    """A call that runs longer is ended and fails. None: it may take as long as it likes."""
    at_most_once: bool = False
    """A call whose node is gone fails. Otherwise it is made again, elsewhere, although it may have begun."""
    cache: bool = False
    """If a function of the same code was called with the same arguments, take its result and do not call it. Only for
    the calls of a `Client`."""

    def check_uncached(self) -> None:
        """Refuse `cache` where there is none.

        Raises:
            UsageError: it is asked for.
        """
        if self.cache:
            raise UsageError("cache=True is for the calls of a Client: client.options(cache=True).submit(...)")


class Calls:
    """Makes calls over a mesh. Any thread may use it. `hire` starts what makes them, and `outcome` makes the future of
    one; `connect` makes a connection for the cache of results, None: there is no cache."""

    def __init__(
        self,
        hire: Callable[[], CallMaker],
        outcome: Callable[[Call], "CallFuture[Any]"] | None = None,
        *,
        connect: "Callable[[], Mesh] | None" = None,
    ) -> None:
        self._hire = hire
        self._connect = connect
        self._cache: CallCache | None = None
        self._outcome = outcome or CallFuture
        self._lock = threading.Lock()
        self._maker: CallMaker | None = None
        self._is_closed = False

    def submit(
        self, options: CallOptions, function: Callable[..., T], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> CallFuture[T]:
        """One call.

        Raises:
            PickleFailed: the function or an argument cannot be pickled.
            NoMesh: no node answers.
        """
        if options.cache:
            return self._cached(options, function, [(arguments, keywords)])[0]
        what, code = described(options, function)
        future = self._call(what, dump_arguments(arguments, keywords))
        self.start().make([future.call], code)
        return future

    def map(
        self, options: CallOptions, function: Callable[..., T], rows: Iterable[tuple[Any, ...]]
    ) -> list[CallFuture[T]]:
        """A call for each row of arguments. Raises as `submit`, or whatever `rows` raise; then the calls that were
        handed over before are cancelled."""
        if options.cache:
            return self._cached(options, function, [(row, {}) for row in rows])
        what, code = described(options, function)
        maker = self.start()
        made: list[CallFuture[T]] = []
        calls: list[Call] = []
        try:
            for row in rows:
                future = self._call(what, dump_arguments(row))
                made.append(future)
                calls.append(future.call)
                if len(calls) == _PORTION:
                    maker.make(calls, code)
                    calls = []
            if calls:
                maker.make(calls, code)
        except BaseException:
            for future in made:
                future.cancel()
            raise
        return made

    def _cached(
        self,
        options: CallOptions,
        function: Callable[..., T],
        rows: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
    ) -> list[CallFuture[T]]:
        """Calls of which only those are made whose results are not kept."""
        what, code = described(options, function)
        maker, cache = self.start(), self._start_cache(options)
        made: list[CallFuture[T]] = []
        keys = cache.keys(function, rows)
        try:
            for start in range(0, len(rows), _LOOKED_UP):
                portion = keys[start : start + _LOOKED_UP]
                calls: list[Call] = []
                for row, key, data in zip(rows[start:], portion, cache.find(portion), strict=False):
                    future = CachedFuture[T](Call(what, dump_arguments(*row)), cache, key)
                    made.append(future)
                    if data is None or not future.take(data):
                        future.call.mark = future
                        calls.append(future.call)
                if calls:
                    maker.make(calls, code)
        except BaseException:
            for each in made:
                each.cancel()
            raise
        return made

    def _start_cache(self, options: CallOptions) -> "CallCache":
        with self._lock:
            if self._cache is None:
                if self._connect is None:
                    options.check_uncached()
                assert self._connect is not None
                self._cache = CallCache(self._connect)
            return self._cache

    def cancel(self, ended: Iterable[CallFuture[Any]]) -> None:
        """End these calls, even those that run."""
        self.end([future.call for future in ended if not future.done()])

    def end(self, calls: Sequence[Call]) -> None:
        """End calls, which cancels those of their futures that can be."""
        with self._lock:
            maker = self._maker
        if maker is not None and calls:
            maker.end(calls)

    def close(self) -> None:
        """End all calls that have not ended."""
        with self._lock:
            self._is_closed = True
            maker, self._maker = self._maker, None
            cache, self._cache = self._cache, None
        if cache is not None:
            cache.close()
        if maker is not None:
            maker.close()

    def start(self) -> CallMaker:
        """Start what makes calls, if that was not done: the first call does it otherwise.

        Raises:
            NoMesh: no node answers.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError("cannot call after the client was closed")
            if self._maker is None:
                self._maker = self._hire()
            return self._maker

    def _call(self, what: Function, data: Arguments) -> CallFuture[Any]:
        call = Call(what, data)
        future = call.mark = self._outcome(call)
        return future


class Calling:
    """Submits functions with certain options; `Client.options` makes one."""

    def __init__(self, calls: Calls, options: CallOptions) -> None:
        self._calls = calls
        self._options = options

    def options(self, **changes: Any) -> "Calling":
        """The same with other options; see `CallOptions`."""
        return Calling(self._calls, replace(self._options, **changes))

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> CallFuture[T]:
        """Call a function on the mesh; as `Client.submit`."""
        return self._calls.submit(self._options, function, arguments, keywords)

    def map(self, function: Callable[..., T], /, *iterables: Iterable[Any]) -> list[CallFuture[T]]:
        """Call a function for each element, or for each row of several iterables; as `Client.map`."""
        return self._calls.map(self._options, function, zip(*iterables, strict=False))


def gather(waited: Iterable[futures.Future[T]], *, return_exceptions: bool = False) -> list[Any]:
    """The results of futures, in their order, once all are there.

    Raises:
        Whatever the first of them raised, unless `return_exceptions`: then errors stand in the place of results.
    """
    waited = list(waited)
    if not return_exceptions:
        return [future.result() for future in waited]
    futures.wait(waited)
    return [_error_of(future) or future.result() for future in waited]


def as_completed(waited: Iterable[futures.Future[T]], timeout_s: float | None = None) -> Iterator[futures.Future[T]]:
    """The futures as they end, the first first.

    Raises:
        TimeoutError: not all have ended after so many seconds.
    """
    return futures.as_completed(list(waited), timeout_s)


def _error_of(future: futures.Future[Any]) -> BaseException | None:
    return futures.CancelledError() if future.cancelled() else future.exception()


def described(options: CallOptions, function: Callable[..., object]) -> tuple[Function, bytes]:
    """What is called and how, and its code.

    Raises:
        PickleFailed: the function cannot be pickled.
    """
    digest, code = dump_function(function)
    name = getattr(function, "__name__", "") or type(function).__name__
    return Function(digest, str(name), options.queue, options.priority, options.timeout_s, options.at_most_once), code
