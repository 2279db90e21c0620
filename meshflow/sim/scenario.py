"""A whole story from one seed: nodes start, workflows come in, faults strike, all is mended, and everything is checked.

Story(Scenario(seed=7)).run()
"""

import random
from dataclasses import dataclass, fields
from functools import partial

from meshflow.core.records import State
from meshflow.ids import RunId
from meshflow.sim.checks import are_views_equal, check_all, check_quiet, check_views
from meshflow.sim.cluster import Cluster
from meshflow.sim.faults import TROUBLES, Faults
from meshflow.sim.workloads import submit_random
from meshflow.store.base import Store

FINAL_S = 30.0
"""Seconds within which all runs end once everything is mended."""

VIEWS_S = 30.0
"""Seconds within which all views are equal once everything is mended."""

_JOINED_S = 0.5
"""Seconds that the nodes have to find each other before anything else happens."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to happen. All fields are options of `python -m meshflow.sim`."""

    seed: int
    nodes: int = 0
    """Nodes at the start; 0: the seed chooses four or five."""
    trouble: str = "usual"
    """A name in `TROUBLES`."""
    runs: int = 4
    """Workflows to submit."""
    tasks: int = 9
    """Most tasks in one dag."""
    retry: bool = False
    """Whether runs that did not complete are retried, under faults of the same kind, once all have ended."""

    @property
    def command(self) -> str:
        """What to type to see it again."""
        words = ["python -m meshflow.sim", f"--seed {self.seed}"]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                words.append(f"--{field.name}" if value is True else f"--{field.name} {value}")
        return " ".join(words)


class Story:
    """One scenario as it is played. `store` is the one that all nodes share; tests give broken ones."""

    def __init__(self, scenario: Scenario, store: Store | None = None) -> None:
        self.scenario = scenario
        self.cluster = Cluster(scenario.seed, store=store)
        self.final_s = 0.0
        """How long after the end of the faults the last run ended, seconds."""
        self.views_s = 0.0
        """How long after the end of the faults all views were equal too, seconds."""
        self._rng = random.Random(scenario.seed)
        self.faults = Faults(self.cluster, TROUBLES[scenario.trouble], self._rng)

    def run(self) -> None:
        """Play it, let the mesh settle, and check every invariant.

        Raises:
            Violation: one does not hold.
        """
        self._play()
        self._settle()
        if self.scenario.retry:
            self._retry()
            self._settle()

    def _play(self) -> None:
        scenario = self.scenario
        for _ in range(scenario.nodes or 4 + scenario.seed % 2):
            self.cluster.add_node()
        self.cluster.run(_JOINED_S)
        submit_random(self.cluster, self._rng, scenario.runs, scenario.tasks, self.faults.trouble.seconds)
        self.faults.run()

    def _retry(self) -> None:
        """Retry each run that did not complete, at some time in another round of faults."""
        cluster = self.cluster

        def retry(run: RunId) -> None:
            cluster.retry(run)

        for run in [run for run in cluster.accepted if cluster.record(run).state is not State.COMPLETED]:
            cluster.world.clock.after(self._rng.uniform(0.0, self.faults.trouble.seconds), partial(retry, run))
        self.faults = Faults(cluster, self.faults.trouble, self._rng)
        self.faults.run()

    def _settle(self) -> None:
        cluster = self.cluster
        mended_at = cluster.now
        cluster.run_until_final(FINAL_S)
        self.final_s = cluster.now - mended_at
        check_all(cluster)
        cluster.run(VIEWS_S - self.final_s, lambda: are_views_equal(cluster))
        self.views_s = cluster.now - mended_at
        check_views(cluster)
        check_quiet(cluster)
