"""Whom to probe next, and random peers."""

import random

from meshflow.core.rotation import Rotation
from meshflow.ids import NodeId

PEERS = [NodeId(f"n{number}") for number in range(10)]


def rotation(*peers: NodeId, seed: int = 1) -> Rotation:
    return Rotation(random.Random(seed), peers)


def turns(of: Rotation, count: int) -> list[NodeId]:
    """The next peers to probe."""
    return [peer for peer in (of.next() for _ in range(count)) if peer is not None]


def test_every_round_probes_each_peer_once_in_another_order() -> None:
    peers = rotation(*PEERS)
    first, second = turns(peers, 10), turns(peers, 10)
    assert sorted(first) == sorted(second) == sorted(PEERS)
    assert first != second


def test_nobody_is_probed_where_nobody_is() -> None:
    assert rotation().next() is None
    assert rotation().sample(3) == []


def test_who_is_gone_is_not_probed_and_the_others_still_are_once_a_round() -> None:
    peers = rotation(*PEERS)
    probed = turns(peers, 3)
    gone = [peer for peer in PEERS if peer not in probed][:2]
    for peer in gone:
        peers.remove(peer)
    rest = turns(peers, 5)
    assert sorted([*probed, *rest, *gone]) == sorted(PEERS)
    assert len(peers) == 8
    assert sorted(turns(peers, 8)) == sorted(set(PEERS) - set(gone))


def test_when_half_are_gone_the_round_goes_on_with_the_others() -> None:
    peers = rotation(*PEERS)
    probed = turns(peers, 4)
    waiting = [peer for peer in PEERS if peer not in probed]
    for peer in [*probed[:3], *waiting[:4]]:
        peers.remove(peer)
    assert sorted(turns(peers, 2)) == sorted(waiting[4:])
    assert sorted(turns(peers, 3)) == sorted([probed[3], *waiting[4:]])


def test_all_may_go() -> None:
    peers = rotation(*PEERS)
    for peer in PEERS:
        peers.remove(peer)
    assert peers.next() is None
    assert peers.sample(3) == []
    assert len(peers) == 0


def test_who_comes_back_before_it_was_missed_is_there_once() -> None:
    peers = rotation(*PEERS)
    peers.remove(PEERS[0])
    peers.add(PEERS[0])
    assert sorted(turns(peers, 10)) == sorted(PEERS)


def test_newcomers_come_into_the_round_at_a_random_place() -> None:
    """SWIM, section 4.3. Half-way through a round about half of them are still to come in it."""
    still_to_come = 0
    for seed in range(200):
        peers = rotation(*PEERS, seed=seed)
        turns(peers, 5)
        peers.add(NodeId("new"))
        still_to_come += "new" in turns(peers, 5)
    assert 70 < still_to_come < 130, still_to_come


def test_a_sample_has_different_peers_and_not_the_excluded_one() -> None:
    for count in (1, 2, 3, 5, 20):
        peers = rotation(*PEERS)
        peers.remove(PEERS[1])
        for _ in range(50):
            sample = peers.sample(count, without=PEERS[0])
            assert len(sample) == len(set(sample)) == min(count, 8)
            assert PEERS[0] not in sample
            assert PEERS[1] not in sample


def test_a_sample_reaches_everyone_equally() -> None:
    """1,000 draws of one of ten: 100 each, standard deviation 10."""
    peers = rotation(*PEERS)
    drawn = [peers.sample(1)[0] for _ in range(1000)]
    assert all(50 < drawn.count(peer) < 150 for peer in PEERS)
