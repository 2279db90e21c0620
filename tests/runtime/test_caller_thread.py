"""The thread of a program that calls, without any node: every future is settled, whatever happens."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from meshflow import caller_thread
from meshflow.call_future import CallFuture
from meshflow.caller_thread import CallerThread, CallFailed
from meshflow.core.calling import Call, Function
from meshflow.core.ended import Ended
from meshflow.core.leasing import Feed
from meshflow.core.requests import WriteOutput
from meshflow.ids import NodeId, RunId
from meshflow.models.calls import Callee, dump_arguments, dump_function
from meshflow.runtime.keys import make_key
from meshflow.runtime.transport.settings import TransportSettings

ABS = Function("abs", "abs")


def call(number: int = 1) -> tuple[Call, CallFuture[Any]]:
    made = Call(ABS, dump_arguments((number,)))
    future: CallFuture[Any] = CallFuture(made)
    made.mark = future
    return made, future


def no_seeds() -> list[str]:
    return []


@pytest.fixture
def start() -> Iterator[Callable[..., CallerThread]]:
    """Starts a thread; all are closed after the test."""
    started: list[CallerThread] = []

    def begin(seeds: Callable[[], list[str]] = no_seeds) -> CallerThread:
        key = make_key()
        started.append(CallerThread(NodeId("client"), lambda: [key], seeds, [], TransportSettings()))
        return started[-1]

    yield begin
    for thread in started:
        thread.close()


def test_calls_that_wait_fail_when_the_client_is_closed(start: Callable[..., CallerThread]) -> None:
    thread = start()
    made, future = call()
    thread.make([made], b"")
    thread.close()
    with pytest.raises(CallFailed, match="was closed"):
        future.result(5.0)


def test_calls_that_come_after_the_close_fail_at_once(start: Callable[..., CallerThread]) -> None:
    thread = start()
    thread.close()
    made, future = call()
    thread.make([made], b"")
    with pytest.raises(CallFailed, match="was closed"):
        future.result(0.0)
    thread.end([made])
    thread.close()


def test_calls_that_wait_are_cancelled(start: Callable[..., CallerThread]) -> None:
    thread = start()
    made, future = call()
    thread.make([made], b"")
    thread.end([made])
    thread.end([made])
    with pytest.raises(CancelledError):
        future.result(5.0)
    assert future.cancelled()


def test_the_client_may_be_closed_by_the_callback_of_a_future(start: Callable[..., CallerThread]) -> None:
    thread = start()
    made, future = call()
    told: Future[None] = Future()

    def close(_: object) -> None:
        thread.close()
        told.set_result(None)

    future.add_done_callback(close)
    thread.make([made], b"")
    thread.end([made])
    told.result(5.0)
    thread._thread.join(5.0)
    assert not thread._thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_if_the_thread_fails_no_call_hangs(start: Callable[..., CallerThread], monkeypatch: pytest.MonkeyPatch) -> None:
    thread = start()
    monkeypatch.setattr(thread._caller, "flush", lambda now: 1 / 0)
    made, future = call()
    thread.make([made], b"")
    with pytest.raises(CallFailed):
        future.result(5.0)
    late, too_late = call()
    thread._thread.join(5.0)
    thread.make([late], b"")
    with pytest.raises(CallFailed):
        too_late.result(0.0)


def test_a_program_whose_mesh_does_not_answer_is_told_once(
    start: Callable[..., CallerThread], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller_thread, "_WARN_AFTER", 2)
    monkeypatch.setattr(caller_thread, "_ASK_S", 0.01)
    asked = threading.Semaphore(0)

    def seeds() -> list[str]:
        asked.release()
        return ["127.0.0.1:1"]

    with caplog.at_level(logging.WARNING, "meshflow.calls"):
        thread = start(seeds)
        thread.make([call()[0]], b"")
        for _ in range(20):
            assert asked.acquire(timeout=5.0)
    assert len([message for message in caplog.messages if "no node answers" in message]) == 1
    assert len([message for message in caplog.messages if "queue 'task'" in message]) == 1


class Settled:
    """A thread that is closed, so that what it delivers can be seen from here."""

    def __init__(self, thread: CallerThread) -> None:
        thread.close()
        self.thread = thread

    def deliver(self, ended: Ended) -> None:
        self.thread._caller.ended.append(ended)
        self.thread._deliver()


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x90", b"\x91\x05"], ids=["nothing", "no msgpack", "none", "a number"]
)
def test_results_that_make_no_sense_fail_their_calls_only(start: Callable[..., CallerThread], value: bytes) -> None:
    settled = Settled(start())
    made, future = call()
    settled.deliver(Ended((made,), value))
    with pytest.raises(CallFailed, match="damaged"):
        future.result(0.0)


def test_a_future_that_was_settled_by_another_is_left_alone(start: Callable[..., CallerThread]) -> None:
    settled = Settled(start())
    made, future = call(-3)
    future.set_result(7)
    settled.deliver(Ended((made,), results=tuple(Callee(dump_function(abs)[1]).run([dump_arguments((-3,))]))))
    assert future.result() == 7


def test_what_is_printed_goes_where_the_program_prints(
    start: Callable[..., CallerThread], capsys: pytest.CaptureFixture[str]
) -> None:
    settled = Settled(start())
    for stream in ("stdout", "stderr"):
        settled.thread._caller.printed.append(WriteOutput(RunId("r"), "t", 1, stream, 0, stream.encode()))
    settled.thread._deliver()
    settled.thread._deliver()
    assert capsys.readouterr() == ("stdout", "stderr")


def test_a_program_without_streams_loses_what_is_printed_and_no_more(
    start: Callable[..., CallerThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = Settled(start())
    monkeypatch.setattr("sys.stdout", None)
    settled.thread._caller.printed.append(WriteOutput(RunId("r"), "t", 1, "stdout", 0, b"x"))
    settled.thread._deliver()
    assert settled.thread._caller.printed == []


def test_what_a_lease_cannot_be_fed_does_not_end_the_thread(
    start: Callable[..., CallerThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the program has no descriptors left."""
    thread = Settled(start()).thread
    made, _ = call()
    told: list[int] = []

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(thread._door, "feed", refuse)
    monkeypatch.setattr(thread._door, "hang_up", told.append)
    monkeypatch.setattr(thread._caller.leasing, "broke", told.append)
    thread._perform([Feed(5, 1, (made,), b"")])
    assert told == [5, 5]
