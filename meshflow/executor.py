"""The mesh as a `concurrent.futures.Executor`: for programs, and libraries, that know how to use one.

    with meshflow.Executor() as executor:
        print(list(executor.map(math.factorial, range(10))))

It promises what CPython's `ProcessPoolExecutor` does, and is tested with CPython's own tests. It differs where a mesh
can do better:

1. More can be sent: lambdas, closures, functions of a script or a notebook.
2. A call that ends its process fails by itself, with a `BrokenProcessPool`. The executor is not broken: other calls go
   on, and new ones are accepted. Only an initializer that fails breaks it.
3. Short calls travel together by themselves. A `chunksize` is accepted and not needed.

A `_Pool` stands between who submits and the thread that makes calls. It does not know its `Executor`: when that is
forgotten without a `shutdown`, what was submitted is still done, and then all that was opened is closed.
"""

import atexit
import logging
import os
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

from meshflow.call_future import CallFuture
from meshflow.call_maker import CallMaker
from meshflow.caller_thread import CallFailed
from meshflow.calls import CallOptions, Calls
from meshflow.client import Client
from meshflow.core.calling import Call
from meshflow.errors import PickleFailed
from meshflow.local_mesh import open_client
from meshflow.models.initializer import Initialized, InitializerFailed, dump_initargs

P = ParamSpec("P")
T = TypeVar("T")

_LOG = logging.getLogger("concurrent.futures")
"""Not ours: it is where those who use executors look for an initializer that failed."""


class CallBroke(CallFailed, BrokenProcessPool):
    """A call came to no result, most often because its process ended. The executor is still of use."""


class Executor(futures.Executor):
    """Makes calls on a mesh, as processes of this host are used by a `ProcessPoolExecutor`."""

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        client: Client | None = None,
        connect: str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        queue: str = "task",
        priority: int = 0,
        timeout_s: float | None = None,
        at_most_once: bool = False,
    ) -> None:
        """The mesh is that of `client`; else of the node at `connect` (`host:port`); else the one that the
        configuration names or that runs on this host. If there is none at all, a local one is started, which ends with
        the executor.

        `max_workers` bounds how many calls run at a time; a local mesh has as many slots. None: as many as the mesh
        takes, or a slot for each core.

        `initializer` is called with `initargs` once in each task process, before the first call of this executor there.
        If both it and a function come from a script or a notebook, it is called once for each such function, which has
        its globals to itself. `queue`, `priority`, `timeout_s` and `at_most_once` are those of `calls.CallOptions`.

        Raises:
            NoMesh: no node answers at `connect`, or where the configuration says.
            WrongKey: one is there and refuses the key of this client.
            NodeDidNotStart: there is no mesh, and none could be started.
            PickleFailed: `initargs` cannot be pickled.
        """
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, not {initializer!r}")
        self._options = CallOptions(queue, priority, timeout_s, at_most_once)
        self._initializer = initializer
        self._initargs = b"" if initializer is None else dump_initargs(initargs)
        self._name = secrets.token_hex(8)
        with ExitStack() as opened:
            is_local = False
            if client is None:
                client, is_local = open_client(opened, connect, slots=max_workers, queues=[queue])
            maker = client.mesh.hire(None if is_local else max_workers)
            opened.callback(maker.close)
            slots = sum(member.slots for member in client.mesh.living() if queue in member.queues)
            self._max_workers = max_workers or max(1, slots)  # Libraries look at it, such as dask.
            self._pool = pool = _Pool(maker, self._max_workers, opened.pop_all())
        self._calls = Calls(lambda: pool, partial(_Outcome, pool))
        weakref.finalize(self, pool.shut_down, wait=False).atexit = False

    @property
    def _broken(self) -> str:
        """Why nothing can be submitted any more; empty if it can. A name that is known from CPython's pools."""
        return self._pool.broken

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Have a call made. An argument that cannot be pickled becomes the error of the future.

        Raises:
            RuntimeError: the executor was shut down.
            BrokenExecutor: its initializer failed.
        """
        self._pool.check()
        try:
            return self._calls.submit(self._options, self._prepared(fn), args, kwargs)
        except PickleFailed as problem:
            failed: futures.Future[T] = futures.Future()
            failed.set_exception(problem)
            return failed

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """The results of a call for each row of the iterables, in order. All are submitted at once; when one fails, or
        the iterator is closed, those that have not begun are cancelled.

        Raises:
            ValueError: `chunksize` is less than 1.
            TimeoutError: from the iterator: a result is not there `timeout` seconds after this was called.
            PickleFailed: an argument cannot be pickled; no call is made.
            RuntimeError, BrokenExecutor: as `submit`.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        until = None if timeout is None else time.monotonic() + timeout
        self._pool.check()
        return _in_order(
            deque(self._calls.map(self._options, self._prepared(fn), zip(*iterables, strict=False))), until
        )

    def _prepared(self, function: Callable[..., T]) -> Callable[..., T]:
        if self._initializer is None:
            return function
        return Initialized(self._name, self._initializer, self._initargs, function)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more calls, and close what was opened once all are done. With `wait`, wait for that. With
        `cancel_futures`, cancel those that wait behind the first `max_workers`. A client that was given stays open."""
        self._pool.shut_down(wait=wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Wait for all calls and shut down. A program that is interrupted does not wait: it ends them."""
        if kind is not None and not issubclass(kind, Exception):
            self._pool.end_all()
        self.shutdown()


