"""Dask's collections, and xarray on top of them, on a mesh of real processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

import meshflow
from meshflow.client import Client
from meshflow.errors import PickleFailed
from meshflow.models.calls import RemoteTraceback

dask = pytest.importorskip("dask", minversion="2025.1", reason="dask is not installed")
from dask.callbacks import Callback  # noqa: E402

from meshflow.dask_get import get  # noqa: E402

pytestmark = pytest.mark.system

LONG_S = 30.0
"""Longer than any of these tests may take."""
TOO_LARGE_BYTES = 65 * 1024 * 1024

Get = Callable[..., Any]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with meshflow.local(2) as client:
        yield client


@pytest.fixture
def on_mesh(client: Client) -> Get:
    return partial(get, client=client)


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    time.sleep(LONG_S)
    return number


def compute_inside(count: int) -> int:
    from meshflow.dask_get import get

    total: int = dask.delayed(sum)([dask.delayed(abs)(-number) for number in range(count)]).compute(scheduler=get)
    return total


def test_delayed_calls_are_made_in_other_processes(on_mesh: Get) -> None:
    processes = dask.compute(*[dask.delayed(os.getpid, pure=False)() for _ in range(6)], scheduler=on_mesh)
    assert os.getpid() not in processes


def test_bags_come_out_as_without_a_mesh(on_mesh: Get) -> None:
    bags = pytest.importorskip("dask.bag", reason="dask's bags are not installed")
    bag = bags.from_sequence("abca" * 50, npartitions=5)
    assert sorted(bag.frequencies().compute(scheduler=on_mesh)) == [("a", 100), ("b", 50), ("c", 50)]
    groups = bag.groupby(str.upper, shuffle="tasks").compute(scheduler=on_mesh)
    assert sorted((key, len(values)) for key, values in groups) == [("A", 100), ("B", 50), ("C", 50)]


def test_arrays_and_what_is_kept_of_them_come_out_as_without_a_mesh(on_mesh: Get) -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    array = pytest.importorskip("dask.array", reason="dask's arrays are not installed")
    numbers = array.arange(10_000, chunks=2000).reshape(100, 100)
    with dask.config.set(scheduler=on_mesh):
        assert int((numbers + numbers.T).sum().compute()) == 2 * sum(range(10_000))
        assert numbers[:, 3].persist().compute().tolist() == list(range(3, 10_000, 100))


def test_xarray_comes_out_as_without_a_mesh(on_mesh: Get) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    pytest.importorskip("dask.array", reason="dask's arrays are not installed")
    values = xarray.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("x", "y"))
    with dask.config.set(scheduler=on_mesh):
        assert values.chunk({"x": 1}).mean("x").values.tolist() == [2.0, 3.0]


def test_an_error_has_the_traceback_from_there_and_ends_the_other_tasks(on_mesh: Get) -> None:
    begun_at = time.monotonic()
    for _ in range(2):  # What was left running would have taken both slots.
        with pytest.raises(ValueError, match=r"^three$") as caught:
            dask.compute([dask.delayed(fail_at_three)(number) for number in (3, 4)], scheduler=on_mesh)
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "fail_at_three" in str(caught.value.__cause__)
    assert dask.delayed(abs)(-1).compute(scheduler=on_mesh) == 1
    assert time.monotonic() - begun_at < LONG_S / 2


def test_tasks_that_compute_themselves_do_not_wait_for_their_own_slots(on_mesh: Get) -> None:
    tasks = [dask.delayed(compute_inside)(4) for _ in range(6)]
    assert dask.delayed(sum)(tasks).compute(scheduler=on_mesh) == 36


def test_what_cannot_be_pickled_is_an_error(on_mesh: Get) -> None:
    with pytest.raises(PickleFailed, match="lock"):
        dask.delayed(str)(threading.Lock()).compute(scheduler=on_mesh)


def test_what_no_message_holds_comes_from_processes_of_this_host(on_mesh: Get) -> None:
    assert dask.delayed(bytes)(TOO_LARGE_BYTES).compute(scheduler=on_mesh) == bytes(TOO_LARGE_BYTES)


class Watching(Callback):  # type: ignore[misc]
    """Counts the tasks that go out, and how many were out at a time."""

    def __init__(self) -> None:
        super().__init__(pretask=self.goes, posttask=self.returns)
        self.count = self.out = self.most = 0
        self.places: set[str] = set()

    def goes(self, *_: object) -> None:
        self.count += 1
        self.out += 1
        self.most = max(self.most, self.out)

    def returns(self, *outcome: Any) -> None:
        self.out -= 1
        self.places.add(outcome[-1])


def test_tasks_that_only_wait_for_one_another_are_one_call(on_mesh: Get) -> None:
    task = dask.delayed(abs)(-4)
    for _ in range(5):
        task = dask.delayed(abs)(task)
    with Watching() as watching:
        assert task.compute(scheduler=on_mesh) == 4
    assert watching.count == 1


def test_as_many_tasks_are_out_as_were_asked_for(on_mesh: Get) -> None:
    tasks = [dask.delayed(time.sleep)(number / 1000) for number in range(30)]
    with Watching() as watching:
        dask.compute(tasks, scheduler=on_mesh, num_workers=3)
    assert watching.most == 3


def test_dask_is_told_where_tasks_ran(on_mesh: Get) -> None:
    with Watching() as watching:
        process = dask.delayed(os.getpid)().compute(scheduler=on_mesh)
    assert [place.rpartition("/")[2] for place in watching.places] == [str(process)]
