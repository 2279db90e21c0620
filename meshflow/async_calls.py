"""Calling functions on the mesh from a program that runs in an event loop.

Invariants:
1. What came of calls is brought to the loop by the handful: what arrives before the loop looks costs one wake-up. Who
   waits for many futures is told of each in passing, not in a turn of the loop of its own.
2. Of calls that are submitted in one turn of the loop, the first goes at once and the others together at its end, or
   when they are many.
3. Who gives up waiting for a call ends it: a future that is cancelled, or whose task is, is that of a call that is
   ended, even if it runs.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Generic, ParamSpec, TypeVar, cast

from meshflow.call_maker import CallMaker
from meshflow.calls import CallOptions, Calls, described
from meshflow.core.calling import Arguments, Call, Function
from meshflow.models.calls import dump_arguments

P = ParamSpec("P")
T = TypeVar("T")

_PORTION = 1024
"""Calls that `map` pickles before the loop has its turn, which is after some ten milliseconds."""

_TOGETHER = 128
"""Calls that are submitted in one turn of the loop and handed over before its end: nodes begin with them meanwhile."""


class AsyncFuture(asyncio.Future[T], Generic[T]):
    """The outcome of one call, to be awaited. To cancel it ends the call."""

    listeners: "tuple[Callable[[AsyncFuture[T]], None], ...]" = ()
    """Told when it has ended, by who ends it."""

    def __init__(self, bridge: "Bridge", call: Call) -> None:
        super().__init__(loop=bridge.loop)
        self.bridge = bridge
        self._call = call

    def cancel(self, msg: Any = None) -> bool:
        """Give up the call, and end it even if it runs. False: it has ended already."""
        if not super().cancel(msg):
            return False
        self.bridge.end(self._call)
        for listener in self.listeners:
            listener(self)
        return True


class _Far:
    """The end of a future where its call is made: what came of it only passes."""

    __slots__ = ("near",)

    def __init__(self, near: AsyncFuture[Any]) -> None:
        self.near = near

    def set_result(self, result: Any) -> None:
        """Pass a result on."""
        self.near.bridge.bring(self.near, None, result)

    def set_exception(self, exception: BaseException) -> None:
        """Pass an error on."""
        self.near.bridge.bring(self.near, exception, None)


class Bridge:
    """Between the loop and the thread that makes calls, which `hire` starts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hire: Callable[[], CallMaker]) -> None:
        self.loop = loop
        self._calls = Calls(hire)
        self._calls.start()  # So that no call has to wait for it, and the loop with it.
        self._arrived: deque[tuple[AsyncFuture[Any], BaseException | None, Any]] = deque()
        self._is_awaited = False
        """Whether the loop will look."""
        self._is_closed = False
        self._together: list[Call] = []
        """Calls of one function that go at the end of this turn."""
        self._code = b""
        self._is_turn_known = False
        """Whether its end will be noticed."""

    def close(self) -> None:
        """End all calls. Who awaits one hears of it, and asyncio does not complain of those that nobody awaits."""
        self._is_closed = True
        self._calls.close()

    # --- in the loop ---

    def future(self, function: Function, data: Arguments) -> AsyncFuture[Any]:
        """That of one call, which is to be handed over."""
        call = Call(function, data)
        near: AsyncFuture[Any] = AsyncFuture(self, call)
        call.mark = _Far(near)
        return near

    def submit(self, future: AsyncFuture[Any], code: bytes) -> None:
        """Hand over a call, now or soon. Raises as `Calls.start`."""
        call = future._call
        if self._together and call.function != self._together[0].function:
            self.hand_over()
        if not self._is_turn_known:
            self._is_turn_known = True
            self.loop.call_soon(self._end_turn)
            self.make([future], code)
            return
        self._calls.start()
        self._together.append(call)
        self._code = code
        if len(self._together) == _TOGETHER:
            self.hand_over()

    def make(self, futures: Sequence[AsyncFuture[Any]], code: bytes) -> None:
        """Hand over calls of one function. Raises as `Calls.start`."""
        self._calls.start().make([future._call for future in futures], code)

    def end(self, call: Call) -> None:
        """End a call."""
        if call.mark is not None:
            self._calls.end([call])

    def hand_over(self) -> None:
        """Hand over what waits for the end of this turn."""
        together, self._together = self._together, []
        try:
            if together:
                self._calls.start().make(together, self._code)
        except Exception as problem:  # It was closed since. Nobody is there to hear it but who awaits them.
            for call in together:
                _settle(call, problem)

    def _end_turn(self) -> None:
        self._is_turn_known = False
        self.hand_over()

    # --- from thread to loop ---

    def bring(self, future: AsyncFuture[Any], error: BaseException | None, result: Any) -> None:
        """In the thread: have the loop settle a future."""
        self._arrived.append((future, error, result))
        if not self._is_awaited:
            self._is_awaited = True
            with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        self._is_awaited = False  # Before it looks: what arrives from now on may be missed.
        while self._arrived:
            future, error, result = self._arrived.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            elif isinstance(error, StopIteration):  # Which a coroutine would take for an end of its own.
                wrapped = RuntimeError(f"the call raised StopIteration: {error}")
                wrapped.__cause__ = error
                future.set_exception(wrapped)
            else:
                future.set_exception(error)
            if self._is_closed:
                future.exception()
            for listener in future.listeners:
                listener(future)


