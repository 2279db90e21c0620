"""Whole meshes that speak membership: how soon they know, how seldom they err, and that they grow together again.

A failure names its seed; `python -m meshflow.sim.membership` with the fault and `--seed` shows the run.
"""

import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from meshflow.core.effects import Effect
from meshflow.core.member import Member, Status
from meshflow.core.membership import Membership
from meshflow.core.membership_settings import PRESETS, MembershipSettings
from meshflow.core.messages import (
    Gossip,
    MembershipMessage,
    News,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    Sync,
    Verdict,
)
from meshflow.ids import NodeId
from meshflow.sim.membership import Outcome, Setup, change, crash, join, main, partition, peace, silence, slow
from meshflow.sim.membership_mesh import Link, MembershipMesh
from meshflow.sim.message_bytes import message_bytes
from meshflow.wire import encode_message
from tests.source_tree import ROOT

LAN = PRESETS["lan"]

HEALED_S = LAN.revive_interval_s + 2 * LAN.sync_interval_s
"""After so long all views are equal again: one contact to the dead, and two syncs for what was lost on the way."""


def outcomes(experiment: Callable[[Setup], Outcome], setup: Setup, runs: int) -> list[Outcome]:
    """What came of runs with different seeds; none of them with a false death."""
    results = []
    for seed in range(runs):
        outcome = experiment(replace(setup, seed=seed))
        assert outcome.false_death_count == 0, f"seed {seed}: {outcome}"
        results.append(outcome)
    return results


def p99(of: list[Outcome]) -> float:
    """The 99th percentile of seconds; of fewer than 100 runs, the worst."""
    seconds = sorted(outcome.seconds for outcome in of)
    return seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)]


# --- detection ---


def test_in_a_mesh_of_a_thousand_all_deaths_are_known_to_all_and_nobody_else_is_buried() -> None:
    outcome = silence(Setup(1000, seed=1, victims=10, loss=0.01))
    assert outcome.seconds < 8.0
    assert outcome.false_death_count == 0


@pytest.mark.parametrize(("nodes", "bound_s"), [(2, 3.0), (3, 3.5), (10, 4.0), (30, 5.0)])
def test_a_node_that_falls_silent_is_known_to_be_dead(nodes: int, bound_s: float) -> None:
    assert p99(outcomes(silence, Setup(nodes), runs=40)) < bound_s


def test_silence_is_found_in_spite_of_loss() -> None:
    assert p99(outcomes(silence, Setup(10, loss=0.05), runs=40)) < 4.5


@pytest.mark.parametrize(("nodes", "victims"), [(2, 1), (3, 1), (3, 2), (10, 1), (10, 9), (100, 5)])
def test_a_process_that_dies_with_its_connections_is_known_to_be_dead_within_a_second(nodes: int, victims: int) -> None:
    assert p99(outcomes(crash, Setup(nodes, victims=victims), runs=10)) < 1.0


def test_a_node_that_is_stopped_for_two_seconds_is_not_buried() -> None:
    """Its connections stand, so it has the time that every suspect has."""
    for seed in range(20):
        mesh = MembershipMesh(10, seed=seed)
        mesh.run(3.0 + seed / 20)
        mesh.stall(0, 1.7)
        mesh.run(20.0)
        assert mesh.deaths == [], f"seed {seed}"


def test_a_node_that_was_stopped_for_long_buries_nobody_and_is_back_at_once() -> None:
    mesh = MembershipMesh(10)
    mesh.run(3.0)
    mesh.stall(0, 60.0)
    mesh.run(62.9)
    assert {death.subject for death in mesh.deaths} == {0}
    assert len(mesh.deaths) == 9
    mesh.run(65.0)
    assert len(mesh.deaths) == 9
    assert mesh.views_agree()


# --- costs ---


def test_in_peace_nobody_is_suspected_and_the_cost_per_node_does_not_grow_with_the_mesh() -> None:
    small, large = peace(Setup(10, loss=0.0)), peace(Setup(300, loss=0.0))
    assert small.false_death_count == large.false_death_count == 0
    assert large.messages_per_node_s < 1.1 * small.messages_per_node_s < 9.0
    assert large.bytes_per_node_s < 1.1 * small.bytes_per_node_s < 500.0


