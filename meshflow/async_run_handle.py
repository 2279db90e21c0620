"""One workflow run, as programs see it that run in an event loop; what it is made of is that of `RunHandle`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from meshflow.core.records import RunRecord, State
from meshflow.follow import News
from meshflow.ids import RunId
from meshflow.printed import Line
from meshflow.queue.models import JobEvent
from meshflow.references import WaitTimeout
from meshflow.run_handle import RunHandle
from meshflow.run_view import RunView

if TYPE_CHECKING:
    from meshflow.async_client import AsyncClient


class AsyncRunHandle:
    """One workflow run; see `RunHandle`."""

    def __init__(self, client: "AsyncClient", handle: RunHandle) -> None:
        self._client = client
        self._handle = handle

    @property
    def id(self) -> RunId:
        """The run id: 24 hex digits."""
        return self._handle.id

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self._handle.name

    async def record(self) -> RunRecord:
        """What the store says of the run now; it may lag a moment behind the run."""
        return await self._client.perform(lambda: self._handle.record)

    async def state(self) -> State:
        """The state of the run now."""
        return (await self.record()).state

    async def view(self) -> RunView:
        """The run as its logs have it now, with its dag runs and tasks."""
        return await self._client.perform(self._handle.view)

    async def wait(self, timeout_s: float | None = None) -> State:
        """Wait for the end of the run; its final state. None: for as long as it takes.

        Raises:
            WaitTimeout: the time is over; the run goes on.
        """
        try:
            async with asyncio.timeout(timeout_s):
                record = await asyncio.wrap_future(self._client.waits.wait(self.id))
        except TimeoutError:
            raise WaitTimeout(f"run {self.id} did not end within {timeout_s:g} s; it goes on") from None
        return record.state

    async def result(self, task: str, dag: str | None = None) -> Any:
        """What a task that has ended has handed on; as `RunHandle.result`."""
        return await self._client.perform(partial(self._handle.result, task, dag))

    async def results(self, timeout_s: float | None = None, *, return_exceptions: bool = False) -> list[Any]:
        """Of a run that `map_durable` has started: what each call returned; as `RunHandle.results`."""
        await self.wait(timeout_s)
        return await self._client.perform(partial(self._handle.results, return_exceptions=return_exceptions))

    async def events(self, *, follow: bool = True) -> AsyncIterator[JobEvent]:
        """What happened to the run and its jobs, from the beginning. With `follow`, until the run ends."""
        if not follow:
            for event in await self._client.perform(lambda: list(self._handle.events(follow=False))):
                yield event
            return
        async with aclosing(self._followed(with_output=False)) as told:
            async for news in told:
                if isinstance(news, JobEvent):
                    yield news

    async def logs(
        self, *, follow: bool = False, task: str | None = None, attempt: int | None = None
    ) -> AsyncIterator[Line]:
        """What the tasks printed, line by line. With `follow`, until the run ends."""
        if not follow:
            for line in await self._client.perform(lambda: list(self._handle.logs(task=task, attempt=attempt))):
                yield line
            return
        async with aclosing(self._followed(with_output=True)) as told:
            async for news in told:
                if isinstance(news, Line) and task in (None, news.task) and attempt in (None, news.attempt):
                    yield news

    def _followed(self, *, with_output: bool) -> AsyncGenerator[News, None]:
        return self._client.listen(lambda mesh: self._handle.follow(with_output=with_output, mesh=mesh))

    async def stop(self, reason: str = "") -> bool:
        """End the run gently; as `RunHandle.stop`."""
        return await self._client.perform(partial(self._handle.stop, reason))

    async def cancel(self, reason: str = "") -> bool:
        """End the run at once; as `RunHandle.cancel`."""
        return await self._client.perform(partial(self._handle.cancel, reason))

    async def retry(self, *, rerun_at_most_once: bool = False) -> "AsyncRunHandle":
        """Run again what did not complete, and what hangs on it, as a new run; as `Client.retry`."""
        retry = partial(self._handle.retry, rerun_at_most_once=rerun_at_most_once)
        return AsyncRunHandle(self._client, await self._client.perform(retry))
