"""A whole story from one seed: nodes start, workflows come in, faults strike, all is mended, and everything is checked.

Scenario(seed=7).play().check()
"""

import random
from dataclasses import dataclass

from meshflow.sim.checks import are_views_equal, check_all, check_quiet, check_views
from meshflow.sim.cluster import Cluster
from meshflow.sim.faults import TROUBLES, Faults
from meshflow.sim.violation import require
from meshflow.sim.workloads import submit_random
from meshflow.store.base import Store

FINAL_S = 60.0
"""Seconds within which all runs end once everything is mended."""

VIEWS_S = 60.0
"""Seconds within which all views are equal once everything is mended."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to be played. `node_count` 0 lets the seed choose four or five."""

    seed: int
    node_count: int = 0
    trouble: str = "usual"
    run_count: int = 4
    max_tasks: int = 9

    @property
    def command(self) -> str:
        """What to type to see it again."""
        words = ["python -m meshflow.sim", f"--seed {self.seed}"]
        plain = Scenario(self.seed)
        if self.node_count != plain.node_count:
            words.append(f"--nodes {self.node_count}")
        if self.trouble != plain.trouble:
            words.append(f"--trouble {self.trouble}")
        if self.run_count != plain.run_count:
            words.append(f"--runs {self.run_count}")
        if self.max_tasks != plain.max_tasks:
            words.append(f"--tasks {self.max_tasks}")
        return " ".join(words)

    def play(self, store: Store | None = None) -> "Played":
        """Play it, to the end of the faults."""
        cluster = Cluster(self.seed, store=store)
        rng = random.Random(self.seed)
        for _ in range(self.node_count or 4 + self.seed % 2):
            cluster.add_node()
        cluster.run(0.5)
        faults = Faults(cluster, TROUBLES[self.trouble], rng)
        submit_random(cluster, rng, self.run_count, self.max_tasks)
        faults.run()
        return Played(self, cluster, faults)


@dataclass(slots=True)
class Played:
    """What came of a scenario."""

    scenario: Scenario
    cluster: Cluster
    faults: Faults
    final_s: float = 0.0
    """How long after the end of the faults the last run ended, seconds."""
    views_s: float = 0.0
    """How long after the end of the faults all views were equal."""

    def check(self) -> None:
        """Let the mesh settle, and check every invariant.

        Raises:
            Violation: one does not hold.
        """
        cluster = self.cluster
        mended_at = cluster.now
        cluster.run_until_final(FINAL_S)
        self.final_s = cluster.now - mended_at
        check_all(cluster)
        cluster.run(VIEWS_S - self.final_s, lambda: are_views_equal(cluster))
        self.views_s = cluster.now - mended_at
        check_views(cluster)
        check_quiet(cluster)
        require(not cluster.network.cuts, "the network was cut after it was mended")
