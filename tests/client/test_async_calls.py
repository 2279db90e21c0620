"""Futures of an event loop, with a maker of calls that does what it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from meshflow.async_calls import AsyncCalling, AsyncFuture, Bridge, as_completed, gather
from meshflow.calls import CallOptions
from meshflow.core.calling import Call


class FakeMaker:
    """Keeps what it is handed."""

    def __init__(self) -> None:
        self.made: list[Sequence[Call]] = []
        self.ended: list[Call] = []

    def make(self, calls: Sequence[Call], code: bytes) -> None:
        self.made.append(calls)

    def end(self, calls: Sequence[Call]) -> None:
        self.ended += calls

    def close(self) -> None:
        for calls in self.made:
            for call in calls:
                settle(call, RuntimeError("closed"))

    @property
    def calls(self) -> list[Call]:
        return [call for calls in self.made for call in calls]


def settle(call: Call, outcome: Any) -> None:
    mark: Any = call.mark
    call.mark = None
    if mark is None:
        return
    if isinstance(outcome, BaseException):
        mark.set_exception(outcome)
    else:
        mark.set_result(outcome)


Act = Callable[[AsyncCalling, FakeMaker], Awaitable[None]]


def run(act: Act) -> list[dict[str, Any]]:
    """What asyncio complains of in the end."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        maker = FakeMaker()
        bridge = Bridge(loop, lambda: maker)
        await act(AsyncCalling(bridge, CallOptions()), maker)
        bridge.close()
        await asyncio.sleep(0)

    asyncio.run(main())
    return complaints


def test_calls_of_one_turn_go_together_but_for_the_first_which_goes_at_once() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        futures = [calling.submit(abs, number) for number in range(300)]
        assert [len(calls) for calls in maker.made] == [1, 128, 128]
        await asyncio.sleep(0)
        assert [len(calls) for calls in maker.made] == [1, 128, 128, 43]
        calling.submit(abs, 1)
        assert len(maker.made) == 5
        for number, call in enumerate(maker.calls):
            settle(call, number)
        assert await gather(futures) == list(range(300))

    assert run(act) == []


def test_what_goes_together_is_of_one_function_and_in_order() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        for function in (abs, abs, abs, len, len, abs):
            calling.submit(function, ())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        names = [[call.function.name for call in calls] for calls in maker.made]
        assert names == [["abs"], ["abs", "abs"], ["len", "len"], ["abs"]]

    run(act)


def test_who_submits_while_the_client_is_closed_hears_of_it() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        first, second = calling.submit(abs, 1), calling.submit(abs, 2)
        calling._bridge.close()
        with pytest.raises(RuntimeError, match="closed"):
            calling.submit(abs, 3)
        for future in (first, second):
            with pytest.raises(RuntimeError, match="closed"):
                await future

    assert run(act) == []


def test_the_first_error_is_raised_at_once_and_of_others_nobody_complains() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        long, bad, worse = (calling.submit(abs, number) for number in range(3))
        gathering = asyncio.ensure_future(gather([long, bad, worse]))
        await asyncio.sleep(0)
        settle(maker.calls[1], ValueError("bad"))
        with pytest.raises(ValueError, match="bad"):
            await gathering
        assert not long.done()
        settle(maker.calls[2], ValueError("worse"))
        settle(maker.calls[0], 7)
        assert await long == 7

    assert run(act) == []


def test_errors_stand_in_the_place_of_results_if_that_is_wanted() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        futures = [calling.submit(abs, number) for number in range(3)]
        gathering = asyncio.ensure_future(gather([*futures, futures[0]], return_exceptions=True))
        await asyncio.sleep(0)
        error = ValueError("bad")
        futures[2].cancel()
        settle(maker.calls[1], error)
        settle(maker.calls[0], 5)
        found = await gathering
        assert found[:2] == [5, error]
        assert isinstance(found[2], asyncio.CancelledError)
        assert found[3] == 5

    assert run(act) == []


def test_one_that_is_cancelled_cancels_who_gathers_and_not_the_others() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        first, second = (calling.submit(abs, number) for number in range(2))
        gathering = asyncio.ensure_future(gather([first, second]))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gathering
        assert (len(maker.ended), second.done()) == (1, False)

    assert run(act) == []


def test_other_awaitables_are_gathered_too() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        future = calling.submit(abs, 1)
        settle(maker.calls[0], 1)
        assert await gather([future, asyncio.sleep(0, 2)]) == [1, 2]
        assert await gather([]) == []

    assert run(act) == []


def test_futures_come_as_they_end_those_that_have_ended_first() -> None:
    async def act(calling: AsyncCalling, maker: FakeMaker) -> None:
        futures: list[AsyncFuture[int]] = [calling.submit(abs, number) for number in range(4)]
        await asyncio.sleep(0)
        settle(maker.calls[2], 2)
        await futures[2]
        told: list[AsyncFuture[int]] = []
        async for future in as_completed(futures):
            told.append(future)
            if len(told) == 1:
                settle(maker.calls[3], 3)
            if len(told) == 2:
                futures[0].cancel()
                settle(maker.calls[1], 1)
        assert told == [futures[2], futures[3], futures[0], futures[1]]
        with pytest.raises(TimeoutError):
            await anext(as_completed([calling.submit(abs, 5)], 0.0))

    assert run(act) == []
