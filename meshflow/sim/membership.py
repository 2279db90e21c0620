"""Experiments with membership alone, at any size: how fast, how wrong, how dear.

    python -m meshflow.sim.membership --nodes 10000 --fault silence
    python -m meshflow.sim.membership --nodes 64 --fault slow --victims 8 --without-lifeguard

Faults: `change` (a node changes what it says of itself), `crash` (processes end and their connections break),
`silence` (nodes vanish behind a dead link), `partition` (the victims are split off for 20 s, then the network heals),
`slow` (the victims' messages wait 4 s again and again, for a minute), `join` (all nodes start knowing nothing but one
seed), `none` (half a minute in peace). Each run has its own seed, which replays it.
"""

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from meshflow.core.membership import Membership
from meshflow.core.membership_settings import PRESETS, MembershipSettings
from meshflow.sim.membership_mesh import Link, MakeMembership, MembershipMesh

_WARM_UP_S = 1.0
"""Before a fault; ends at a random phase of the probes."""
_GIVE_UP_S = 120.0
"""After that a run is over, whatever it was waiting for."""
_MAX_CONNECTED = 64
"""Peers with a connection to a node in a large mesh; the rest of the connections have been idle and are closed."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What all experiments are made from."""

    nodes: int
    seed: int = 0
    victims: int = 1
    loss: float = 0.0
    settings: MembershipSettings = PRESETS["lan"]
    make: MakeMembership = Membership

    def mesh(self, has_joined: bool = True) -> MembershipMesh:
        """A fresh mesh."""
        return MembershipMesh(
            self.nodes,
            seed=self.seed,
            settings=self.settings,
            link=Link(loss=self.loss),
            has_joined=has_joined,
            make=self.make,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    seconds: float
    """Until what the experiment waits for; infinity: it did not come."""
    first_suspected_s: float
    """Until the last victim was suspected by anyone; infinity: it was not, or was not meant to be."""
    false_death_count: int
    """Verdicts on nodes that were up and could be reached."""
    messages_per_node_s: float
    bytes_per_node_s: float
    digest: str


def change(setup: Setup) -> Outcome:
    """Seconds until every node knows what one of them has changed about itself."""
    mesh = setup.mesh()
    mesh.run(_WARM_UP_S + random.Random(setup.seed).random())
    began_at = mesh.now
    return _outcome(mesh, seconds_to_learn(mesh, 0), (), began_at)


def seconds_to_learn(mesh: MembershipMesh, number: int) -> float:
    """Have a node change something about itself: seconds until all know; infinity: some never learned it."""
    began_at = mesh.now
    mesh.change(number)
    mesh.run(began_at + _GIVE_UP_S, lambda: mesh.all_know(number), every_s=0.01)
    return mesh.now - began_at if mesh.all_know(number) else math.inf


def crash(setup: Setup) -> Outcome:
    """Seconds until every survivor knows that all victims are dead, whose connections broke."""
    return _end(setup, is_seen=True)


def silence(setup: Setup) -> Outcome:
    """Seconds until every other node knows that all victims are dead, which just went silent."""
    return _end(setup, is_seen=False)


def _end(setup: Setup, is_seen: bool) -> Outcome:
    mesh, rng = setup.mesh(), random.Random(setup.seed)
    mesh.run(_WARM_UP_S + rng.random())
    began_at = mesh.now
    victims = range(setup.victims)
    survivors = range(setup.victims, setup.nodes)
    for victim in victims:
        mesh.kill(victim, rng.sample(survivors, min(_MAX_CONNECTED, len(survivors))) if is_seen else ())
    mesh.run(began_at + _GIVE_UP_S, lambda: all(mesh.known_at(victim) < math.inf for victim in victims))
    known_at = max(mesh.known_at(victim) for victim in victims)
    return _outcome(mesh, known_at - began_at, victims, began_at)


def partition(setup: Setup) -> Outcome:
    """Seconds from the end of a partition until all views are equal again."""
    mesh = setup.mesh()
    mesh.run(_WARM_UP_S)
    split_at = mesh.now
    mesh.split([range(setup.victims)])
    mesh.run(split_at + 20.0)
    mesh.heal()
    healed_at = mesh.now
    mesh.run(healed_at + _GIVE_UP_S, mesh.views_agree)
    return _outcome(mesh, mesh.now - healed_at if mesh.views_agree() else math.inf, (), split_at)


def slow(setup: Setup, block_s: float = 4.0, pause_s: float = 0.3, lasts_s: float = 60.0) -> Outcome:
    """False deaths while the victims' messages wait for `block_s`, again and again with short pauses: as in the
    experiments of the Lifeguard paper, section V."""
    mesh, rng = setup.mesh(), random.Random(setup.seed)
    mesh.run(_WARM_UP_S)
    began_at = mesh.now
    due_at = {victim: began_at + rng.random() * block_s for victim in range(setup.victims)}
    while due_at and min(due_at.values()) < began_at + lasts_s:
        victim = min(due_at, key=lambda number: due_at[number])
        mesh.run(due_at[victim])
        mesh.block(victim, block_s)
        due_at[victim] = mesh.now + block_s + pause_s * (0.5 + rng.random())
    mesh.run(began_at + lasts_s)
    return _outcome(mesh, lasts_s, (), began_at, is_innocent=lambda number: number >= setup.victims)


def join(setup: Setup) -> Outcome:
    """Seconds until all nodes know all, when they start at once with one seed."""
    mesh = setup.mesh(has_joined=False)
    for number in range(1, setup.nodes):
        mesh.join(number, [0])
    mesh.run(_GIVE_UP_S, mesh.views_agree)
    return _outcome(mesh, mesh.now if mesh.views_agree() else math.inf, (), 0.0)


def peace(setup: Setup) -> Outcome:
    """Costs and false deaths over half a minute in which nothing happens."""
    mesh = setup.mesh()
    mesh.run(30.0)
    return _outcome(mesh, 30.0, (), 0.0)


def _outcome(
    mesh: MembershipMesh,
    seconds: float,
    victims: Sequence[int],
    began_at: float,
    is_innocent: Callable[[int], bool] = lambda number: True,
) -> Outcome:
    suspected_at = max((mesh.suspected_at.get(victim, math.inf) for victim in victims), default=math.inf)
    node_seconds = mesh.node_count * mesh.now
    return Outcome(
        seconds=seconds,
        first_suspected_s=suspected_at - began_at,
        false_death_count=sum(is_innocent(death.subject) for death in mesh.false_deaths()),
        messages_per_node_s=mesh.message_count / node_seconds,
        bytes_per_node_s=mesh.sent_bytes / node_seconds,
        digest=mesh.digest(),
    )


EXPERIMENTS: dict[str, Callable[[Setup], Outcome]] = {
    "change": change,
    "crash": crash,
    "silence": silence,
    "partition": partition,
    "slow": slow,
    "join": join,
    "none": peace,
}
"""By the names of the faults."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run experiments as the command line says, one line each, and their percentiles."""
    parser = argparse.ArgumentParser(
        prog="python -m meshflow.sim.membership", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--fault", choices=EXPERIMENTS, default="silence")
    parser.add_argument("--victims", type=int, default=1)
    parser.add_argument("--loss", type=float, default=0.0, help="share of messages that get lost")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1, help="with this seed and the following ones")
    parser.add_argument("--preset", choices=PRESETS, default="lan")
    parser.add_argument("--without-lifeguard", action="store_true")
    given = parser.parse_args(arguments)
    if not 0 <= given.victims < given.nodes:
        parser.error(f"--victims is {given.victims}; expected at least 0 and fewer than the {given.nodes} nodes")
    settings = replace(PRESETS[given.preset], has_lifeguard=not given.without_lifeguard)
    print(" seed  seconds  suspected  false deaths  messages/node/s  bytes/node/s  digest")
    outcomes = []
    for seed in range(given.seed, given.seed + given.runs):
        outcome = EXPERIMENTS[given.fault](Setup(given.nodes, seed, given.victims, given.loss, settings))
        outcomes.append(outcome)
        print(
            f"{seed:5d} {outcome.seconds:8.2f} {outcome.first_suspected_s:10.2f} {outcome.false_death_count:13d}"
            f" {outcome.messages_per_node_s:16.1f} {outcome.bytes_per_node_s:13.0f}  {outcome.digest}"
        )
    seconds = sorted(outcome.seconds for outcome in outcomes)
    shares = {f"p{share}": seconds[min(len(seconds) - 1, len(seconds) * share // 100)] for share in (50, 90, 99)}
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in shares.items()) + f", max {seconds[-1]:.2f}")


if __name__ == "__main__":
    main()
