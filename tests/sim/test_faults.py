"""A thousand seeds of trouble. Whatever is lost, doubled, delayed, cut, paused or killed, the promises hold.

What is checked is in `meshflow/sim/checks.py`. A failure names the command that replays it.
"""

import os
import subprocess
import sys

import pytest

from meshflow.sim.scenario import Scenario
from tests.sim.playing import play
from tests.source_tree import ROOT

CHUNK = 50


@pytest.mark.parametrize("first", range(0, 1000, CHUNK))
def test_the_promises_hold_under_faults(first: int) -> None:
    for seed in range(first, first + CHUNK):
        play(Scenario(seed))


def test_stale_owners_are_seen_to_be_fenced() -> None:
    refused = [play(Scenario(seed, trouble="partitions")).cluster.refused_append_count() for seed in range(30)]
    assert sum(refused) >= 10


@pytest.mark.parametrize("seed", range(10_000, 10_020))
def test_the_promises_hold_under_rough_faults_on_more_nodes(seed: int) -> None:
    play(Scenario(seed, nodes=8, trouble="rough"))


def test_without_faults_no_append_is_refused() -> None:
    assert play(Scenario(1, trouble="none")).cluster.refused_append_count() == 0


def test_the_same_seed_tells_the_same_story_under_any_hash_seed() -> None:
    program = (
        "from meshflow.sim.scenario import Scenario, Story; story = Story(Scenario(7)); story.run(); "
        "print(story.cluster.world.digest())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert told[0] == told[1] == f"{play(Scenario(7)).cluster.world.digest()}\n"
