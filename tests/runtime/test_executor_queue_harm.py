"""Jobs that were given to a task process ahead when that is killed, dies, or lies; stops, timeouts, descriptors."""

import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshflow import wire
from meshflow.core.records import State
from meshflow.core.requests import GetField
from meshflow.ids import RunId
from meshflow.runtime.pipes import StoreAsked, TaskEnded, pack
from tests.runtime.executor_bench import PATIENCE_S, ExecutorBench, data_of
from tests.runtime.queueing import held, hold, let_go, pids_of, stop, tell, turn

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]

LARGE = bytes(range(256)) * 12 * 1024


def parent_of(pid: int) -> int:
    """The process id of its parent."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


# --- kills and deaths ---


def test_a_queued_task_that_is_killed_fails_without_having_run_and_the_others_go_on(single: ExecutorBench) -> None:
    holder = held(single)
    first, second, third = [single.start(lambda *_: print("ran")) for _ in range(3)]

    single.executor.kill(second, "cancelled", 30.0)

    ended = single.end(second)
    assert (ended.state, ended.reason) == (State.FAILED, "cancelled")
    assert 0 < ended.started_at <= ended.ended_at
    let_go(single, holder)
    for attempt in (holder.attempt, first, third):
        assert single.end(attempt).state is State.COMPLETED
    assert [single.printed(attempt) for attempt in (first, second, third)] == ["ran\n", "", "ran\n"]


@pytest.mark.parametrize("stubbornness", ["obeys", "goes on to its end"])
def test_what_is_queued_behind_a_task_that_is_killed_runs_elsewhere(single: ExecutorBench, stubbornness: str) -> None:
    def wait(*_: Given) -> None:
        import threading

        told = threading.Event()
        if stubbornness != "obeys":
            signal.signal(signal.SIGTERM, lambda *_: told.set())
        print(os.getpid())
        told.wait()

    attempt = single.start(wait)
    others = [single.start(tell) for _ in range(5)]
    (pid,) = map(int, single.until_printed(attempt))

    single.executor.kill(attempt, "cancelled", 30.0)

    assert pid not in pids_of(single, others)
    assert single.end(attempt).reason == "cancelled"


def test_nothing_new_is_given_to_a_process_whose_task_is_about_to_be_killed(
    single: ExecutorBench, tmp_path: Path
) -> None:
    """The kill hears of the end of the task before, upon which there is room for another in that very process."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    listening = os.open(ready, os.O_RDONLY | os.O_NONBLOCK)

    def stubborn(*_: Given) -> None:
        import threading

        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: told.set())
        ready.write_bytes(b"!")
        told.wait()

    assert single.still_works()
    before = single.start(tell)
    attempt = single.start(stubborn)
    others = [single.start(tell) for _ in range(100)]
    assert select.select([listening], [], [], PATIENCE_S)[0]  # The node hears nothing in the meantime.
    os.close(listening)

    single.executor.kill(attempt, "cancelled", 30.0)

    assert single.end(before).state is State.COMPLETED
    assert single.end(attempt).reason == "cancelled"
    assert len(set(pids_of(single, others))) == 1


