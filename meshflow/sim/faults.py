"""Seeded schedules of trouble: which fault hits which node when.

What strikes is drawn at random; every fault that is applied is noted with its time, so that a run can be read like a
log. In the end everything is mended, and then nothing may be missing.
"""

import random
from dataclasses import dataclass

from meshflow.ids import NodeId
from meshflow.sim.cluster import Cluster

_LAG_S = 0.2
"""What a slow node adds to each message at most."""
_SLOWNESS = 10.0
"""How much longer its tasks take."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """How rough a schedule is. Rates are per simulated second, shares of 1."""

    seconds: float = 5.0
    loss: float = 0.02
    doubles: float = 0.02
    stragglers: float = 0.002
    """Messages and commits that come seconds late."""
    reply_loss: float = 0.05
    """Commits to the store whose answer is lost."""
    kill_rate: float = 0.4
    kill_all_rate: float = 0.01
    cut_rate: float = 0.5
    """Cuts one node off, one way or both ways, or from the store, or splits the mesh in two."""
    heal_share: float = 0.5
    """Of the strikes that would cut, those that mend all cuts if there are any."""
    pause_rate: float = 0.4
    outage_rate: float = 0.2
    drain_rate: float = 0.1
    slow_rate: float = 0.1


_NONE = Trouble(2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)

TROUBLES = {
    "none": _NONE,
    "usual": Trouble(),
    "rough": Trouble(
        20.0,
        loss=0.1,
        doubles=0.1,
        stragglers=0.02,
        reply_loss=0.2,
        kill_rate=0.5,
        kill_all_rate=0.05,
        cut_rate=0.5,
        heal_share=0.3,
        pause_rate=0.4,
        outage_rate=0.2,
        drain_rate=0.1,
        slow_rate=0.1,
    ),
    "partitions": Trouble(30.0, kill_rate=0.0, kill_all_rate=0.0, cut_rate=0.4, heal_share=0.2, drain_rate=0.0),
    "kills": Trouble(20.0, kill_rate=1.0, kill_all_rate=0.1, cut_rate=0.0, pause_rate=0.0),
    "pauses": Trouble(20.0, kill_rate=0.0, kill_all_rate=0.0, cut_rate=0.0, pause_rate=1.0, stragglers=0.02),
}
"""By the names that the command line knows."""


class Faults:
    """Applies trouble to a cluster for a while, then mends everything."""

    def __init__(self, cluster: Cluster, trouble: Trouble, rng: random.Random) -> None:
        self.cluster = cluster
        self.trouble = trouble
        self.applied: list[tuple[float, str]] = []
        """(when, what)."""
        self._rng = rng

    def run(self) -> None:
        """Let `trouble.seconds` pass with faults, then mend. Most nodes that are killed are replaced by new ones."""
        cluster, trouble = self.cluster, self.trouble
        cluster.network.loss, cluster.network.doubles = trouble.loss, trouble.doubles
        cluster.network.is_unordered = trouble.stragglers > 0
        cluster.network.stragglers = cluster.store_trouble.stragglers = trouble.stragglers
        cluster.store_trouble.reply_loss = trouble.reply_loss
        end = cluster.now + trouble.seconds
        while cluster.now < end:
            cluster.run(self._rng.uniform(0.0, 0.2))
            self._strike(0.1)
        self.mend()

    def mend(self) -> None:
        """Everything works again, and there are at least three nodes."""
        cluster = self.cluster
        cluster.network.heal()
        cluster.network.loss = cluster.network.doubles = cluster.network.stragglers = 0.0
        cluster.network.is_unordered = False
        cluster.store_trouble.mend()
        for node in cluster.alive():
            shell = cluster.nodes[node]
            shell.life.slowness = 1.0
            if shell.life.is_paused:
                shell.resume()
        while len(cluster.alive()) < 3:
            cluster.add_node()
        self._note("everything is mended")

    def _strike(self, seconds: float) -> None:
        trouble = self.trouble
        for rate, strike in (
            (trouble.kill_rate, self._kill),
            (trouble.kill_all_rate, self._kill_all),
            (trouble.cut_rate, self._cut),
            (trouble.pause_rate, self._pause),
            (trouble.outage_rate, self._outage),
            (trouble.drain_rate, self._drain),
            (trouble.slow_rate, self._slow),
        ):
            if self._rng.random() < rate * seconds:
                strike()

    def _pick(self) -> NodeId:
        return self._rng.choice(self.cluster.alive())

    def _replace(self, share: float) -> None:
        if len(self.cluster.alive()) < 3 or self._rng.random() < share:
            self._note(f"start {self._name(self.cluster.add_node())}")

    def _kill(self) -> None:
        victim, with_host = self._pick(), self._rng.random() < 0.3
        self._note(f"kill {self._name(victim)}{' with its host' if with_host else ''}")
        self.cluster.kill(victim, with_host)
        self._replace(0.7)

    def _kill_all(self) -> None:
        self._note("kill all nodes, and start as many")
        victims = self.cluster.alive()
        for victim in victims:
            self.cluster.kill(victim)
        self.cluster.run(self._rng.uniform(0.0, 2.0))
        for _ in victims:
            self.cluster.add_node()

    def _cut(self) -> None:
        cluster, network = self.cluster, self.cluster.network
        if (network.cuts or cluster.store_trouble.cut_off) and self._rng.random() < self.trouble.heal_share:
            self._note("heal the network")
            network.heal()
            cluster.store_trouble.cut_off.clear()
            return
        victim, alive = self._pick(), cluster.alive()
        kind = self._rng.choice(("in", "out", "both", "split", "store"))
        self._note(f"cut {self._name(victim)}: {kind}")
        if kind in ("in", "both"):
            network.cut(alive, [victim])
        if kind in ("out", "both"):
            network.cut([victim], alive)
        if kind == "split":
            self._rng.shuffle(alive)
            half = len(alive) // 2
            network.cut(alive[:half], alive[half:])
            network.cut(alive[half:], alive[:half])
        if kind == "store":
            cluster.store_trouble.cut_off[victim] = None

    def _pause(self) -> None:
        paused = [node for node in self.cluster.alive() if self.cluster.nodes[node].life.is_paused]
        if paused and self._rng.random() < 0.6:
            self._note(f"resume {self._name(paused[0])}")
            self.cluster.nodes[paused[0]].resume()
            return
        victim = self._pick()
        self._note(f"pause {self._name(victim)}")
        self.cluster.nodes[victim].pause()

    def _outage(self) -> None:
        trouble = self.cluster.store_trouble
        trouble.is_away = not trouble.is_away
        self._note("the store goes away" if trouble.is_away else "the store is back")

    def _drain(self) -> None:
        victim = self._pick()
        self._note(f"drain {self._name(victim)}")
        self.cluster.drain(victim)
        self._replace(1.0)

    def _slow(self) -> None:
        victim = self._pick()
        self._note(f"slow {self._name(victim)} down")
        self.cluster.nodes[victim].life.slowness = _SLOWNESS
        self.cluster.network.lag_s[victim] = _LAG_S

    def _name(self, node: NodeId) -> str:
        return f"{self.cluster.nodes[node].core.membership.me.name} ({node})"

    def _note(self, text: str) -> None:
        self.applied.append((self.cluster.now, text))
