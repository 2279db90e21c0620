"""A thousand seeds of trouble: whatever is lost, doubled, delayed, cut, paused, killed or unanswered, the promises hold.

What is checked is in `meshflow/sim/checks.py`. A failure names its seed; `Scenario(seed=...).play().check()` replays it.
"""

import pytest

from meshflow.sim.scenario import Scenario
from meshflow.sim.violation import Violation

CHUNK = 50
CHUNKS = 20


def replay(seed: int, trouble: str = "usual", node_count: int = 0) -> int:
    """Play and check one seed; gives how many appends of stale owners were refused."""
    scenario = Scenario(seed, node_count=node_count, trouble=trouble)
    try:
        played = scenario.play()
        played.check()
    except Violation as problem:
        raise Violation(f"{scenario}: {problem}") from problem
    return sum(sim.node.status.refused_append_count for sim in played.cluster.nodes.values())


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_promises_hold_under_faults(chunk: int) -> None:
    refused = [replay(seed) for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK)]

    assert sum(refused) > 0, "no stale owner was fenced: the faults were too tame to show anything"


@pytest.mark.parametrize("seed", range(10_000, 10_020))
def test_the_promises_hold_under_rough_faults_on_more_nodes(seed: int) -> None:
    replay(seed, trouble="rough", node_count=8)


def test_the_same_seed_gives_the_same_story() -> None:
    first, second = (Scenario(7).play().cluster.world.digest for _ in range(2))

    assert first() == second() if callable(first) else first == second