@pytest.mark.parametrize("death", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_the_death_of_a_process_fails_the_task_that_ran_and_no_other(
    single: ExecutorBench, death: Callable[[], None]
) -> None:
    attempts = []
    for number in range(30):

        def work(*_: Given, number: int = number) -> None:
            print(number)
            if number % 10 == 5:
                death()

        attempts.append(single.start(work))

    states = [single.end(attempt).state for attempt in attempts]
    assert [number for number, state in enumerate(states) if state is State.FAILED] == [5, 15, 25]
    assert [single.printed(attempt) for attempt in attempts] == [f"{number}\n" for number in range(30)]


def test_a_process_that_dies_before_it_begins_loses_no_job(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.warm(1)
    bench.executor.resize(1)
    (pid,) = pids_of(bench, [bench.start(tell)])
    stop(pid)
    attempts = [bench.start(tell) for _ in range(5)]

    os.kill(pid, signal.SIGKILL)

    assert pid not in pids_of(bench, attempts)


def test_a_job_fails_when_three_processes_have_died_before_they_began_it(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    bench.executor.resize(1)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        attempts = [bench.start(tell) for _ in range(3)]
        ends = [bench.end(attempt) for attempt in attempts]

    reason = "the task process was lost with the process that starts them, which exited with code 1"
    assert [(ended.state, ended.reason) for ended in ends] == [(State.FAILED, reason)] * 3
    assert bench.still_works()


def test_the_death_of_the_template_fails_only_what_runs(single: ExecutorBench) -> None:
    (pid,) = pids_of(single, [single.start(tell)])
    holder = held(single)
    attempts = [single.start(tell) for _ in range(5)]

    os.kill(parent_of(pid), signal.SIGKILL)

    assert single.end(holder.attempt).state is State.FAILED
    assert len(set(pids_of(single, attempts))) == 1


def test_close_finishes_what_is_queued_exactly_once(single: ExecutorBench) -> None:
    holder = held(single)
    attempts = [single.start(tell) for _ in range(50)]

    single.close()

    # That each is finished but once is seen by the bench.
    assert {single.ends[attempt].reason for attempt in (holder.attempt, *attempts)} == {"the node was stopped"}


def test_jobs_that_cannot_be_handed_over_wait_until_they_can_be(
    single: ExecutorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert single.still_works()

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    single.executor.resize(0)
    attempts = [single.start(tell, inputs=[("a", None, {"blob": LARGE[:20_000]})]) for _ in range(100)]
    with monkeypatch.context() as broken:
        broken.setattr(os, "memfd_create", refuse)
        single.executor.resize(1)
    assert {single.end(attempt).state for attempt in attempts} == {State.COMPLETED}


# --- stops and timeouts ---


def test_a_stop_told_to_a_queued_task_is_seen_by_that_task_alone(single: ExecutorBench) -> None:
    def look(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        data["is told"] = bool(select.select([signal.stop_fileno()], [], [], 0.1)[0])

    holder = held(single)
    attempts = [single.start(look) for _ in range(4)]
    single.executor.tell_stopping(attempts[1])
    single.executor.recall([attempts[0]])  # The others are given anew, and the notice with them.
    let_go(single, holder)

    told = [data_of(single.end(attempt))["is told"] for attempt in attempts[1:]]
    assert told == [True, False, False]


def test_the_time_in_the_queue_is_not_part_of_a_timeout(single: ExecutorBench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, late_s = single.loop.time, [0.0]
    monkeypatch.setattr(single.loop, "time", lambda: clock() + late_s[0])
    holder = held(single)
    first, second = single.start(tell, timeout_s=60.0), single.start(hold, timeout_s=60.0)
    late_s[0] += 3600.0
    turn(single)

    let_go(single, holder)
    single.until(lambda: len(single.signals) == 2)
    assert single.end(first).state is State.COMPLETED
    assert second not in single.ends

    late_s[0] += 61.0
    assert single.end(second).reason == "ran longer than its timeout of 60 s"


def test_a_job_that_an_idle_process_did_not_take_has_no_timeout_any_more_when_it_is_taken_back(
    single: ExecutorBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, late_s = single.loop.time, [0.0]
    monkeypatch.setattr(single.loop, "time", lambda: clock() + late_s[0])
    (pid,) = pids_of(single, [single.start(tell)])
    stop(pid)
    attempt = single.start(tell, timeout_s=60.0)

    single.executor.resize(0)
    late_s[0] += 61.0
    turn(single)

    assert attempt not in single.ends
    os.kill(pid, signal.SIGCONT)
    single.executor.resize(1)
    assert single.end(attempt).state is State.COMPLETED


# --- hostile tasks ---


def hostile() -> dict[str, Callable[..., None]]:
    """What a task may do with the sockets of its process."""

    def use(kind: int, act: Callable[[socket.socket], object]) -> None:
        for fileno in range(3, 20):
            if os.path.exists(f"/proc/self/fd/{fileno}") and stat.S_ISSOCK(os.fstat(fileno).st_mode):
                with socket.socket(fileno=os.dup(fileno)) as own:
                    if own.type == kind:
                        act(own)

    def garbage() -> None:
        use(socket.SOCK_STREAM, lambda talk: talk.sendall(b"\x00nonsense"))

    def speak_early() -> None:
        end = pack(TaskEnded(1, State.COMPLETED, b"", None, "", 1.0, 2.0, False))
        use(socket.SOCK_STREAM, lambda talk: talk.sendall(end))

    def flood() -> None:
        data = pack(StoreAsked(10**6, 1, wire.encode(GetField(RunId("0" * 24), "data", "x")))) * 100
        while True:
            use(socket.SOCK_STREAM, lambda talk: talk.sendall(data))

    def steal() -> None:
        use(socket.SOCK_SEQPACKET, lambda jobs: [jobs.recv(100_000) for _ in range(2)])

    return {"garbage": garbage, "speak early": speak_early, "flood": flood, "steal": steal}


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("garbage", "the task process sent what it should not: not a frame"),
        ("flood", "ran longer than its timeout of 0.5 s"),
    ],
)
def test_a_hostile_task_harms_none_of_those_behind_it(single: ExecutorBench, harm: str, reason: str) -> None:
    do_harm = hostile()[harm]

    def go_wrong(*_: Given) -> None:
        import threading

        print(os.getpid())
        do_harm()
        threading.Event().wait()

    first = single.start(go_wrong, timeout_s=0.5 if harm == "flood" else None)
    attempts = []
    for number in range(40):

        def say(data: Given, *_: Given, number: int = number) -> None:
            data["pid"] = os.getpid()
            print(number)

        attempts.append(single.start(say))

    assert single.end(first).reason.startswith(reason)
    assert single.printed(first).strip() not in map(str, pids_of(single, attempts))
    assert [single.printed(attempt) for attempt in attempts] == [f"{number}\n" for number in range(40)]


@pytest.mark.parametrize(
    ("harm", "problem"), [("garbage", "not a frame"), ("speak early", "a TaskEnded at the wrong time")]
)
def test_behind_a_hostile_task_that_goes_on_only_those_fail_that_began_before_it_was_noticed(
    single: ExecutorBench, harm: str, problem: str
) -> None:
    do_harm = hostile()[harm]
    attempts = [single.start(each) for each in (lambda *_: do_harm(), *[lambda *_: print("ran")] * 100)]

    ends = [single.end(attempt) for attempt in attempts[1:]]

    states = [ended.state for ended in ends]
    failed_count = states.count(State.FAILED)
    assert failed_count <= 33
    assert states == [State.FAILED] * failed_count + [State.COMPLETED] * (100 - failed_count)
    for ended in ends[:failed_count]:
        assert ended.reason.startswith(f"the task process sent what it should not: {problem}")
    assert {single.printed(attempt) for attempt in attempts[1 + failed_count :]} == {"ran\n"}


def test_what_a_task_has_stolen_from_the_queue_fails_and_the_rest_runs(single: ExecutorBench) -> None:
    take_two = hostile()["steal"]

    def steal(*_: Given) -> None:
        take_two()
        os._exit(1)

    attempts = [single.start(each) for each in (steal, *[tell] * 10)]

    ends = [single.end(attempt) for attempt in attempts]
    assert [ended.reason for ended in ends[:3]] == ["the task process exited with code 1"] * 3
    assert {ended.state for ended in ends[3:]} == {State.COMPLETED}


# --- the node itself ---


def test_many_tasks_and_crashes_leave_no_descriptor_behind(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.executor.warm(2)
    bench.executor.resize(2)
    assert bench.still_works()
    before = len(os.listdir("/proc/self/fd"))
    attempts = []
    for number in range(500):

        def work(*_: Given, number: int = number) -> None:
            if number % 25 == 7:
                os._exit(1)
            if number % 3 == 0:
                print("x" * (number * 100))

        blob = LARGE[:100_000] if number % 5 == 0 else b""
        attempts.append(bench.start(work, inputs=[("a", None, {"blob": blob})]))

    states = [bench.end(attempt).state for attempt in attempts]

    assert states.count(State.FAILED) == 20
    assert bench.still_works()
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_node_is_never_blocked_by_a_process_that_takes_nothing(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets are full then, in both directions."""
    bench = make_bench()
    bench.executor.warm(1)
    bench.executor.resize(1)
    (pid,) = pids_of(bench, [bench.start(tell)])
    stop(pid)
    attempts = [bench.start(tell, inputs=[("a", None, {"blob": LARGE[:15_000]})]) for _ in range(100)]
    for _number in range(10_000):
        bench.executor.tell_stopping(attempts[0])
    turn(bench)

    recalled = bench.executor.recall(attempts[1:])

    assert recalled == attempts[1:]
    os.kill(pid, signal.SIGCONT)
    assert pids_of(bench, attempts[:1]) == [pid]
