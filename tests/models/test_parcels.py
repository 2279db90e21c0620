"""Values that are large go into files of memory and come out of them the same."""

import gc
import os
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshflow.errors import PickleFailed
from meshflow.models import parcels
from meshflow.models.parcels import LARGE_BYTES, Parcel, dump, load

numpy = pytest.importorskip("numpy")

LARGE = 4 * LARGE_BYTES


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, 2.5, "text", b"bytes", [1, {"a": (2,)}]),
        *("t" * LARGE, b"b" * LARGE, bytearray(LARGE), array("d", [1.5] * LARGE)),
    ],
    ids=lambda value: f"{type(value).__name__}-{len(value) if hasattr(value, '__len__') else value}",
)
def test_what_goes_in_comes_out(value: object) -> None:
    data = dump(value)
    assert load(data) == value
    assert load(data.flatten() if isinstance(data, Parcel) else data) == value


@given(st.lists(st.integers(0, 3 * LARGE_BYTES // 8), min_size=1, max_size=4))
def test_arrays_of_all_sizes_come_out_aligned(sizes: list[int]) -> None:
    value = [numpy.arange(size, dtype="f8") for size in sizes]
    data = dump(value)
    mapped, copied = load(data), load(data.flatten() if isinstance(data, Parcel) else data)
    for loaded in (mapped, copied):
        assert all((one == other).all() for one, other in zip(value, loaded, strict=True))
    assert all(each.ctypes.data % 64 == 0 for each in mapped if each.nbytes >= LARGE_BYTES)


def test_only_what_is_large_becomes_a_file() -> None:
    assert isinstance(dump(numpy.zeros(10)), bytes)
    assert isinstance(dump(numpy.zeros(LARGE)), Parcel)
    assert isinstance(dump("x" * (LARGE_BYTES // 2)), bytes)


def test_an_array_that_is_in_no_one_piece_is_copied() -> None:
    value = numpy.arange(2 * LARGE, dtype="f8")[::2]
    assert (load(dump(value)) == value).all()


def test_who_changes_what_it_was_given_changes_its_own_copy() -> None:
    """A call that is made again, because its process died, gets what the first one got."""
    data = dump(numpy.zeros(LARGE))
    first = load(data)
    first += 1
    assert (load(data) == 0).all()


def test_a_result_lies_in_its_file_without_a_copy() -> None:
    data = dump(numpy.zeros(LARGE))
    mine = load(data, is_own=True)
    mine += 1
    assert (load(data) == 1).all()


def test_a_parcel_outlives_its_sender_in_what_was_mapped() -> None:
    data: Any = dump(numpy.arange(LARGE))
    value = load(data)
    data.close()
    del data
    gc.collect()
    assert value[-1] == LARGE - 1


def test_files_are_closed_with_their_parcels() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    held = [dump(bytearray(LARGE)) for _ in range(5)]
    assert len(os.listdir("/proc/self/fd")) == before + 5
    del held
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_beyond_a_number_of_files_values_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "_MAX_OPEN", 0)
    value = numpy.arange(LARGE)
    data = dump(value)
    assert isinstance(data, bytes)
    assert (load(data) == value).all()
    loaded = load(data)
    loaded += 1
    assert (load(data) == value).all()


def test_what_cannot_be_pickled_is_said() -> None:
    with pytest.raises(PickleFailed, match="generator"):
        dump(each for each in range(3))


def test_what_is_mapped_takes_a_bounded_number_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    monkeypatch.setattr(parcels, "_MAX_OPEN", 3)
    before = len(os.listdir("/proc/self/fd"))
    held: list[Any] = []
    for number in range(10):
        data = dump(numpy.full(LARGE, number))
        held.append(load(data, is_own=True))
        del data
    assert len(os.listdir("/proc/self/fd")) == before + 3
    assert [int(each[-1]) for each in held] == list(range(10))
    held[9] += 1
    held.clear()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(parcels._mappings) == 0


def test_where_nothing_can_be_mapped_values_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    data = dump(numpy.arange(LARGE))
    monkeypatch.setattr("meshflow.models.parcels.mmap.mmap", refuse)
    assert (load(data) == numpy.arange(LARGE)).all()
