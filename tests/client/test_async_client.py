"""`meshflow.AsyncClient` on a local mesh: the verbs of the client, and that the loop is never held up."""

import asyncio
import gc
import os
import select
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import meshflow
from meshflow import task, workflow
from meshflow.async_calls import AsyncFuture
from meshflow.async_client import AsyncClient
from meshflow.client import Client
from meshflow.core.records import State
from meshflow.mesh import NoMesh
from meshflow.references import WaitTimeout

pytestmark = pytest.mark.system

T = TypeVar("T")

EXAMPLES = Path(meshflow.__file__).parent / "examples"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with meshflow.local(3) as client:
        yield client


@pytest.fixture
def run(client: Client) -> Callable[[Callable[[AsyncClient], Awaitable[T]]], T]:
    """Runs a coroutine function with a client."""

    def run(act: Callable[[AsyncClient], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with AsyncClient(client=client) as mine:
                return await act(mine)

        return asyncio.run(opened())

    return run


PATIENCE_S = 20.0

Run = Callable[[Callable[[AsyncClient], Awaitable[None]]], None]


def add(x: int, *, y: int) -> int:
    return x + y


async def longest_pause(seconds: float) -> float:
    """How long the loop was held up at most, within so many seconds; not by a machine that is busy with others."""
    loop = asyncio.get_running_loop()
    longest, until = 0.0, loop.time() + seconds
    while (before := loop.time()) < until:
        starved_s = seconds_without_core()
        await asyncio.sleep(0.001)
        longest = max(longest, loop.time() - before - (seconds_without_core() - starved_s))
    return longest


def seconds_without_core() -> float:
    """How long threads of this process have waited for a core, together."""
    waits = [int(each.read_text().split()[1]) for each in Path("/proc/self/task").glob("*/schedstat")]
    return sum(waits) / 1e9


def test_calls_are_awaited(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        assert await client.submit(pow, 2, 10) == 1024
        assert await client.submit(add, 1, y=2) == 3
        assert await client.gather(await client.map(lambda x: x * x, range(1000))) == [x * x for x in range(1000)]
        assert await client.options(priority=3).submit(os.getpid) != os.getpid()

    run(act)


def test_calls_that_go_on_without_the_client_have_their_results_in_the_run(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        started = await client.map_durable(pow, range(3), [2] * 3, name="squares")
        assert (started.name, await started.results(30.0)) == ("squares", [0, 1, 4])

    run(act)


def test_an_error_is_raised_where_it_is_awaited(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        with pytest.raises(ZeroDivisionError):
            await client.submit(divmod, 1, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await client.submit(next, iter(()))
        futures = [client.submit(add, 1, y=number) for number in (2, "2")]  # type: ignore[arg-type]
        results: list[object] = list(await client.gather(futures, return_exceptions=True))
        assert [type(result) for result in results] == [int, TypeError]

    run(act)


def test_futures_are_told_of_as_they_end(run: Run, tmp_path: Path) -> None:
    pipes = [tmp_path / name for name in "abc"]
    for pipe in pipes:
        os.mkfifo(pipe)
    order = [pipes[1], pipes[2], pipes[0]]

    async def act(client: AsyncClient) -> None:
        futures = await client.map(Path.read_text, pipes)
        told = []
        writes = iter(order)
        await asyncio.to_thread(next(writes).write_text, "b")
        async for future in client.as_completed(futures):
            told.append(future.result())
            if (pipe := next(writes, None)) is not None:
                await asyncio.to_thread(pipe.write_text, pipe.name)
        assert told == ["b", "c", "a"]
        with pytest.raises(TimeoutError):
            async for _ in client.as_completed([client.submit(time.sleep, 5)], timeout_s=0.05):
                pass

    run(act)


@pytest.mark.parametrize("way", ["future", "task", "timeout", "client", "gather"])
def test_who_gives_up_a_call_ends_it(run: Run, tmp_path: Path, way: str) -> None:
    """Its process is ended, however long it would have gone on."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)

    def work() -> None:
        with begun.open("w") as told:
            told.write(f"{os.getpid()}\n")
        threading.Event().wait()

    async def give_up(client: AsyncClient, future: AsyncFuture[None]) -> None:
        if way == "future":
            future.cancel()
        elif way == "client":
            client.cancel([future])
        elif way == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.01)
        else:
            waiting = asyncio.ensure_future(client.gather([future]) if way == "gather" else waiter(future))
            await asyncio.sleep(0)  # it begins to wait
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    async def waiter(future: AsyncFuture[None]) -> None:
        await future

    async def act(client: AsyncClient) -> None:
        future = client.submit(work)
        process = os.pidfd_open(int(await asyncio.to_thread(begun.read_text)))
        await give_up(client, future)
        assert future.cancelled()
        assert not future.cancel()
        gone, _, _ = await asyncio.to_thread(select.select, [process], [], [], PATIENCE_S)
        os.close(process)
        assert gone

    run(act)


def test_the_loop_is_not_held_up_by_many_calls(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        await client.submit(abs, 1)
        pause = asyncio.create_task(longest_pause(0.5))
        await client.gather(await client.map(abs, range(10_000)))
        assert await pause < 0.4

    run(act)


@task
def square(number: int) -> int:
    return number * number


@workflow
def squaring(number: int) -> None:
    square(number)


def test_a_workflow_is_submitted_awaited_and_read(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        handle = await client.submit(EXAMPLES / "simple.py", keep_data=True)
        pause = asyncio.create_task(longest_pause(0.3))
        events = [event async for event in handle.events()]
        assert await handle.wait() is State.COMPLETED
        assert await pause < 0.25
        assert events[-1].word == "succeeded"
        assert events == [event async for event in handle.events(follow=False)]
        lines = [line.text async for line in handle.logs(follow=True)]
        assert lines[-1] == "The value is: 5"
        assert lines == [line.text async for line in handle.logs()]
        assert [line.text async for line in handle.logs(follow=True, task="print_task")] == lines[-1:]
        assert (await handle.result("put_task"))["value"] == 5
        assert (await client.run(handle.id)).name == "simple"
        decorated = await client.submit(squaring, {"number": "3"}, keep_data=True)
        assert await decorated.wait() is State.COMPLETED
        assert await decorated.result("square") == 9
        assert [record.run for record in await client.runs(limit=1)] == [decorated.id]
        assert (await handle.view()).task_count == 2
        assert await handle.stop() is False

    run(act)


def test_the_events_of_all_runs(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        told = client.events()
        first = asyncio.ensure_future(anext(told))
        submitted = []
        while not first.done():  # What happened before it listened, it does not hear.
            handle = await client.submit(EXAMPLES / "simple.py")
            submitted.append(handle.id)
            await handle.wait()
        assert first.result().workflow_id in submitted

    run(act)


def test_a_run_that_takes_longer_than_one_wants_to_wait_goes_on_and_is_cancelled(run: Run, tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(
        "import time\nfrom meshflow.models import Dag\nfrom meshflow.tasks import PythonTask\n"
        "def sleep(data, store, signal, context):\n    time.sleep(60)\n"
        "d = Dag('d')\nd.define({PythonTask(name='t', callback=sleep): None})\n"
    )

    async def act(client: AsyncClient) -> None:
        handle = await client.submit(script)
        with pytest.raises(WaitTimeout):
            await handle.wait(0.2)
        assert not (await handle.state()).is_final
        waiting = asyncio.create_task(handle.wait())
        await handle.cancel()
        assert (await waiting).is_final

    run(act)


def test_nodes(run: Run) -> None:
    async def act(client: AsyncClient) -> None:
        assert [report.state for report in await client.nodes()] == ["alive"]

    run(act)


def test_it_may_be_awaited_and_closed_by_hand_and_is_of_no_use_before_and_after(client: Client) -> None:
    async def act() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        mine = AsyncClient(client=client)
        with pytest.raises(RuntimeError, match="not open"):
            mine.submit(abs, 1)
        assert await mine is mine
        future = mine.submit(time.sleep, 60)
        forgotten = mine.submit(time.sleep, 60)
        await mine.close()
        del forgotten
        gc.collect()
        assert not complaints
        with pytest.raises(meshflow.MeshflowError, match="closed"):
            await future
        with pytest.raises(RuntimeError, match="not open"):
            await mine.nodes()
        await mine.close()

    asyncio.run(act())


def test_without_a_mesh_it_cannot_be_opened() -> None:
    async def act() -> None:
        async with AsyncClient(connect="127.0.0.1:1"):
            pass

    with pytest.raises(NoMesh):
        asyncio.run(act())
