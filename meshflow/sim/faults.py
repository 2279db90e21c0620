"""Seeded schedules of trouble: which fault hits which node when, and workflows to suffer them."""

import random
from dataclasses import dataclass

from meshflow.core.graph import DagDefinition, WorkflowSpec
from meshflow.core.records import Stop
from meshflow.ids import NodeId
from meshflow.sim.cluster import Cluster
from meshflow.sim.programs import Program, define, workflow


@dataclass(frozen=True, slots=True)
class Trouble:
    """How rough a schedule is. Rates are per simulated second, shares of 1."""

    loss: float = 0.02
    doubles: float = 0.02
    reply_loss: float = 0.05
    kill_rate: float = 0.15
    cut_rate: float = 0.2
    pause_rate: float = 0.1
    outage_rate: float = 0.05
    seconds: float = 10.0


class Faults:
    """Applies trouble to a cluster for a while, then mends everything."""

    def __init__(self, cluster: Cluster, trouble: Trouble, seed: int) -> None:
        self.cluster = cluster
        self.trouble = trouble
        self.applied: list[tuple[float, str]] = []
        self._rng = random.Random(seed)

    def run(self) -> None:
        """Let `trouble.seconds` pass, with faults; nodes that are killed are replaced by new ones after a while."""
        cluster, trouble = self.cluster, self.trouble
        cluster.network.loss, cluster.network.doubles = trouble.loss, trouble.doubles
        cluster.store_reply_loss = trouble.reply_loss
        end = cluster.now + trouble.seconds
        while cluster.now < end:
            cluster.run(self._rng.uniform(0.01, 0.2))
            self._strike(0.1)
        self.mend()

    def mend(self) -> None:
        """Everything works again; there are at least two nodes for each queue."""
        cluster = self.cluster
        cluster.network.heal()
        cluster.network.loss = cluster.network.doubles = cluster.store_reply_loss = 0.0
        cluster.is_store_away = False
        for node in cluster.alive():
            if cluster.nodes[node].is_paused:
                cluster.resume(node)
        while len(cluster.alive()) < 2:
            cluster.add_node()

    def _strike(self, seconds: float) -> None:
        trouble = self.trouble
        for rate, strike in (
            (trouble.kill_rate, self._kill),
            (trouble.cut_rate, self._cut),
            (trouble.pause_rate, self._pause),
            (trouble.outage_rate, self._outage),
        ):
            if self._rng.random() < rate * seconds:
                strike()

    def _pick(self) -> NodeId | None:
        alive = self.cluster.alive()
        return self._rng.choice(alive) if alive else None

    def _kill(self) -> None:
        victim = self._pick()
        if victim is None:
            return
        self._note(f"kill {victim}")
        self.cluster.kill(victim)
        if len(self.cluster.alive()) < 2 or self._rng.random() < 0.7:
            self.cluster.add_node()

    def _cut(self) -> None:
        """Cut one node off from the others, both ways or one way; or mend all cuts."""
        cluster = self.cluster
        if cluster.network.cuts and self._rng.random() < 0.5:
            self._note("heal")
            cluster.network.heal()
            return
        victim = self._pick()
        if victim is None:
            return
        kind = self._rng.choice(("in", "out", "both"))
        self._note(f"cut {victim} {kind}")
        for other in cluster.alive():
            if kind in ("in", "both"):
                cluster.network.cut(other, victim)
            if kind in ("out", "both"):
                cluster.network.cut(victim, other)

    def _pause(self) -> None:
        paused = [node for node in self.cluster.alive() if self.cluster.nodes[node].is_paused]
        if paused and self._rng.random() < 0.6:
            self._note(f"resume {paused[0]}")
            self.cluster.resume(paused[0])
            return
        victim = self._pick()
        if victim is not None:
            self._note(f"pause {victim}")
            self.cluster.pause(victim)

    def _outage(self) -> None:
        self.cluster.is_store_away = not self.cluster.is_store_away
        self._note(f"store away: {self.cluster.is_store_away}")

    def _note(self, text: str) -> None:
        self.applied.append((self.cluster.now, text))


def random_workflow(rng: random.Random, number: int) -> tuple[WorkflowSpec, list[DagDefinition]]:
    """A small workflow of random shape: branches, limits, retries, sub-dags with joins, `at_most_once`."""
    names = [f"t{index}" for index in range(rng.randint(2, 9))]
    tasks: dict[str, Program] = {}
    options: dict[str, dict[str, object]] = {}
    edges = [
        (names[parent], name)
        for index, name in enumerate(names)
        for parent in range(index)
        if rng.random() < 2.0 / max(2, index)
    ]
    for name in names:
        children = [child for parent, child in edges if parent == name]
        limit = None
        if children and rng.random() < 0.2:
            limit = tuple(child for child in children if rng.random() < 0.5)
        failures = 1 if rng.random() < 0.15 else 0
        options[name] = {
            "retries": failures,
            "retry_delay_s": rng.choice((0.0, 0.05)),
            "at_most_once": failures == 0 and rng.random() < 0.1,
            "force_run": rng.random() < 0.05,
            "propagate_skip": rng.random() < 0.9,
            "priority": rng.randint(0, 2),
        }
        signals: list[tuple[str, str]] = []
        if rng.random() < 0.2:
            signals = [("start_dag", "sub")] * rng.randint(1, 3)
            if rng.random() < 0.7:
                signals.append(("join_dags", ""))
        tasks[name] = Program(rng.choice((0.001, 0.02, 0.3)), tuple(signals), limit=limit, failures=failures)
    main = define("main", tasks, edges, **options)
    sub = define("sub", {"s1": Program(0.01), "s2": Program(0.02)}, [("s1", "s2")], autostart=False)
    return workflow(f"random{number}", [main, sub]), [main, sub]


def submit_random(cluster: Cluster, seed: int, count: int) -> None:
    """Submit `count` random workflows, some of which are asked to stop."""
    rng = random.Random(seed)
    for number in range(count):
        spec, dags = random_workflow(rng, number)
        run = cluster.submit(spec, dags)
        if rng.random() < 0.1:
            cluster.ask_stop(run, rng.choice((Stop.STOP, Stop.CANCEL)))
        cluster.run(rng.uniform(0.0, 0.1))