def test_loss_alone_kills_nobody() -> None:
    assert peace(Setup(100, loss=0.05)).false_death_count == 0


def test_sizes_are_estimated_well_enough() -> None:
    """The estimate counts the frames around a message, which the encoding does not."""
    rng = random.Random(1)
    mesh = MembershipMesh(5)
    members = tuple(mesh.machine(0).alive())
    ids = [member.id for member in members]
    verdict = Verdict(ids[0], 3, Status.SUSPECT, tuple(ids[1:4]), tuple(ids[1:2]))
    messages: list[MembershipMessage] = [
        Probe(1000),
        ProbeAck(1000, News(members[:2])),
        ProbeRequest(1000, ids[0], 0.15),
        ProbeNack(1000),
        Gossip(News(members[:1], (verdict,))),
        Sync(1, members, tuple(rng.getrandbits(61) for _ in range(61))),
    ]
    for message in messages:
        assert 20 <= message_bytes(message) - len(encode_message(message)) <= 50, message


# --- news ---


@pytest.mark.parametrize(("nodes", "runs"), [(5, 60), (9, 60), (30, 20), (100, 3)])
def test_what_a_node_says_of_itself_is_known_to_all_after_a_few_rounds_of_gossip(nodes: int, runs: int) -> None:
    """Nobody is missed so that it learns by sync, seconds later; most likely that is just below a power of ten."""
    assert max(each.seconds for each in outcomes(change, Setup(nodes), runs)) < 6 * LAN.gossip_interval_s


def test_news_that_nobody_spreads_is_not_known_to_all() -> None:
    """So the test above would fail if views were taken for up to date too easily."""
    mesh = MembershipMesh(5)
    mesh.run(1.0)
    mesh.split([range(1)])
    mesh.change(0)
    mesh.run(3.0)
    assert not mesh.all_know(0)
    assert mesh.all_know(1)


# --- joining and leaving ---


def test_many_nodes_that_start_at_once_with_one_seed_know_each_other_soon() -> None:
    assert p99(outcomes(join, Setup(30, loss=0.02), runs=5)) < 5.0
    assert p99(outcomes(join, Setup(30), runs=10)) < 3.0


def test_a_goodbye_is_known_to_all_within_a_second_and_is_no_death() -> None:
    mesh = MembershipMesh(50)
    mesh.run(3.0)
    mesh.leave(0)
    mesh.run(4.0)
    assert mesh.views_agree()
    assert mesh.deaths == []


# --- partitions ---


@pytest.mark.parametrize(("nodes", "victims", "runs"), [(2, 1, 20), (3, 1, 20), (10, 1, 20), (10, 5, 20), (60, 25, 2)])
def test_after_a_partition_all_views_become_equal(nodes: int, victims: int, runs: int) -> None:
    """Though each side holds the other for dead, and probes it no more."""
    setup = Setup(nodes, victims=victims, loss=0.01)
    assert p99([partition(replace(setup, seed=seed)) for seed in range(runs)]) < HEALED_S


def test_a_partition_that_nobody_looks_across_does_not_heal() -> None:
    """So the tests above would fail if the dead were not contacted."""
    blind = replace(LAN, revive_interval_s=1e9)
    assert partition(Setup(10, victims=5, settings=blind)).seconds == math.inf


def test_seeds_heal_a_partition_that_outlasted_all_tombstones() -> None:
    forgetful = replace(LAN, max_tombstones=0, revive_interval_s=0.5, join_retry_max_s=5.0)
    mesh = MembershipMesh(6, settings=forgetful)
    for number in range(1, 6):
        mesh.join(number, [0])
    mesh.run(1.0)
    mesh.split([range(3)])
    mesh.run(60.0)
    assert all(len(mesh.machine(number).members) == 3 for number in range(6)), "nobody remembers the others"
    mesh.heal()
    mesh.run(75.0)
    assert mesh.views_agree()


