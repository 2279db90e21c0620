"""`meshflow.Executor` beyond CPython's tests, on a local mesh: which mesh it takes, and where it differs."""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import pytest

import meshflow
from meshflow.client import Client
from meshflow.errors import PickleFailed, UsageError
from meshflow.executor import Executor
from meshflow.mesh import NoMesh

pytestmark = pytest.mark.system

STATE = "not ready"


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.fixture(scope="module", autouse=True)
def nothing_runs_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No mesh of this host is found."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MESHFLOW_RUNTIME_DIR", "MESHFLOW_STATE_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("none")))
        patch.delenv("MESHFLOW_CONNECT", raising=False)
        yield


@pytest.fixture(scope="module")
def client(nothing_runs_here: None) -> Iterator[Client]:
    with meshflow.local(3) as client:
        yield client


def test_without_any_mesh_a_local_one_lives_as_long_as_the_executor() -> None:
    with Executor(2) as executor:
        pids = set(executor.map(pid_after, [0.05] * 8))
        assert 1 <= len(pids) <= 2
        assert os.getpid() not in pids
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, -1)


def test_a_mesh_that_was_asked_for_and_is_not_there_is_not_replaced_by_a_local_one() -> None:
    with pytest.raises(NoMesh):
        Executor(connect="127.0.0.1:1")


def test_a_given_client_stays_open(client: Client) -> None:
    with Executor(client=client) as executor:
        assert executor.submit(abs, -1).result() == 1
        assert executor._max_workers == 3
    assert client.submit(abs, -2).result() == 2


def test_no_more_calls_run_at_a_time_than_max_workers(client: Client, tmp_path: Path) -> None:
    def count_running(_: int) -> int:
        mine = tmp_path / str(os.getpid())
        mine.touch()
        time.sleep(0.05)
        running = len(list(tmp_path.iterdir()))
        mine.unlink()
        return running

    with Executor(2, client=client) as executor:
        assert max(executor.map(count_running, range(8))) <= 2
    with Executor(client=client) as executor:
        assert max(executor.map(count_running, range(12))) == 3


def test_a_call_that_ends_its_process_fails_and_nothing_else_does(client: Client) -> None:
    with Executor(client=client) as executor:
        others = [executor.submit(time.sleep, 0.1) for _ in range(4)]
        with pytest.raises(BrokenProcessPool, match="exited with code 7"):
            executor.submit(os._exit, 7).result()
        assert [each.result() for each in others] == [None] * 4
        assert executor.submit(abs, -1).result() == 1


def test_the_traceback_of_the_task_process_is_the_cause_of_an_error(client: Client) -> None:
    with Executor(client=client) as executor:
        error = executor.submit(lambda: 1 // 0).exception()  # here
    assert isinstance(error, ZeroDivisionError)
    assert "1 // 0" in str(error.__cause__)


def test_what_cannot_be_pickled_is_the_error_of_submit_s_future_and_of_map_at_once(client: Client) -> None:
    lock = threading.Lock()
    with Executor(client=client) as executor:
        assert isinstance(executor.submit(id, lock).exception(), PickleFailed)
        with pytest.raises(PickleFailed):
            executor.map(id, [1, 2, lock])


def test_an_initializer_runs_once_in_each_process_and_its_globals_are_seen(client: Client, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def ready(state: str) -> None:
        global STATE
        STATE = state
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def get() -> tuple[str, int]:
        return STATE, os.getpid()

    with Executor(client=client, initializer=ready, initargs=("ready",)) as executor:
        found = [each.result() for each in [executor.submit(get) for _ in range(20)]]
    assert {state for state, _ in found} == {"ready"}
    pids = log.read_text().split()
    assert sorted(pids) == sorted({str(pid) for _, pid in found})


def test_two_executors_have_an_initializer_each(client: Client) -> None:
    def ready(state: str) -> None:
        global STATE
        STATE = state

    def get() -> str:
        return STATE

    with (
        Executor(client=client, initializer=ready, initargs=("one",)) as one,
        Executor(client=client, initializer=ready, initargs=("two",)) as two,
    ):
        states = [executor.submit(get).result() for executor in (one, two, one, two)]
    assert states == ["one", "two", "one", "two"]


@pytest.mark.filterwarnings("ignore")
def test_an_initializer_that_fails_breaks_the_executor(client: Client) -> None:
    def fail() -> None:
        raise KeyError("key")

    with Executor(1, client=client, initializer=fail) as executor:
        outcomes = [executor.submit(abs, -1) for _ in range(5)]
        for outcome in outcomes:
            with pytest.raises(futures.BrokenExecutor, match="KeyError: 'key'"):
                outcome.result()
        with pytest.raises(futures.BrokenExecutor, match="KeyError: 'key'"):
            executor.submit(abs, -1)
    assert client.submit(abs, -1).result() == 1


def test_results_of_map_come_as_they_are_asked_for_and_closing_it_cancels_the_rest(
    client: Client, tmp_path: Path
) -> None:
    def leave_mark(number: int) -> int:
        time.sleep(0.05)
        (tmp_path / str(number)).touch()
        return number

    with Executor(1, client=client) as executor, closing(executor.map(leave_mark, range(20))) as results:  # type: ignore[type-var]
        assert next(results) == 0
    assert len(list(tmp_path.iterdir())) < 10


def test_a_result_of_map_that_is_late_is_a_timeout(client: Client, tmp_path: Path) -> None:
    os.mkfifo(is_late := tmp_path / "is late")

    def read(path: Path) -> str:
        return path.read_text()

    with Executor(client=client) as executor:
        results = executor.map(read, [Path(os.devnull), is_late], timeout=1.5)
        assert next(results) == ""
        with pytest.raises(TimeoutError):
            next(results)
        is_late.write_text("late")


def test_an_executor_that_is_forgotten_does_what_it_was_given() -> None:
    executor = Executor(1)
    outcome = executor.submit(pid_after, 0.2)
    forgotten = weakref.ref(executor)
    del executor
    assert forgotten() is None
    assert outcome.result(10) != os.getpid()
    for thread in threading.enumerate():
        if thread.name == "meshflow-executor":
            thread.join()


def test_shutdown_without_waiting_ends_when_the_calls_have_ended(client: Client) -> None:
    executor = Executor(client=client)
    results = executor.map(abs, range(-5, 5))
    executor.shutdown(wait=False)
    assert list(results) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
    executor.shutdown()


def test_an_interrupted_program_ends_its_calls(client: Client) -> None:
    started_at = time.monotonic()
    outcomes = []

    def work() -> None:
        with Executor(client=client) as executor:
            outcomes.append(executor.submit(time.sleep, 60))
            while not outcomes[0].running():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert time.monotonic() - started_at < 10
    assert isinstance(outcomes[0].exception(), futures.CancelledError)


def test_a_fork_can_neither_use_nor_close_it(client: Client) -> None:
    with Executor(client=client) as executor:
        outcome = executor.submit(time.sleep, 0.3)
        if not (child := os.fork()):
            try:
                with pytest.raises(UsageError, match="forked"):
                    executor.submit(abs, -1)
                executor.shutdown()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert outcome.result() is None


def test_asyncio_runs_functions_in_it(client: Client) -> None:
    async def run() -> int:
        with Executor(client=client) as executor:
            return await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 10)

    assert asyncio.run(run()) == 1024


def test_arguments_that_make_no_sense_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="initializer"):
        Executor(client=client, initializer="ready")  # type: ignore[arg-type]
    with Executor(client=client) as executor, pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [], chunksize=0)
