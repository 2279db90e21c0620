"""What running tasks ask: signals to their run, requests to the store, and being told to stop."""

import os
from collections.abc import Callable
from typing import Any

from meshflow.core.attempts import Attempt
from meshflow.core.records import State
from meshflow.core.requests import ExtendField, GetField, Pickled, Refused, SetFields
from meshflow.models import payload
from meshflow.models.task_data import MultiTaskData, TaskData
from meshflow.tasks.bash_task import BashTask
from tests.runtime.executor_bench import WORKFLOW, ExecutorBench, Signal, data_of

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]


def asked(bench: ExecutorBench, attempt: Attempt) -> Signal:
    """The next signal of an attempt."""
    bench.until(lambda: any(each.attempt == attempt for each in bench.signals))
    found = next(each for each in bench.signals if each.attempt == attempt)
    bench.signals.remove(found)
    return found


# --- signals ---


def test_start_dag_sends_name_and_data_and_returns_the_name_of_the_run(bench: ExecutorBench) -> None:
    def start(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        data["x"] = 1
        data["name"] = signal.start_dag("sub", data=data)

    attempt = bench.start(start)
    signal = asked(bench, attempt)

    assert (signal.action, signal.arguments) == ("start_dag", {"name": "sub"})
    assert signal.data is not None
    assert payload.load_data(signal.data)["x"] == 1
    bench.executor.answer(attempt, signal.call, {"dag_name": "sub:1"})
    assert data_of(bench.end(attempt))["name"] == "sub:1"


def test_start_dag_of_a_stopping_workflow_returns_none(bench: ExecutorBench) -> None:
    def start(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        data["name"] = signal.start_dag("sub")

    attempt = bench.start(start)
    signal = asked(bench, attempt)

    assert signal.data is None
    bench.executor.answer(attempt, signal.call, {"dag_name": None})
    assert data_of(bench.end(attempt)) == {"name": None}


def test_start_dag_of_an_unknown_dag_raises_in_the_task(bench: ExecutorBench) -> None:
    def start(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.start_dag("sub")

    attempt = bench.start(start)
    bench.executor.answer(attempt, asked(bench, attempt).call, None, "no dag 'sub' in workflow 'flow'")

    assert bench.end(attempt).reason.splitlines()[0] == "DagNameUnknown: no dag 'sub' in workflow 'flow'"


def test_join_dags_waits_for_its_answer(bench: ExecutorBench) -> None:
    def join(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        data["joined"] = signal.join_dags(["sub:1"])

    attempt = bench.start(join)
    signal = asked(bench, attempt)
    assert (signal.action, signal.arguments) == ("join_dags", {"names": ["sub:1"]})

    bench.run(lambda *_: None)
    assert attempt not in bench.ends

    bench.executor.answer(attempt, signal.call, {})
    assert data_of(bench.end(attempt)) == {"joined": True}


def test_every_question_gets_its_own_kind_of_answer(bench: ExecutorBench) -> None:
    def ask(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        data["seen"] = [
            signal.is_stopped,
            signal.is_completed("sub:1"),
            signal.stop_dag(),
            signal.stop_dag("sub:1"),
            signal.stop_workflow(),
        ]

    attempt = bench.start(ask)
    actions = []
    for answer in ({"is_stopped": True}, {"is_completed": True}, {}, {}, {}):
        signal = asked(bench, attempt)
        actions.append((signal.action, signal.arguments))
        bench.executor.answer(attempt, signal.call, answer)

    assert data_of(bench.end(attempt))["seen"] == [True] * 5
    assert actions == [
        ("is_dag_stopped", {"dag_name": "main:1"}),
        ("is_dag_completed", {"name": "sub:1"}),
        ("stop_dag", {"name": "main:1"}),
        ("stop_dag", {"name": "sub:1"}),
        ("stop_workflow", {}),
    ]


def test_threads_of_a_task_ask_at_the_same_time_and_each_gets_its_own_answer(bench: ExecutorBench) -> None:
    def ask(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(4) as pool:
            data["names"] = list(pool.map(signal.start_dag, ["a", "b", "c", "d"]))

    attempt = bench.start(ask)
    signals = [asked(bench, attempt) for _ in range(4)]
    for signal in reversed(signals):
        bench.executor.answer(attempt, signal.call, {"dag_name": f"{signal.arguments['name']}:1"})

    assert data_of(bench.end(attempt))["names"] == ["a:1", "b:1", "c:1", "d:1"]


def test_an_answer_to_a_call_that_was_never_made_is_ignored(bench: ExecutorBench) -> None:
    def ask(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        data["is"] = signal.is_stopped

    attempt = bench.start(ask)
    signal = asked(bench, attempt)
    bench.executor.answer(attempt, signal.call + 1, "nonsense")
    bench.executor.answer(attempt, signal.call, {"is_stopped": False})

    assert data_of(bench.end(attempt)) == {"is": False}


def test_an_answer_that_cannot_travel_becomes_a_refusal(bench: ExecutorBench) -> None:
    def ask(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.join_dags()

    attempt = bench.start(ask)
    bench.executor.answer(attempt, asked(bench, attempt).call, object())

    assert bench.end(attempt).reason.startswith("RequestFailed: the answer cannot be handed on")


def test_a_question_that_cannot_travel_raises_in_the_task(bench: ExecutorBench) -> None:
    def ask(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.join_dags([object()])

    assert bench.run(ask).reason.startswith("UsageError: cannot encode")


def test_a_forked_process_cannot_speak_for_its_task(bench: ExecutorBench) -> None:
    def fork(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        reader, writer = os.pipe()
        if os.fork() == 0:
            try:
                signal.stop_workflow()
            except BaseException as problem:
                os.write(writer, type(problem).__name__.encode())
            os._exit(0)
        os.wait()
        data["raised"] = os.read(reader, 100).decode()

    assert data_of(bench.run(fork)) == {"raised": "RequestFailed"}


def test_a_thread_that_a_task_left_cannot_speak_for_the_next_one(bench: ExecutorBench) -> None:
    def leave(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import builtins
        import threading

        def ask_later() -> None:
            started.set()
            resume.wait()
            try:
                signal.stop_workflow()
            except BaseException as problem:
                builtins.left = type(problem).__name__  # type: ignore[attr-defined]
            done.set()

        started, resume, done = threading.Event(), threading.Event(), threading.Event()
        builtins.resume, builtins.done = resume, done  # type: ignore[attr-defined]
        threading.Thread(target=ask_later).start()
        started.wait()

    def look(data: Given, *_: Given) -> None:
        import builtins

        builtins.resume.set()  # type: ignore[attr-defined]
        builtins.done.wait()  # type: ignore[attr-defined]
        data["raised"] = builtins.left  # type: ignore[attr-defined]

    assert bench.run(leave).state is State.COMPLETED
    assert data_of(bench.run(look)) == {"raised": "RequestFailed"}


def test_a_question_left_unanswered_by_the_end_of_its_task_is_given_up(bench: ExecutorBench) -> None:
    def leave(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import builtins
        import threading

        def ask() -> None:
            try:
                signal.join_dags()
            except BaseException as problem:
                builtins.given_up = type(problem).__name__  # type: ignore[attr-defined]

        builtins.asker = threading.Thread(target=ask)  # type: ignore[attr-defined]
        builtins.asker.start()  # type: ignore[attr-defined]
        signal.is_stopped  # noqa: B018

    def look(data: Given, *_: Given) -> None:
        import builtins

        builtins.asker.join()  # type: ignore[attr-defined]
        data["raised"] = builtins.given_up  # type: ignore[attr-defined]

    attempt = bench.start(leave)
    questions = [asked(bench, attempt), asked(bench, attempt)]
    (plain,) = [each for each in questions if each.action == "is_dag_stopped"]
    bench.executor.answer(attempt, plain.call, {"is_stopped": False})
    bench.end(attempt)

    assert data_of(bench.run(look)) == {"raised": "RequestFailed"}


# --- the store ---


def test_store_requests_are_passed_on_and_answered(bench: ExecutorBench) -> None:
    def keep(data: Given, store: Given, *_: Given) -> None:
        store.set("sample.name", "quartz")
        store.push("list", {1, 2})
        data["seen"] = store.get("sample.name"), store.get("missing", "default")

    attempt = bench.start(keep)
    seen = []
    for answer in (True, True, (True, "quartz"), (False, None)):
        bench.until(lambda: bench.requests)
        who, call, request = bench.requests.pop()
        assert who == attempt
        seen.append(request)
        bench.executor.answer(attempt, call, answer)

    assert data_of(bench.end(attempt))["seen"] == ("quartz", "default")
    assert seen[0] == SetFields(WORKFLOW, "data", {"sample.name": "quartz"})
    assert isinstance(seen[1], ExtendField)
    assert isinstance(seen[1].values[0], Pickled)
    assert seen[2:] == [GetField(WORKFLOW, "data", "sample.name"), GetField(WORKFLOW, "data", "missing")]


def test_a_store_that_refuses_or_does_not_answer_raises_in_the_task(bench: ExecutorBench) -> None:
    def keep(data: Given, store: Given, *_: Given) -> None:
        data["raised"] = []
        for _number in range(2):
            try:
                store.set("a.b", 1)
            except Exception as problem:
                data["raised"].append(f"{type(problem).__name__}: {problem}")

    attempt = bench.start(keep)
    for answer, error in ((Refused("'a' is a list"), ""), (None, "the store is away")):
        bench.until(lambda: bench.requests)
        _, call, _ = bench.requests.pop()
        bench.executor.answer(attempt, call, answer, error)

    assert data_of(bench.end(attempt))["raised"] == [
        "DataStoreKeyError: the store refused the key 'a.b': 'a' is a list",
        "StoreUnavailable: the store is away",
    ]


def test_a_task_may_ask_the_store_for_nothing_but_its_document(bench: ExecutorBench) -> None:
    def overreach(_data: Given, store: Given, *_: Given) -> None:
        from meshflow.core.requests import RemoveRun

        store._store(RemoveRun(store._run))

    assert bench.run(overreach).reason.startswith("the task process sent what it should not: cannot decode")
    assert not bench.requests


# --- being told to stop ---


def test_a_task_that_waits_for_something_else_is_woken_by_the_stop(bench: ExecutorBench) -> None:
    def wait(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        watched = signal.stop_fileno()
        data["before"] = select.select([watched], [], [], 0)[0] == []
        print("ready")
        data["after"] = select.select([watched], [], [])[0] == [watched]
        data["stays"] = select.select([watched], [], [], 0)[0] == [watched]

    attempt = bench.start(wait)
    bench.until_printed(attempt)
    bench.executor.tell_stopping(attempt)
    bench.executor.tell_stopping(attempt)

    assert data_of(bench.end(attempt)) == {"before": True, "after": True, "stays": True}


def test_a_task_that_computes_finds_the_stop_when_it_looks(bench: ExecutorBench) -> None:
    def compute(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        print("ready")
        while not select.select([signal.stop_fileno()], [], [], 0)[0]:
            data["rounds"] = sum(range(1000))

    attempt = bench.start(compute)
    bench.until_printed(attempt)
    bench.executor.tell_stopping(attempt)

    assert bench.end(attempt).state is State.COMPLETED


def test_the_stop_of_one_task_is_not_seen_by_the_next(bench: ExecutorBench) -> None:
    def look(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        signal.is_stopped  # noqa: B018
        data["is told"] = select.select([signal.stop_fileno()], [], [], 0)[0] != []
        data["pid"] = os.getpid()

    seen = []
    for is_told in (True, False, True, False):
        attempt = bench.start(look)
        signal = asked(bench, attempt)
        if is_told:
            bench.executor.tell_stopping(attempt)
        bench.executor.answer(attempt, signal.call, {"is_stopped": False})
        seen.append(data_of(bench.end(attempt)))

    assert [each["is told"] for each in seen] == [True, False, True, False]
    assert len({each["pid"] for each in seen}) == 1


def test_a_stop_that_nobody_listens_to_is_not_heard_by_a_later_task(bench: ExecutorBench) -> None:
    def deaf(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        print("ready")
        import sys

        sys.stdin.read()

    def listen(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        import select

        data["is told"] = select.select([signal.stop_fileno()], [], [], 0.05)[0] != []

    attempt = bench.start(deaf)
    bench.executor.tell_stopping(attempt)
    bench.end(attempt)

    assert data_of(bench.run(listen)) == {"is told": False}


def test_a_stop_ends_the_command_of_a_bash_task(bench: ExecutorBench) -> None:
    attempt = bench.start(BashTask("sleep", "echo ready; sleep 60"))
    bench.until_printed(attempt)

    bench.executor.tell_stopping(attempt)

    assert bench.end(attempt).state is State.STOPPED


def test_initial_data_of_a_sub_dag_survives_the_way_through_two_tasks(bench: ExecutorBench) -> None:
    def start(data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.start_dag("sub", data=data)

    def read(data: Given, *_: Given) -> None:
        data["seen"] = data("origin")["x"]

    initial = MultiTaskData(dataset=TaskData({"x": 7}), aliases=["origin"])
    attempt = bench.start(start, initial=initial)
    signal = asked(bench, attempt)
    bench.executor.answer(attempt, signal.call, {"dag_name": "sub:1"})
    assert signal.data is not None

    assert data_of(bench.run(read, initial=payload.load_data(signal.data)))["seen"] == 7
