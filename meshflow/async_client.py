"""The client for programs that run in an event loop: the verbs of `Client`, none of which holds up the loop.

    async with AsyncClient() as client:
        print(await client.submit(math.factorial, 20))
        async for future in client.as_completed(await client.map(fetch, urls)):
            print(future.result())

Invariants:
1. The connection to the mesh belongs to one thread, which does one thing after the other. Who follows a run has a
   connection and a thread to itself for as long; all who wait for ends share one (`waits.py`).
2. A run goes on, whoever waits for it; who gives up a call ends it (`async_calls.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, overload

from meshflow.async_calls import AsyncCalling, AsyncFuture, Bridge, as_completed, gather
from meshflow.async_run_handle import AsyncRunHandle
from meshflow.calls import CallOptions
from meshflow.client import Client
from meshflow.config import Config
from meshflow.core.records import RunRecord
from meshflow.follow import News
from meshflow.following import FollowingAll, Listening
from meshflow.mesh import Mesh, NodeReport
from meshflow.models.workflow import Workflow
from meshflow.models.workflow_function import WorkflowFunction
from meshflow.queue.models import JobEvent
from meshflow.references import LAST
from meshflow.waits import Waits

P = ParamSpec("P")
T = TypeVar("T")

_NOT_OPEN = "this client is not open: use it in `async with`, or await it"


class AsyncClient:
    """A way into a mesh, for one event loop: to be used in `async with`, or awaited and closed by hand."""

    def __init__(
        self, config: Config | None = None, connect: str | None = None, *, client: Client | None = None
    ) -> None:
        """As for `Client`. `client` is one whose mesh is meant; it stays open, and may be used meanwhile."""
        self._config = config
        self._connect = connect
        self._given = client
        self._thread: ThreadPoolExecutor | None = None
        self._client: Client | None = None
        self._bridge: Bridge | None = None
        self._waits: Waits | None = None

    def __await__(self) -> Generator[Any, None, "AsyncClient"]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> "AsyncClient":
        self._thread = ThreadPoolExecutor(1, "meshflow-async")
        try:
            self._client, self._bridge, self._waits = await self.perform(
                partial(self._open, asyncio.get_running_loop())
            )
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def _open(self, loop: asyncio.AbstractEventLoop) -> tuple[Client, Bridge, Waits]:
        given = self._given
        if given is None:
            client = Client(self._config, self._connect)
        else:
            client = Client(given.config, mesh=given.mesh.another())
        return client, Bridge(loop, client.mesh.hire), Waits(client.mesh.another)

    async def close(self) -> None:
        """Leave the mesh. Runs go on; calls that have not ended are ended."""
        client, bridge, waits, thread = self._client, self._bridge, self._waits, self._thread
        self._client = self._bridge = self._waits = None
        if client is not None and bridge is not None and waits is not None and thread is not None:
            bridge.hand_over()
            await self.perform(bridge.close)
            await self.perform(waits.close)
            await self.perform(client.close)
            thread.shutdown(wait=False)

    # --- functions ---

    @property
    def calling(self) -> AsyncCalling:
        """Submits functions as this client does without further options."""
        if self._bridge is None:
            raise RuntimeError(_NOT_OPEN)
        return AsyncCalling(self._bridge, CallOptions())

    def options(self, **changes: Any) -> AsyncCalling:
        """What submits functions with these options, the fields of `calls.CallOptions`."""
        return self.calling.options(**changes)

    @overload
    def submit(  # type: ignore[overload-overlap]  # A decorated workflow can be called too: it counts as workflow.
        self,
        workflow: str | Path | Workflow | WorkflowFunction[...],
        /,
        arguments: Mapping[str, Any] | None = None,
        *,
        queue: str = "workflow",
        keep_data: bool = False,
    ) -> Awaitable[AsyncRunHandle]: ...

    @overload
    def submit(self, workflow: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> AsyncFuture[T]: ...

    def submit(self, workflow: Any, /, *arguments: Any, **keywords: Any) -> Any:
        """Hand a workflow or a function to the mesh; as `Client.submit`.

        A workflow is handed over when this is awaited, and what is awaited is the handle of its run. A function is
        called at once, whether or not somebody awaits its future.
        """
        if isinstance(workflow, str | Path | Workflow | WorkflowFunction):
            return self._submit_workflow(workflow, *arguments, **keywords)
        return self.calling.submit(workflow, *arguments, **keywords)

    async def _submit_workflow(
        self, workflow: str | Path | Workflow | WorkflowFunction[...], *arguments: Any, **keywords: Any
    ) -> AsyncRunHandle:
        submitted = await self.perform(partial(self._opened.submit, workflow, *arguments, **keywords))
        return AsyncRunHandle(self, submitted)

    async def map(self, function: Callable[..., T], /, *iterables: Iterable[Any]) -> list[AsyncFuture[T]]:
        """Call a function for each element, or for each row of several iterables, the shortest of which counts. Its
        future for each call, in order, once all are handed over; the loop has its turn meanwhile."""
        return await self.calling.map(function, *iterables)

    async def map_durable(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], **options: Any
    ) -> AsyncRunHandle:
        """Call a function for each element as a run, which goes on without this client; as `Client.map_durable`."""
        start = partial(self._opened.map_durable, function, *iterables, **options)
        return AsyncRunHandle(self, await self.perform(start))

    async def gather(self, futures: Iterable[Awaitable[T]], *, return_exceptions: bool = False) -> list[T]:
        """The results of futures, in their order; as `asyncio.gather`. With `return_exceptions`, errors stand in the
        place of results."""
        return await gather(futures, return_exceptions=return_exceptions)

    def as_completed(
        self, futures: Iterable[AsyncFuture[T]], timeout_s: float | None = None
    ) -> AsyncGenerator[AsyncFuture[T], None]:
        """The futures as they end, the first first; as `async_calls.as_completed`."""
        return as_completed(futures, timeout_s)

    def cancel(self, futures: Iterable[AsyncFuture[Any]]) -> None:
        """End calls, even those that run."""
        for future in futures:
            future.cancel()

    # --- runs and nodes ---

    async def run(self, reference: str = LAST) -> AsyncRunHandle:
        """The run that is meant; as `Client.run`."""
        return AsyncRunHandle(self, await self.perform(partial(self._opened.run, reference)))

    async def retry(self, run: str | AsyncRunHandle, *, rerun_at_most_once: bool = False) -> AsyncRunHandle:
        """Run again what did not complete of a run, as a new run; as `Client.retry`."""
        handle = run if isinstance(run, AsyncRunHandle) else await self.run(run)
        return await handle.retry(rerun_at_most_once=rerun_at_most_once)

    async def runs(
        self, *, is_open: bool | None = None, workflow: str | None = None, limit: int | None = None
    ) -> list[RunRecord]:
        """Workflow runs, newest first; as `Client.runs`."""
        return await self.perform(partial(self._opened.runs, is_open=is_open, workflow=workflow, limit=limit))

    async def nodes(self) -> list[NodeReport]:
        """The nodes of the mesh and what each is doing now."""
        return await self.perform(self._opened.nodes)

    async def stop_node(self, reference: str) -> bool:
        """Drain a node; as `Client.stop_node`."""
        return await self.perform(partial(self._opened.stop_node, reference))

    async def events(self) -> AsyncIterator[JobEvent]:
        """What happens to all runs from now on, without end."""
        async with aclosing(self.listen(FollowingAll)) as told:
            async for news in told:
                if isinstance(news, JobEvent):
                    yield news

    async def listen(self, start: Callable[[Mesh], Listening]) -> AsyncGenerator[News, None]:
        """What those tell who are started on a connection, and in a thread, of their own; to be closed."""
        mesh = await self.perform(self._opened.mesh.another)
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "meshflow-follow")
        try:
            listening = await loop.run_in_executor(thread, start, mesh)
            while not listening.is_done:
                for news in await loop.run_in_executor(thread, listening.step):
                    yield news
        finally:
            thread.submit(mesh.close)
            thread.shutdown(wait=False)

    @property
    def waits(self) -> Waits:
        """The ends of runs that are waited for."""
        if self._waits is None:
            raise RuntimeError(_NOT_OPEN)
        return self._waits

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise RuntimeError(_NOT_OPEN)
        return self._client

    async def perform(self, act: Callable[[], T]) -> T:
        """What a function returns that uses the connection, called in the thread to which that belongs."""
        assert self._thread is not None
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)
