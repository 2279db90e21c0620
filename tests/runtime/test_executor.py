"""Tasks in real processes: input, results, reuse of processes, and what one task may not do to the next."""

import os
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest

from meshflow.core.records import State
from meshflow.models.action import Action
from meshflow.models.task_data import MultiTaskData, TaskData
from meshflow.tasks.bash_task import BashTask
from meshflow.tasks.python_task import PythonTask
from tests.runtime.executor_bench import NODE_NAME, WORKFLOW, ExecutorBench, data_of, is_alive

# Tasks are called with data, store, signal and context.
Given = Any
MakeBench = Callable[..., ExecutorBench]


def pid_of(bench: ExecutorBench, **options: Any) -> int:
    """The process that runs the next task."""

    def tell(data: Given, *_: Given) -> None:
        data["pid"] = os.getpid()

    pid: int = data_of(bench.run(tell, **options))["pid"]
    return pid


# --- input and result ---


def test_a_task_hands_on_its_data_with_its_name_in_the_history(bench: ExecutorBench) -> None:
    def double(data: Given, *_: Given) -> None:
        data["x"] *= 2

    ended = bench.run(double, inputs=[("parent", None, {"x": 21})])

    assert ended.state is State.COMPLETED
    assert data_of(ended) == {"x": 42}
    assert ended.limit is None
    assert ended.value.size_bytes == len(ended.value.inline)
    assert 0 < ended.started_at <= ended.ended_at


def test_the_limit_of_an_action_comes_back_as_names(bench: ExecutorBench) -> None:
    class Side(StrEnum):
        MIDDLE = "middle"

    def choose(data: Given, *_: Given) -> Action:
        return Action(data, limit=["left", PythonTask("right"), Side.MIDDLE])

    assert bench.run(choose).limit == ("left", "right", "middle")


def test_inputs_are_composed_in_order_with_their_slots(bench: ExecutorBench) -> None:
    def join(data: Given, *_: Given) -> None:
        data["seen"] = [data["x"], data("b")["x"], data("slot")["x"]]

    ended = bench.run(join, inputs=[("a", None, {"x": 1}), ("b", "slot", {"x": 2})])

    assert data_of(ended)["seen"] == [1, 2, 2]


def test_the_first_task_of_a_sub_dag_gets_the_data_it_was_started_with(bench: ExecutorBench) -> None:
    def read(data: Given, *_: Given) -> None:
        data["seen"] = data("origin")["x"]

    initial = MultiTaskData(dataset=TaskData({"x": 7}), aliases=["origin"])

    assert data_of(bench.run(read, initial=initial))["seen"] == 7


def test_a_task_without_input_gets_one_empty_dataset_and_its_surroundings(bench: ExecutorBench) -> None:
    def look(data: Given, _store: Given, _signal: Given, context: Given) -> None:
        data["context"] = context.to_dict()
        data["own name"] = "work" in data._aliases

    assert data_of(bench.run(look)) == {
        "own name": True,
        "context": {
            "task_name": "work",
            "dag_name": "main:1",
            "workflow_name": "flow",
            "workflow_id": WORKFLOW,
            "worker_hostname": NODE_NAME,
        },
    }


def test_megabytes_go_there_and_back(bench: ExecutorBench) -> None:
    def turn(data: Given, *_: Given) -> None:
        data["blob"] = data["blob"][::-1]

    blob = bytes(range(256)) * 40_000

    assert data_of(bench.run(turn, inputs=[("a", None, {"blob": blob})]))["blob"] == blob[::-1]


def test_every_attempt_gets_a_task_object_of_its_own(bench: ExecutorBench) -> None:
    seen: list[int] = []

    def count(data: Given, *_: Given) -> None:
        seen.append(1)
        data["count"] = len(seen)

    task = PythonTask("count", count)

    assert [data_of(bench.run(task))["count"] for _ in range(3)] == [1, 1, 1]


# --- processes ---