class AsyncCalling:
    """Submits functions with certain options; `AsyncClient.options` makes one."""

    def __init__(self, bridge: Bridge, options: CallOptions) -> None:
        self._bridge = bridge
        self._options = options

    def options(self, **changes: Any) -> "AsyncCalling":
        """The same with other options; see `CallOptions`, but for `cache`."""
        changed = replace(self._options, **changes)
        changed.check_uncached()
        return AsyncCalling(self._bridge, changed)

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> AsyncFuture[T]:
        """Call a function on the mesh; as `AsyncClient.submit`."""
        what, code = described(self._options, function)
        future = self._bridge.future(what, dump_arguments(arguments, cast(Mapping[str, Any], keywords)))
        self._bridge.submit(future, code)
        return future

    async def map(self, function: Callable[..., T], /, *iterables: Iterable[Any]) -> list[AsyncFuture[T]]:
        """Call a function for each element, or for each row of several iterables; as `AsyncClient.map`."""
        what, code = described(self._options, function)
        made: list[AsyncFuture[T]] = []
        rows = zip(*iterables, strict=False)
        try:
            while portion := [self._bridge.future(what, dump_arguments(row)) for row in islice(rows, _PORTION)]:
                made += portion
                self._bridge.make(portion, code)
                await asyncio.sleep(0)
        except BaseException:
            for future in made:
                future.cancel()
            raise
        return made


def _settle(call: Call, problem: Exception) -> None:
    if isinstance(call.mark, _Far):
        call.mark.set_exception(problem)
        call.mark = None


async def gather(awaited: Iterable[Awaitable[T]], *, return_exceptions: bool = False) -> list[Any]:
    """The results of futures, in their order; as `asyncio.gather`."""
    waited = list(awaited)
    if not all(isinstance(future, AsyncFuture) for future in waited):
        return list(await asyncio.gather(*waited, return_exceptions=return_exceptions))
    futures = cast(list[AsyncFuture[T]], waited)
    left = {future: None for future in futures if not future.done()}
    failed = None if return_exceptions else next(filter(_has_failed, futures), None)
    over = asyncio.get_running_loop().create_future()

    def ended(future: AsyncFuture[T]) -> None:
        nonlocal failed
        del left[future]
        if not return_exceptions and _has_failed(future):  # Of those behind the first, asyncio is not to complain.
            failed = failed or future
        if not over.done() and (failed is not None or not left):
            over.set_result(None)

    for future in left:
        future.listeners = (*future.listeners, ended)
    if left and failed is None:
        try:
            await over
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    if failed is not None:
        failed.result()
    return [_error_of(future) or future.result() if return_exceptions else future.result() for future in futures]


async def as_completed(
    awaited: Iterable[AsyncFuture[T]], timeout_s: float | None = None
) -> AsyncGenerator[AsyncFuture[T], None]:
    """The futures as they end, the first first.

    Raises:
        TimeoutError: not all have ended after so many seconds.
    """
    waited = dict.fromkeys(awaited)
    ended = deque(future for future in waited if future.done())
    loop = asyncio.get_running_loop()
    until = None if timeout_s is None else loop.time() + timeout_s
    news = asyncio.Event()

    def end(future: AsyncFuture[T]) -> None:
        ended.append(future)
        news.set()

    for future in waited:
        if not future.done():
            future.listeners = (*future.listeners, end)
    for _ in range(len(waited)):
        if not ended:
            news.clear()
            async with asyncio.timeout_at(until):
                await news.wait()
        yield ended.popleft()


def _has_failed(future: AsyncFuture[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)


def _error_of(future: AsyncFuture[Any]) -> BaseException | None:
    return asyncio.CancelledError() if future.cancelled() else future.exception()