def test_a_node_behind_a_link_that_comes_and_goes_does_not_bury_the_others() -> None:
    """While it was away it took others for dead. When it is back, that must not count."""
    for seed in range(20):
        mesh = MembershipMesh(10, seed=seed)
        mesh.run(3.0)
        mesh.split([range(1)])
        mesh.run(33.0)
        away = len(mesh.deaths)
        mesh.heal()
        mesh.run(60.0)
        assert [death for death in mesh.deaths[away:] if death.observer != 0] == [], f"seed {seed}"
        assert mesh.views_agree(), f"seed {seed}"


# --- slow nodes, and what keeps them from doing harm ---


def test_lifeguard_keeps_slow_nodes_from_burying_healthy_ones() -> None:
    """The paper saw false deaths of healthy members fall more than 50 times."""
    with_it = sum(slow(Setup(32, seed, victims=4), lasts_s=25.0).false_death_count for seed in range(2))
    swim = Setup(32, victims=4, settings=replace(LAN, has_lifeguard=False))
    without_it = sum(slow(replace(swim, seed=seed), lasts_s=25.0).false_death_count for seed in range(2))
    assert without_it > 50 * max(1, with_it), (without_it, with_it)


class Meek(Membership):
    """A broken variant: never hears what is said about itself, and so refutes nothing."""

    def handle(self, sender: NodeId, message: MembershipMessage, now: float) -> list[Effect]:
        """As the original, without verdicts about this node."""
        if isinstance(message, Probe | ProbeAck | ProbeRequest | Gossip):
            verdicts = tuple(verdict for verdict in message.news.verdicts if verdict.id != self.me.id)
            message = replace(message, news=News(message.news.members, verdicts))
        elif isinstance(message, Sync):
            message = replace(message, members=tuple(each for each in message.members if each.id != self.me.id))
        return super().handle(sender, message, now)


def make_meek(me: Member, settings: MembershipSettings, rng: random.Random, known: Iterable[Member]) -> Membership:
    return Meek(me, settings, rng, known)


def pauses(make: type[Membership]) -> MembershipMesh:
    """A mesh whose nodes pause for 0.7 s, one after the other: long enough for suspicion, too short for death."""
    mesh = MembershipMesh(10, make=make, link=Link(loss=0.02))
    for number in range(10):
        mesh.run(3.0 + number)
        mesh.stall(number, 0.7)
    mesh.run(30.0)
    return mesh


def test_a_mesh_without_refutation_is_caught() -> None:
    """The same pauses do no harm where nodes refute, and bury the living where they do not."""
    sound = pauses(Membership)
    assert sound.suspected_at, "the pauses were long enough to matter"
    assert sound.deaths == []
    assert pauses(Meek).false_deaths() != []
    assert partition(Setup(10, victims=5, make=make_meek)).seconds == math.inf


# --- replaying ---


def test_a_seed_replays_a_run_under_any_hash_seed() -> None:
    command = [sys.executable, "-m", "meshflow.sim.membership", "--nodes", "40", "--loss", "0.05", "--victims", "3"]
    shown = [
        subprocess.run(
            [*command, "--seed", seed], cwd=ROOT, env={"PYTHONHASHSEED": hashing}, capture_output=True, check=True
        ).stdout
        for seed, hashing in (("7", "1"), ("7", "2"), ("8", "1"))
    ]
    assert shown[0] == shown[1]
    assert shown[0].splitlines()[1].split()[-1] != shown[2].splitlines()[1].split()[-1]


@pytest.mark.parametrize("fault", ["change", "crash", "silence", "partition", "slow", "join", "none"])
def test_every_experiment_can_be_run_from_the_command_line(fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--nodes", "4", "--fault", fault, "--runs", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("seconds: p50 ")


def test_more_victims_than_nodes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--nodes", "4", "--victims", "4"])
    assert "--victims is 4; expected at least 0 and fewer than the 4 nodes" in capsys.readouterr().err