class _Pool:
    """The calls of one executor: a `CallMaker` in front of another, which knows what is to be waited for."""

    def __init__(self, maker: CallMaker, max_workers: int, opened: ExitStack) -> None:
        self.broken = ""
        """Why no more calls are made; empty if they are."""
        self._maker = maker
        self._max_workers = max_workers
        self._opened = opened
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._pending: dict[Call, CallFuture[Any]] = {}
        self._pid = os.getpid()
        self._is_shut = False
        self._is_done = threading.Event()
        # After the maker's, which ends all calls: the last that was registered goes first.
        atexit.register(self.shut_down)

    def check(self) -> None:
        """Raise what `submit` raises if nothing can be submitted."""
        if self.broken:
            raise futures.BrokenExecutor(self.broken)
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def make(self, calls: Sequence[Call], code: bytes) -> None:
        """Have calls made."""
        with self._lock:
            self.check()
            outcomes = [call.mark for call in calls if isinstance(call.mark, CallFuture)]
            self._pending.update(zip(calls, outcomes, strict=True))
        try:
            self._maker.make(calls, code)
        except BaseException:
            self._forget(calls)
            raise
        for outcome in outcomes:
            outcome.add_done_callback(self._ended)

    def end(self, calls: Sequence[Call]) -> None:
        """End calls, even if they run."""
        self._maker.end(calls)

    def close(self) -> None:
        """Nothing: `shut_down` closes the maker, when its work is done."""

    def _ended(self, outcome: futures.Future[Any]) -> None:
        assert isinstance(outcome, CallFuture)
        self._forget([outcome.call])

    def _forget(self, calls: Sequence[Call]) -> None:
        with self._lock:
            for call in calls:
                self._pending.pop(call, None)
            if self._is_shut and not self._pending:
                self._is_done.set()

    def break_down(self, problem: InitializerFailed) -> None:
        """Have all calls fail: their processes cannot be made ready."""
        if self.broken:
            return
        _LOG.critical("Exception in initializer", exc_info=problem)
        with self._lock:
            self.broken = str(problem)
            left = dict(self._pending)
        for outcome in left.values():
            with suppress(futures.InvalidStateError):
                outcome.set_exception(problem)
        self._maker.end(list(left))

    def shut_down(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        """As `Executor.shutdown`. Without `wait`, a thread closes what is open, and the program does not end before."""
        if os.getpid() != self._pid:
            return  # A fork has neither the calls nor what is to be closed.
        with self._lock:
            self._is_shut = True
            left = list(self._pending.values())
            if not left:
                self._is_done.set()
        # The first run, or are about to: it takes a moment until a node says that there is room.
        for outcome in left[self._max_workers :] if cancel_futures else ():
            outcome.cancel()
        if wait or not threading.main_thread().is_alive():  # A program that ends can start no threads.
            self._finish()
        else:
            threading.Thread(target=self._finish, name="meshflow-executor").start()

    def end_all(self) -> None:
        """End all calls, also those that run."""
        self._maker.end(list(self._pending))

    def _finish(self) -> None:
        try:
            self._is_done.wait()
        except KeyboardInterrupt:
            self.end_all()
            raise
        with self._closing:
            self._opened.close()
        atexit.unregister(self.shut_down)


class _Outcome(CallFuture[Any]):
    """The future of a call: its errors are those that users of executors know."""

    def __init__(self, pool: _Pool, call: Call) -> None:
        super().__init__(call)
        self._pool = pool

    def set_exception(self, exception: BaseException | None) -> None:
        """Fail with an error, or with what the users of executors know in its place."""
        if isinstance(exception, InitializerFailed):
            broken = futures.BrokenExecutor(str(exception))
            broken.__cause__ = exception
            super().set_exception(broken)
            self._pool.break_down(exception)
        elif isinstance(exception, CallFailed):
            super().set_exception(CallBroke(exception.message))
        else:
            super().set_exception(exception)


def _in_order(waiting: deque[CallFuture[T]], until: float | None) -> Iterator[T]:
    try:
        while waiting:
            # In a function, so that nothing here holds on to what was handed out.
            yield _result(waiting.popleft(), until)
    finally:
        for each in waiting:
            each.cancel()


def _result(outcome: CallFuture[T], until: float | None) -> T:
    try:
        return outcome.result(None if until is None else until - time.monotonic())
    finally:
        outcome.cancel()
