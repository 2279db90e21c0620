"""joblib, and scikit-learn on top of it, on a mesh of real processes."""

import math
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import meshflow
from meshflow.client import Client
from meshflow.errors import PickleFailed
from meshflow.models.calls import RemoteTraceback

joblib = pytest.importorskip("joblib", minversion="1.5", reason="joblib is not installed")
from joblib import Parallel, delayed, parallel_config  # noqa: E402

import meshflow.joblib_backend  # noqa: E402

pytestmark = pytest.mark.system

LONG_S = 30.0
"""Longer than any of these tests may take."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with meshflow.local(2) as client:
        yield client


@pytest.fixture(autouse=True)
def on_the_mesh(client: Client) -> Iterator[None]:
    with parallel_config("meshflow", client=client):
        yield


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    time.sleep(0 if number < 3 else LONG_S)
    return number


def of_seconds(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def roots(count: int) -> list[float]:
    found: list[float] = Parallel(n_jobs=2)(delayed(math.sqrt)(number) for number in range(count))
    return found


def roots_on_the_mesh(count: int) -> list[float]:
    with parallel_config("meshflow"):
        return roots(count)


def test_results_come_in_order() -> None:
    assert Parallel()(delayed(math.sqrt)(number) for number in range(2000)) == list(map(math.sqrt, range(2000)))


def test_calls_are_made_in_other_processes_unless_one_job_is_asked_for() -> None:
    assert os.getpid() not in Parallel()(delayed(os.getpid)() for _ in range(4))
    assert Parallel(n_jobs=1)([delayed(os.getpid)()]) == [os.getpid()]


def test_an_error_has_the_traceback_from_there_and_ends_the_other_calls() -> None:
    begun_at = time.monotonic()
    with pytest.raises(ValueError, match=r"^three$") as caught:
        Parallel()(delayed(fail_at_three)(number) for number in range(20))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "fail_at_three" in str(caught.value.__cause__)
    assert Parallel()(delayed(abs)(number) for number in (-1, -2)) == [1, 2]
    assert time.monotonic() - begun_at < LONG_S / 2


def test_a_parallel_is_of_use_again_after_an_error() -> None:
    with Parallel() as parallel:
        for _ in range(20):  # What is heard late of the first work must not pass for a part of the second.
            with pytest.raises(TypeError):
                parallel(delayed(abs)(value) for value in "abcdef")
            assert parallel(delayed(abs)(number) for number in (-1, -2)) == [1, 2]


@pytest.mark.parametrize("count", [1, 60])
def test_what_cannot_be_pickled_is_an_error_however_late_it_comes(count: int) -> None:
    with pytest.raises(PickleFailed, match="lock"):
        Parallel()(delayed(str)(value) for value in [*range(count), threading.Lock()])


def test_an_error_of_the_generator_of_calls_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Parallel()(delayed(abs)(1 // (30 - number)) for number in range(60))


@pytest.mark.parametrize("inner", [roots, roots_on_the_mesh])
def test_calls_that_run_in_parallel_themselves_do_not_wait_for_their_own_slots(inner: Any) -> None:
    assert Parallel()(delayed(inner)(5) for _ in range(8)) == [[math.sqrt(number) for number in range(5)]] * 8


def test_results_can_be_had_as_they_come() -> None:
    durations = [0.5, 0.0, 0.0]
    assert list(Parallel(return_as="generator")(delayed(of_seconds)(each) for each in durations)) == durations
    as_they_end = list(Parallel(return_as="generator_unordered")(delayed(of_seconds)(each) for each in durations))
    assert as_they_end == sorted(durations)


@pytest.mark.parametrize("pre_dispatch", ["all", "2 * n_jobs"])
def test_a_parallel_can_draw_from_another(pre_dispatch: str) -> None:
    negated = Parallel(return_as="generator")(delayed(int.__neg__)(number) for number in range(30))
    assert Parallel(pre_dispatch=pre_dispatch)(delayed(abs)(number) for number in negated) == list(range(30))


def test_calls_that_take_longer_than_the_timeout_are_ended() -> None:
    begun_at = time.monotonic()
    with pytest.raises(multiprocessing.TimeoutError):
        Parallel(timeout=0.2)(delayed(time.sleep)(LONG_S) for _ in range(3))
    assert Parallel()(delayed(abs)(number) for number in (-1, -2)) == [1, 2]
    assert time.monotonic() - begun_at < LONG_S / 2


def test_jobs_are_counted_from_the_slots_of_the_mesh() -> None:
    assert [joblib.effective_n_jobs(count) for count in (None, -1, 7, 1)] == [2, 2, 7, 1]
    assert joblib.effective_n_jobs(-2) == 2, "one job would be one in this process"
    with pytest.raises(ValueError, match="n_jobs"):
        Parallel(n_jobs=0)([delayed(abs)(1)])


def test_calls_go_to_the_queue_that_was_asked_for_even_if_one_slot_serves_it() -> None:
    with meshflow.local(1, queues=["gpu"]) as client, parallel_config("meshflow", client=client, queue="gpu"):
        processes = Parallel()(delayed(os.getpid)() for _ in range(3))
    assert len(set(processes)) == 1
    assert os.getpid() not in processes


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        parallel_config("meshflow", colour="red")


def test_scikit_learn_finds_on_the_mesh_what_it_finds_without() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.svm import SVC

    data, target = load_iris(return_X_y=True)

    def outcome(n_jobs: int | None) -> list[Any]:
        search = GridSearchCV(SVC(), {"C": [0.1, 1, 10]}, n_jobs=n_jobs).fit(data, target)
        forest = RandomForestClassifier(10, random_state=1, n_jobs=n_jobs).fit(data, target)
        scores = cross_val_score(SVC(), data, target, n_jobs=n_jobs)
        return [search.best_params_, forest.predict(data).tolist(), scores.tolist()]

    assert outcome(None) == outcome(1)
