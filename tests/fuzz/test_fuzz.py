"""A few thousand damaged inputs for each target; `python -m tests.fuzz` has the millions."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.feeding import feed
from tests.fuzz.targets import TARGETS, mutated

COUNTS = {"configs": 40, "keys": 300, "rows": 200, "spool": 500}
FIXED_BYTES = 64 * 1024 * 1024
"""What msgpack may set aside for nested arrays that announce more than they have: 32 KiB each, up to 1024 deep."""
BYTES_PER_BYTE = 200


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_what_is_documented_gets_out(name: str) -> None:
    assert feed(TARGETS[name], random.Random(1), count=COUNTS.get(name, 2000)).count


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "configs"])
def test_nothing_that_hypothesis_finds_gets_out_or_takes_much_memory(name: str) -> None:
    target = TARGETS[name]
    examples = list(target.examples())
    for example in examples:
        target.run(example)

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(st.sampled_from(examples), st.integers(0, 2**32), st.binary(max_size=50))
    def run(example: bytes, seed: int, more: bytes) -> None:
        data = mutated(example, random.Random(seed)) + more
        tracemalloc.start()
        try:
            target.run(data)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < FIXED_BYTES + BYTES_PER_BYTE * len(data)

    run()


@pytest.mark.parametrize("depth", [1, 100, 1000])
@pytest.mark.parametrize("name", ["messages", "records", "values", "frames"])
def test_headers_that_announce_far_more_than_there_is_cost_little(name: str, depth: int) -> None:
    data = b"\x01" * (name == "messages") + b"\xdd\x00\xff\xff\xff" * depth + b"\xc0" * 100_000
    tracemalloc.start()
    try:
        TARGETS[name].run(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < FIXED_BYTES + BYTES_PER_BYTE * len(data)