def test_a_process_is_used_again(bench: ExecutorBench) -> None:
    assert pid_of(bench) == pid_of(bench)


def test_tasks_at_the_same_time_have_processes_of_their_own(bench: ExecutorBench) -> None:
    def meet(data: Given, store: Given, signal: Given, context: Given) -> None:
        data["pid"] = os.getpid()
        signal.join_dags([])

    attempts = [bench.start(meet) for _ in range(3)]
    bench.until(lambda: len({each.attempt for each in bench.signals} & set(attempts)) == 3)
    assert not set(attempts) & set(bench.ends)
    for each in bench.signals:
        bench.executor.answer(each.attempt, each.call, None)

    pids = {data_of(bench.end(attempt))["pid"] for attempt in attempts}
    assert len(pids) == 3
    assert pids <= set(bench.executor.process_ids)


def test_warm_processes_are_there_before_the_first_task_and_are_replaced_when_lost(make_bench: MakeBench) -> None:
    bench = make_bench()

    def die(*_: Given) -> None:
        os._exit(1)

    bench.executor.warm(2)
    assert len({pid_of(bench), *bench.executor.process_ids}) == 2

    bench.run(die)
    for _ in range(1000):  # Further tasks, until the replacement has been heard of.
        pid_of(bench)
        if len(bench.executor.process_ids) == 2:
            return
    raise AssertionError("the process was not replaced")


def test_idle_processes_end_down_to_the_warm_ones(make_bench: MakeBench) -> None:
    bench = make_bench(idle_s=0.01)
    bench.executor.warm(1)

    def wait(_data: Given, _store: Given, signal: Given, _context: Given) -> None:
        signal.join_dags([])

    attempts = [bench.start(wait) for _ in range(3)]
    bench.until(lambda: len(bench.signals) == 3)
    first, *others = bench.executor.process_ids
    for each in bench.signals:
        bench.executor.answer(each.attempt, each.call, None)
    for attempt in attempts:
        bench.end(attempt)

    alive = [first, *others]
    while len(alive) > 1:
        bench.until_gone(*alive)
        alive = [pid for pid in alive if is_alive(pid)]
    assert pid_of(bench) == alive[0]


def test_a_process_is_replaced_after_so_many_tasks(make_bench: MakeBench) -> None:
    bench = make_bench(max_tasks_per_process=2)

    pids = [pid_of(bench) for _ in range(4)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_code_beyond_the_limit_is_forgotten_and_sent_again(make_bench: MakeBench) -> None:
    bench = make_bench(max_code_bytes=3000)
    ballast = "x" * 2000

    def one(data: Given, *_: Given) -> None:
        data["is"] = len(ballast) + 1

    def two(data: Given, *_: Given) -> None:
        data["is"] = len(ballast) + 2

    tasks = [PythonTask("one", one), PythonTask("two", two)]

    assert [data_of(bench.run(task))["is"] for task in tasks * 3] == [2001, 2002] * 3


def test_a_task_process_takes_less_than_30_megabytes(make_bench: MakeBench) -> None:
    pid = pid_of(make_bench())

    with open(f"/proc/{pid}/status") as file:
        resident = next(line for line in file if line.startswith("VmRSS:"))

    assert int(resident.split()[1]) < 30 * 1024


def test_a_task_process_has_nothing_of_its_node_or_of_other_tasks(make_bench: MakeBench) -> None:
    def look(data: Given, *_: Given) -> None:
        import signal

        links = [f"/proc/self/fd/{fileno}" for fileno in range(100)]
        kinds = [os.readlink(link).partition(":")[0] for link in links if os.path.lexists(link)]
        data["descriptors"] = sorted(kinds)
        data["arguments"] = sys.argv
        data["handler"] = signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
        with open("/proc/self/oom_score_adj") as file:
            data["is first to go for want of memory"] = int(file.read()) > 0

    assert data_of(make_bench().run(look)) == {
        "descriptors": ["/dev/null", "pipe", "pipe", "socket", "socket"],
        "arguments": ["meshflow-task"],
        "handler": True,
        "is first to go for want of memory": True,
    }


def test_a_process_that_can_never_be_started_fails_its_task_with_the_reason(
    make_bench: MakeBench, monkeypatch: Any
) -> None:
    bench = make_bench()

    def refuse(*_: object) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr("socket.socketpair", refuse)

    ended = bench.run(lambda *_: None, timeout_s=60.0)

    assert ended.state is State.FAILED
    assert ended.reason == "the task process could not be started: [Errno 13] Permission denied"


# --- one task and the next ---


def test_the_next_task_finds_the_surroundings_as_they_were(bench: ExecutorBench) -> None:
    def look(data: Given, *_: Given) -> None:
        import signal

        os.umask(umask := os.umask(0))
        data["seen"] = (
            os.getcwd(),
            dict(os.environ),
            list(sys.path),
            umask,
            str(signal.getsignal(signal.SIGTERM)),
            str(signal.getsignal(signal.SIGINT)),
            signal.getitimer(signal.ITIMER_REAL),
            os.getpid(),
        )
        print("heard")

    def disturb(*_: Given) -> None:
        import io
        import signal

        os.chdir("/")
        os.environ["MESHFLOW_TEST"] = "was here"
        del os.environ["PATH"]
        sys.path.insert(0, "/nowhere")
        os.umask(0o777)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 100.0)
        sys.stdout.close()
        sys.stderr = io.StringIO()

    first = bench.run(look)
    assert bench.run(disturb).reason == ""
    attempt = bench.start(look)

    assert data_of(bench.end(attempt)) == data_of(first)
    assert bench.printed(attempt) == "heard\n"


def test_a_folder_that_was_removed_does_not_hurt_the_next_task(bench: ExecutorBench) -> None:
    def saw(*_: Given) -> None:
        import tempfile

        os.chdir(folder := tempfile.mkdtemp())
        os.rmdir(folder)

    assert bench.run(saw).reason == ""
    assert bench.run(lambda *_: None).reason == ""


def test_what_a_task_left_running_goes_on_and_its_process_is_not_used_again(bench: ExecutorBench) -> None:
    attempt = bench.start(BashTask("serve", "sleep 60 >/dev/null 2>&1 & echo $!; echo $PPID"))
    assert bench.end(attempt).state is State.COMPLETED
    left, task_process = map(int, bench.printed(attempt).split())

    bench.until_gone(task_process)
    bench.run(lambda *_: os._exit(9))  # Another process that dies takes its own along, and nothing else.

    assert pid_of(bench) != task_process
    assert is_alive(left)


def test_what_tasks_left_running_ends_with_the_executor(make_bench: MakeBench) -> None:
    bench = make_bench()
    attempt = bench.start(BashTask("serve", "setsid sleep 60 >/dev/null 2>&1 & echo $!"))
    bench.end(attempt)
    left = int(bench.printed(attempt))
    assert is_alive(left)

    bench.close()

    assert not is_alive(left)


def test_a_closed_stream_costs_the_process_but_not_the_next_task_its_output(bench: ExecutorBench) -> None:
    def hush(*_: Given) -> None:
        os.close(1)

    assert bench.run(hush).reason == ""
    attempt = bench.start(lambda *_: print("heard"))

    bench.end(attempt)
    assert bench.printed(attempt) == "heard\n"


@pytest.mark.parametrize("grace_s", [0.0, 5.0])
def test_close_finishes_what_runs(make_bench: MakeBench, grace_s: float) -> None:
    bench = make_bench()

    def wait(*_: Given) -> None:
        import threading

        print(os.getpid())
        threading.Event().wait()

    attempt = bench.start(wait)
    (pid,) = map(int, bench.until_printed(attempt))

    bench.close(grace_s)

    assert bench.ends[attempt].reason == "the node was stopped"
    assert not is_alive(pid)
    assert bench.executor.process_ids == ()
